"""The choice of an aligner without pairs: its two branches, its ties, its record, and what it refuses."""

import json
import logging

import numpy as np
import pytest
import torch
from conftest import write_store

from revision_plugin import Monge, ReAlign, RevisionError, load_aligner
from revision_plugin.aligners import ALIGNERS
from revision_plugin.aligners.auto import CANDIDATES, by_distance, choice_table, choose, compare
from revision_plugin.cli import main

DIM = 10


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clouds(rng, count=600, warp=1.0):
    """Texts and images of one world, other rows of each: the texts are warped, and both stand apart."""
    texts, images = (rng.normal(size=(count, DIM)) * np.linspace(1.5, 0.5, DIM) for _ in range(2))
    return apart(texts * warp, images)


def apart(texts, images):
    axis = 6 * np.eye(texts.shape[1] + 1)[-1]
    return tuple(unit(np.c_[rows, np.zeros(len(rows))] + side * axis) for rows, side in ((texts, 1), (images, -1)))


def things(rng, shown, count=600):
    """Texts about a hundred things, and images of the first `shown` of these alone."""
    centres = rng.normal(size=(100, 32)) * np.linspace(1.5, 0.5, 32)
    return apart(*(centres[rng.integers(n, size=count)] + 0.3 * rng.normal(size=(count, 32)) for n in (100, shown)))


CPU, PAIR = torch.device("cpu"), {"realign": ReAlign(), "monge": Monge()}
WARP = np.array([2, 1, 1, 0.5, 1, 1, 2, 1, 0.5, 1])


def test_other_shapes_of_the_same_content_get_the_map_that_knows_shapes(rng):
    source, target = clouds(rng, warp=WARP)
    aligner = choose(source, target, seed=3)
    record = aligner.report.details["auto"]
    assert aligner.method == record["chosen"] == "monge" and not record["other_content"]
    assert aligner.identity == Monge().fit(source, target, seed=3).identity, "fitted on all rows"
    assert set(record["candidates"]) == set(CANDIDATES) and record["rows"] == {"source": 600, "target": 600}
    distances = {name: values["frechet_distance"] for name, values in record["candidates"].items()}
    assert min(distances, key=distances.get) == "monge" and distances["realign"] > 1.2 * distances["monge"]
    assert "seem to be about the same things" in record["reason"] and not any(
        c["differs"] for c in record["content"].values()
    )
    again = choose(source, target, seed=3).report.details["auto"]
    assert again == record == json.loads(json.dumps(record))


def test_where_only_place_and_size_differ_realign_is_kept(rng):
    """Two halves of one cloud at another height: whatever else differs is chance."""
    source, target = clouds(rng, count=300)
    assert choose(source, target, candidates=["realign", "monge shrinkage=0.01"], seed=1).method == "realign"


def test_a_difference_of_content_is_found_and_not_copied(rng, caplog):
    source, target = things(rng, shown=15)
    with caplog.at_level(logging.WARNING):
        aligner = choose(source, target)
    record = aligner.report.details["auto"]
    assert record["content"]["source"]["differs"] and record["other_content"]
    assert aligner.method == "monge" and aligner.get_params()["shrinkage"] == 0.9
    assert "the texts that the encoder matches are no random sample (" in caplog.text
    assert "so monge shrinkage=0.9 is fitted on these" in caplog.text
    assert aligner.report.details["matched"] == {"source": 600, "target": 600} and aligner.report.source.count < 300
    distances = {name: values["frechet_distance"] for name, values in record["candidates"].items()}
    assert min(distances, key=distances.get) == "monge", "which would have copied it"
    assert not compare(PAIR, *things(rng, shown=100), seed=0, device=CPU)["other_content"], "all things"
    # of two corpora that swap roles it is the images of which only a part is matched
    swapped = compare(PAIR, target, source, seed=0, device=CPU)
    assert swapped["content"]["target"]["differs"] and "the images that the encoder matches" in swapped["reason"]
    assert swapped["chosen"] == "realign", "where monge with shrinkage is no candidate"


def test_the_rule_of_distances_and_its_ties():
    assert by_distance([{"realign": 3.0, "monge": 2.0}, {"realign": 3.0, "monge": 2.5}])[0] == "monge"
    assert by_distance([{"realign": 3.0, "monge": 1.0}, {"realign": 3.0, "monge": 3.1}])[0] == "realign", (
        "one half only"
    )
    assert by_distance([{"monge": 2.0, "realign": 2.0}] * 2)[0] == "realign"


