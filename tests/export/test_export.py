"""Exported folders: the artefact's own files, unchanged, and cards that say what is in them."""

import dataclasses
import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import yaml
from conftest import ENVIRONMENT, FORKS, refuse, run, unit_rows, write_store
from datasets import load_from_disk
from safetensors.numpy import load_file

from revision_plugin import BlockwiseCovariance, ConnectCollapseCorrupt, ReAlign, Store, load_aligner, of_view
from revision_plugin.errors import RevisionError
from revision_plugin.export.artefacts import export_aligner, export_store
from revision_plugin.hosts.training_flags import model_arguments


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def card_of(folder):
    """The head's values and the text of a card."""
    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(head), text


@pytest.fixture
def aligner(stores, tmp_path):
    run("export", "--aligner", stores / "realign", "--out", tmp_path / "shared")
    return tmp_path / "shared"


@pytest.fixture
def store(stores, tmp_path):
    run("export", "--store", stores / "questions", "--out", tmp_path / "shared")
    return tmp_path / "shared"


def test_an_aligners_files_are_unchanged_and_open(aligner, stores):
    exported, original = files_of(aligner), files_of(stores / "realign")
    assert exported.keys() == {*original, "README.md"}
    assert all(exported[name] == data for name, data in original.items())
    assert load_aligner(aligner).identity == load_aligner(stores / "realign").identity


def test_an_aligners_card_says_what_its_report_says(aligner, stores):
    head, text = card_of(aligner)
    assert head["library_name"] == "revision-plugin" and "aligner-realign" in head["tags"] and "license" not in head
    record = json.loads((stores / "realign" / "aligner.json").read_text())
    for corpus in ("source", "target"):
        assert f"| {record[corpus]['count']} | whole |" in text and record[corpus]["content_hash"] in text
    assert record["encoder"]["fingerprint"] in text and "`demo`" in text and "centroid_rounds" in text
    for gap in (record["centroid_gap_before"], record["centroid_gap"], record["held_out"]["centroid_gap"]):
        assert f"{gap:.4g}" in text
    assert f"held out: {record['held_out']['source_rows']} texts" in text
    assert "2602.07026" in text and "2605.07825" in text
    assert "No licence is named here" in text


def test_an_aligners_card_names_every_parameter_with_its_shape(aligner):
    _, text = card_of(aligner)
    parameters = load_file(aligner / "aligner.safetensors")
    assert {"source_mean", "target_mean"} <= parameters.keys()
    for name, value in parameters.items():
        assert f"| `{name}` | `{list(value.shape)}` | `{value.dtype}` |" in text


def test_the_means_as_the_card_reads_them_are_the_corpora_centroids(aligner, stores, monkeypatch):
    """The card's own snippet, against means of all rows that numpy takes."""
    _, text = card_of(aligner)
    (snippet,) = [each for each in re.findall(r"```python\n(.*?)```", text, re.S) if "safetensors" in each]
    monkeypatch.chdir(aligner)
    names = {}
    exec(snippet, names)
    texts, images = (
        np.concatenate([block.astype(np.float64) for block in Store.open(stores / name).blocks()])
        for name in ("texts", "images")
    )
    texts, images = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (texts, images))
    np.testing.assert_allclose(names["gap"], images.mean(0) - texts.mean(0), atol=1e-12)


def test_a_card_of_c3_fitted_on_arrays(rng, tmp_path):
    rows = unit_rows(rng, 40, 6), unit_rows(rng, 30, 6)
    ConnectCollapseCorrupt(sigma=0.1).fit(*rows, held_out=0).save(tmp_path / "c3")
    export_aligner(tmp_path / "c3", tmp_path / "shared", name="me/c3")
    head, text = card_of(tmp_path / "shared")
    assert "not named (fitted on arrays)" in text and '"sigma": 0.1' in text and "No rows were held out." in text
    assert "2401.08567" in text and 'load_aligner("hf:me/c3@COMMIT")' in text
    assert "names no encoder" in text and "revision apply" not in text
    assert "| `target_mean` | `[6]` | `float64` |" in text


def test_the_three_ways_of_the_card_name_flags_that_there_are(aligner, stores):
    """Each command of the card with the folder in the hub's place; the training as a dry parse of its flags."""
    _, text = card_of(aligner)
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.S)).replace("\\\n", "").splitlines()
    commands = [shlex.split(line) for line in commands if line]
    places = {"hf:OWNER/NAME@COMMIT": str(aligner), "TEXT_STORE": str(stores / "texts")}
    typed = [[places.get(word, word) for word in words] for words in commands]
    assert [words[:2] for words in typed[:2]] == [["revision", "apply"], ["revision", "fit"]]
    for words in typed[:2]:
        words[-1] = str(aligner / words[-1])
        run(*words[1:])
    assert typed[2][:2] == ["python", "scripts/train.py"]
    known = {each.name for each in dataclasses.fields(model_arguments(object))}
    assert {word.removeprefix("--") for word in typed[2] if word.startswith("--revision")} <= known


