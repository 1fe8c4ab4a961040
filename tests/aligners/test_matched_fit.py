"""Fits on the rows that the encoder matches: what they win where contents differ, their record, what they refuse."""

import logging

import numpy as np
import pytest
from conftest import write_store

from revision_plugin import Monge, ReAlign, RevisionError, load_aligner
from revision_plugin.aligners.domain import warn_if_far
from revision_plugin.aligners.matched_fit import fit_on_matches
from revision_plugin.aligners.matching import mutual_matches
from revision_plugin.cli import main
from revision_plugin.embeddings.store import Store

DIM = 32


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def world(rng):
    """Makes `count` texts and images of things number 0 to n: (text of row i, image of row i) are a pair."""
    centres = rng.normal(size=(120, DIM)) * np.linspace(1.5, 0.5, DIM)
    turn = 3 * np.eye(DIM + 1)[-1]

    def make(count, shown):
        meant = centres[rng.integers(shown, size=count)] + 0.3 * rng.normal(size=(count, DIM))
        text, image = (np.c_[meant + 0.1 * rng.normal(size=meant.shape), np.zeros(count)] for _ in range(2))
        return unit(text + turn), unit(image - turn)

    return make


def paired_cosine(aligner, texts, images):
    return np.einsum("ij,ij->i", aligner.transform(texts), images).mean()


@pytest.mark.parametrize("method", [ReAlign, Monge])
def test_a_difference_of_content_is_not_copied(world, method):
    texts, images = world(3000, 120)[0], world(3000, 15)[1]
    pairs = world(500, 120)
    everything = paired_cosine(method().fit(texts, images), *pairs)
    matched = paired_cosine(fit_on_matches(method(), texts, images), *pairs)
    assert 1 - matched < 0.6 * (1 - everything)
    same_content = world(3000, 120)[1]
    reference = paired_cosine(method().fit(texts, same_content), *pairs)
    assert paired_cosine(fit_on_matches(method(), texts, same_content), *pairs) == pytest.approx(reference, abs=0.01)


def test_it_is_the_fit_on_those_rows(world):
    texts, images = world(400, 120)[0], world(300, 30)[1]
    aligner = fit_on_matches(ReAlign(), texts, images, held_out=0)
    chosen = mutual_matches(texts, images)
    reference = ReAlign().fit(texts[np.sort(chosen[0])], images[np.sort(chosen[1])], held_out=0)
    assert aligner.identity == reference.identity
    report = aligner.report
    assert report.source.count == report.target.count == len(chosen[0]) < 300
    assert report.details["matched"] == {"source": 400, "target": 300}
    sampled = fit_on_matches(ReAlign(), texts, images, rows=100, seed=4, held_out=0)
    assert sampled.report.details["matched"] == {"source": 100, "target": 100}
    assert sampled.identity == fit_on_matches(ReAlign(), texts, images, rows=100, seed=4, held_out=0).identity


def test_its_record_lasts_and_says_what_it_is(world, tmp_path, capsys, caplog):
    texts, images = world(400, 120)[0], world(300, 20)[1]
    write_store(tmp_path / "texts", texts, modality="text")
    write_store(tmp_path / "images", images, modality="image")
    fit = ["fit", "--source", str(tmp_path / "texts"), "--target", str(tmp_path / "images"), "--matched"]
    main([*fit, "--out", str(tmp_path / "aligner")])
    aligner = load_aligner(tmp_path / "aligner")
    assert aligner.report.details["matched"] == {"source": 400, "target": 300}
    assert aligner.report.source.content_hash == Store.open(tmp_path / "texts").manifest.content_hash
    main(["inspect", str(tmp_path / "aligner")])
    assert "matched" in capsys.readouterr().out
    with caplog.at_level(logging.WARNING):
        warn_if_far(aligner, Store.open(tmp_path / "texts"), corpus=tmp_path, aligner_path="aligner")
    assert not caplog.text, "the corpus' mean is another on purpose"
    with pytest.raises(RevisionError, match="fitted on the rows that the encoder matches; fit it again"):
        aligner.refit_source(Store.open(tmp_path / "texts"))
    with pytest.raises(SystemExit) as stopped:
        main([*fit, "--method", "auto", "--out", str(tmp_path / "other")])
    assert stopped.value.code and "--matched: auto says itself when to match" in capsys.readouterr().err


def test_too_few_matches_are_refused(world):
    texts, images = world(20, 120)[0], world(20, 120)[1]
    with pytest.raises(RevisionError, match="matches needs 24: give larger corpora, or fit on all rows"):
        fit_on_matches(ReAlign(), texts, images)
    with pytest.raises(RevisionError, match="the source does not vary"):
        fit_on_matches(ReAlign(), np.ones((100, DIM + 1)), images)