def test_candidates_with_options_and_a_sample_of_the_rows(rng):
    source, target = clouds(rng, warp=WARP)
    aligner = choose(source, target, candidates=["realign", "monge  blend=0.25"], rows=100)
    record = aligner.report.details["auto"]
    assert record["rows"] == {"source": 100, "target": 100} and aligner.report.source.count == 600
    assert list(record["candidates"]) == ["realign", "monge blend=0.25"]
    assert record["chosen"] == "monge blend=0.25" and aligner.get_params()["blend"] == 0.25
    assert choice_table(record).splitlines()[2].startswith("| monge blend=0.25 |")


def refused(words, rng, **keywords):
    source, target = keywords.pop("corpora", None) or clouds(rng, count=60)
    with pytest.raises(RevisionError, match=words):
        choose(source, target, **keywords)


def test_bad_input_gets_one_line(rng):
    for candidates in (["realign"], "realign", [1, 2], ["realign", " "], {"realign": 1}):
        refused("candidates must be a list of two methods or more", rng, candidates=candidates)
    refused("must have 'realign' among them", rng, candidates=["none", "monge"])
    refused("given twice", rng, candidates=["realign", "monge blend=0.5", "monge  blend=0.5"])
    refused("write 'monge NAME=VALUE'", rng, candidates=["realign", "monge blend"])
    refused("no option 'size'", rng, candidates=["realign", "monge size=1"])
    refused("blend must be", rng, candidates=["realign", "monge blend=3"])
    refused("aligner 'auto'", rng, candidates=["realign", "auto"])
    for rows in (23, 50.0, True, "all"):
        refused("rows must be a whole number of at least 24", rng, rows=rows)
    source, target = clouds(rng, count=60)
    refused("24 rows of each corpus or more, not 23", rng, corpora=(source[:23], target))
    broken = source.copy()
    broken[17] = np.nan
    refused("embedding row 17 is zero or not finite", rng, corpora=(broken, target), rows=60)
    refused("the target does not vary", rng, corpora=(source, np.tile(target[:1], (60, 1))))
    refused("differ in dimension", rng, corpora=(source, target[:, 1:]))


def test_the_command_line(rng, tmp_path, capsys):
    source, target = clouds(rng, warp=WARP)
    write_store(tmp_path / "t", source)
    write_store(tmp_path / "i", target, modality="image")
    words = ["fit", "--source", tmp_path / "t", "--target", tmp_path / "i", "--method", "auto"]
    options = ["--option", 'candidates=["realign", "monge"]', "--option", "rows=400"]
    main([str(word) for word in [*words, *options, "--out", tmp_path / "a"]])
    shown = capsys.readouterr().out
    assert "chosen: monge; the corpora seem to be about the same things" in shown and "\n| monge |" in shown
    record = json.loads((tmp_path / "a" / "aligner.json").read_text())
    assert record["method"] == "monge" and record["auto"]["rows"]["source"] == 400
    loaded = load_aligner(tmp_path / "a")
    assert isinstance(loaded, Monge) and loaded.report.details["auto"] == record["auto"]
    main(["inspect", str(tmp_path / "a")])
    shown = capsys.readouterr().out
    assert "method: monge" in shown and "chosen by auto: monge; " in shown and "\n| realign |" in shown
    main(["inspect", "--json", str(tmp_path / "a")])
    assert json.loads(capsys.readouterr().out)["auto"] == record["auto"]
    with pytest.raises(SystemExit):
        main([str(word) for word in [*words, "--option", "blend=1", "--out", tmp_path / "b"]])
    assert "auto has no option 'blend'; its options: candidates, rows" in capsys.readouterr().err
    refit = ["fit", "--source", tmp_path / "t", "--refit-source", tmp_path / "a", "--method", "auto"]
    with pytest.raises(SystemExit):
        main([str(word) for word in [*refit, "--out", tmp_path / "b"]])
    assert "--refit-source keeps the method" in capsys.readouterr().err and not (tmp_path / "b").exists()
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert "options of auto" in capsys.readouterr().out and "auto" not in ALIGNERS.names()