def test_a_stores_files_are_unchanged_and_open(store, stores):
    exported, original = files_of(store), files_of(stores / "questions")
    assert exported.keys() == {*original, "README.md"} - {"failures.jsonl"}
    assert all(exported[name] == data for name, data in original.items() if name in exported)
    opened = Store.open(store)
    opened.verify()
    assert opened.manifest == Store.open(stores / "questions").manifest


def test_a_stores_card_says_what_its_manifest_says(store):
    manifest = json.loads((store / "manifest.json").read_text())
    head, text = card_of(store)
    assert head["configs"][0]["data_files"][0]["path"] == manifest["shards"] and "license" not in head
    for value in (manifest["content_hash"], manifest["encoder"]["fingerprint"], manifest["dtype"]):
        assert f"`{value}`" in text
    assert f"| rows | {manifest['count']} |" in text and f"| dimension | {manifest['dim']} |" in text
    assert f"| items with conversations | {manifest['conversations']} |" in text and manifest["conversations"]
    assert "| kind | text |" in text and "--data_path hf:OWNER/NAME@COMMIT" in text


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_datasets_opens_an_exported_folder(rng, tmp_path, dtype):
    rows = unit_rows(rng, 25, 6)
    write_store(tmp_path / "s", rows, dtype=dtype, chunk=10)
    export_store(tmp_path / "s", tmp_path / "shared")
    table = load_from_disk(str(tmp_path / "shared"))
    assert table["id"][:] == [f"row-{i}" for i in range(25)] and table["text"][3] == "text 3"
    assert table.column_names == ["id", "embedding", "text", "conversations"]
    np.testing.assert_array_equal(np.asarray(table["embedding"][:], dtype), rows.astype(dtype))


def test_datasets_opens_a_store_in_the_hub_as_its_card_says(hub, rng, tmp_path):
    """The card's own snippet at the commit; `configs` in its head is what leads `datasets` to the rows."""
    rows = unit_rows(rng, 25, 6)
    write_store(tmp_path / "s", rows, dtype="float32", chunk=10)
    export_store(tmp_path / "s", tmp_path / "shared", name="me/rows")
    commit = hub.put("dataset", "me/rows", files_of(tmp_path / "shared"))
    _, text = card_of(tmp_path / "shared")
    (snippet,) = [each for each in re.findall(r"```python\n(.*?)```", text, re.S) if "load_dataset" in each]
    script = f"import json\n{snippet}\nprint(json.dumps(rows[:]))".replace("COMMIT", commit)
    environment = {**ENVIRONMENT, **hub.environment}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = json.loads(done.stdout)
    assert list(loaded) == ["id", "embedding", "text", "conversations"] and loaded["id"][24] == "row-24"
    np.testing.assert_array_equal(np.float32(loaded["embedding"]), np.float32(rows))


def test_a_store_of_views_of_images_and_an_aligned_one(rng, stores, tmp_path):
    numbers = np.tile([0, 1, 2], 4)
    ids = [f"i{k // 3}" for k in range(12)]
    rows = unit_rows(rng, 12, 6)
    write_store(tmp_path / "v", rows, modality="image", ids=ids, views="1x2:crop", numbers=numbers)
    export_store(tmp_path / "v", tmp_path / "shared", name="me/views")
    _, text = card_of(tmp_path / "shared")
    assert "# Embeddings of 12 views of images" in text and "| views of an item | `1x2:crop` |" in text
    assert "--revision_image_store hf:me/views@COMMIT" in text and "| `view` |" in text
    assert "--revision_views 1x2:crop" in text and "--view whole" in text
    run("apply", "--aligner", stores / "realign", "--source", stores / "texts", "--out", tmp_path / "aligned")
    export_store(tmp_path / "aligned", tmp_path / "shared-aligned")
    text = card_of(tmp_path / "shared-aligned")[1]
    assert "| aligned by | `realign` |" in text and "aligned already" in text and "revision fit" not in text


def test_a_card_recommends_only_what_its_aligner_can_do(rng, tmp_path):
    """One of parts is the other flag's, and one whose method needs the target's rows is not fitted again without."""
    stores = {}
    for modality in ("text", "image"):
        ids, numbers = [f"i{k // 3}" for k in range(60)], np.tile([0, 1, 2], 20)
        rows = unit_rows(rng, 60, 6)
        stores[modality] = of_view(
            write_store(tmp_path / modality, rows, modality=modality, ids=ids, views="1x2:crop", numbers=numbers),
            "parts",
        )
    for method in (ReAlign, BlockwiseCovariance):
        aligner = method().fit(stores["text"], stores["image"])
        aligner.save(tmp_path / method.method)
        export_aligner(tmp_path / method.method, tmp_path / f"shared-{method.method}")
        _, text = card_of(tmp_path / f"shared-{method.method}")
        assert "--revision_part_aligner hf:" in text and "--revision_aligner hf:" not in text
        assert "| 40 | `parts of 1x2:crop` |" in text and "--source TEXT_STORE --view parts" in text
        assert ("--refit-source" in text) is (not method.needs_target_rows)
    assert BlockwiseCovariance.needs_target_rows and not ReAlign.needs_target_rows


def test_what_comes_from_data_breaks_no_card(rng, tmp_path):
    """A spec that somebody wrote to deceive: it stays within its code marks, its table's cell and its line."""
    spec = "x`|\n---\nlicense: mit\n$(touch ran)"
    write_store(tmp_path / "s", unit_rows(rng, 5, 6), encoder={"spec": spec, "fingerprint": "0" * 64})
    export_store(tmp_path / "s", tmp_path / "shared")
    head, text = card_of(tmp_path / "shared")
    assert "license" not in head and "\nlicense" not in text
    assert "| encoder | `x'\\|\\n---\\nlicense: mit\\n$(touch ran)` |" in text
    assert '--revision_encoder "ENCODER"' in text


def test_an_encoder_that_is_a_folder_here_is_said(rng, tmp_path, caplog):
    write_store(tmp_path / "s", unit_rows(rng, 5, 6), encoder={"spec": f"hf:{tmp_path}", "fingerprint": "0" * 64})
    export_store(tmp_path / "s", tmp_path / "shared")
    assert f"the encoder is named by a folder of this machine, 'hf:{tmp_path}'" in caplog.text
    caplog.clear()
    write_store(tmp_path / "t", unit_rows(rng, 5, 6), encoder={"spec": "hf:google/siglip", "fingerprint": "0" * 64})
    export_store(tmp_path / "t", tmp_path / "shared-t")
    assert not caplog.text


def test_what_is_refused_leaves_nothing(stores, tmp_path, capsys):
    out = tmp_path / "out"
    assert "no manifest.json" in refuse(capsys, "export", "--store", stores / "realign", "--out", out)
    assert "no aligner.json" in refuse(capsys, "export", "--aligner", stores / "texts", "--out", out)
    assert "one of the arguments --model --aligner --store is required" in refuse(capsys, "export", "--out", out)
    both = ("--aligner", stores / "realign", "--store", stores / "texts")
    assert "not allowed with argument" in refuse(capsys, "export", *both, "--out", out)
    line = refuse(capsys, "export", "--aligner", stores / "realign", "--out", out, "--public")
    assert "--public: is for an upload; give --push OWNER/NAME" in line
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    (out / "mine").write_text("mine")
    assert "already exists" in refuse(capsys, "export", "--aligner", stores / "realign", "--out", out)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_a_damaged_store_is_not_exported(rng, tmp_path):
    write_store(tmp_path / "s", unit_rows(rng, 20, 6))
    shard = next((tmp_path / "s").glob("*.arrow"))
    data = bytearray(shard.read_bytes())
    data[data.index(unit := Store.open(tmp_path / "s").row(7)["embedding"].tobytes())] ^= 1
    assert len(unit) == 24
    shard.write_bytes(bytes(data))
    with pytest.raises(RevisionError, match="the content does not match its hash"):
        export_store(tmp_path / "s", tmp_path / "shared")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_no_room_leaves_nothing(stores, tmp_path):
    script = (
        "import resource, torch, datasets, open_clip, torch.distributed.nn\nfrom revision_plugin.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\nmain()"
    )
    words = ["export", "--store", stores / "texts", "--out", tmp_path / "shared"]
    done = FORKS.run(["-c", script, *words], environment=ENVIRONMENT, cwd=tmp_path)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(lines) == 1 and "cannot be written" in lines[0], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_export_can_be_exported_again(aligner, stores, tmp_path):
    export_aligner(aligner, tmp_path / "again", name="me/again")
    assert load_aligner(tmp_path / "again").identity == load_aligner(aligner).identity
    assert ReAlign().fit(stores / "texts", stores / "images").identity == load_aligner(tmp_path / "again").identity
    assert (
        subprocess.run(["diff", "-q", aligner, tmp_path / "again"], capture_output=True, text=True).stdout.count("\n")
        == 1
    )
