"""Mirrored datasets: what is missing is named, and every run reads the folder that it was given."""

import json

import pytest
import yaml
from datasets import Dataset

from revision_plugin.errors import RevisionError
from revision_plugin.evaluation.mirror import mirrored

MME = "lmms-lab-encoder/MME"
ROWS = [{"question_id": str(n), "question": "q", "answer": "Yes"} for n in range(4)]


def write_mirror(root, *, shards=2, said=4, card=True):
    """MME's layout in two shards, with the counts its README says."""
    folder = root / MME
    (folder / "data").mkdir(parents=True)
    for number in range(shards):
        part = Dataset.from_list(ROWS[2 * number : 2 * number + 2])
        part.to_parquet(folder / "data" / f"test-{number:05d}-of-00002.parquet")
    head = {
        "configs": [{"config_name": "default", "data_files": [{"split": "test", "path": "data/test-*"}]}],
        "dataset_info": {"splits": [{"name": "test", "num_examples": said}]},
    }
    if card:
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump(head)}---\n# MME\n")
    return folder


def test_a_whole_mirror_is_taken(tmp_path):
    folder = write_mirror(tmp_path)
    assert mirrored(["revision_mme"], tmp_path) == {"revision_mme": folder}


def test_a_missing_shard_is_named(tmp_path):
    write_mirror(tmp_path, shards=1)
    with pytest.raises(RevisionError, match="MME: lacks data/test-00001-of-00002.parquet; 'hf download --repo-type"):
        mirrored(["revision_mme"], tmp_path)


def test_missing_rows_are_named(tmp_path):
    write_mirror(tmp_path, said=2374)
    with pytest.raises(RevisionError, match="its split 'test' has 4 rows, its README.md says 2374"):
        mirrored(["revision_mme"], tmp_path)


def test_a_missing_readme_is_named(tmp_path, caplog):
    write_mirror(tmp_path, card=False)
    mirrored(["revision_mme"], tmp_path)
    assert "MME: lacks README.md, which says which files are which split" in caplog.text
    (tmp_path / "MMMU" / "MMMU_Pro").mkdir(parents=True)
    with pytest.raises(RevisionError, match="lacks README.md, .* of 'standard \\(10 options\\)'"):
        mirrored(["revision_mmmu_pro"], tmp_path)


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "VisuLogic" / "VisuLogic").mkdir(parents=True)
    with pytest.raises(RevisionError, match="VisuLogic: lacks data.jsonl"):
        mirrored(["revision_visulogic"], tmp_path)
    (tmp_path / "VisuLogic" / "VisuLogic" / "data.jsonl").write_text("")
    with pytest.raises(RevisionError, match="VisuLogic: lacks images.zip"):
        mirrored(["revision_visulogic"], tmp_path)
    (tmp_path / MME).mkdir(parents=True)
    with pytest.raises(RevisionError, match="MME: holds no data files"):
        mirrored(["revision_mme"], tmp_path)


@pytest.mark.parametrize("pattern", ["data/test-*", "**/test-*", "./data/*.parquet"])
def test_a_whole_mirror_in_other_words(tmp_path, pattern):
    """A linked folder, another config that is here in part, what a download leaves behind, other forms of the card."""
    folder = write_mirror(tmp_path)
    if "**" not in pattern:  # `datasets` follows no links there
        (folder / "data").rename(tmp_path / "elsewhere")
        (folder / "data").symlink_to(tmp_path / "elsewhere")
    (folder / "other").mkdir()
    Dataset.from_list(ROWS).to_parquet(folder / "other" / "other-00000-of-00002.parquet")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "x.metadata").write_text("")
    info = {"config_name": "default", "splits": {"test": {"name": "test", "num_examples": 4}}}
    configs = [
        {"config_name": "default", "data_files": [{"split": "test", "path": [pattern]}]},
        {"config_name": "Full", "data_files": [{"split": "all", "path": "other/*"}]},
    ]
    head = yaml.safe_dump({"title": "a --- b", "configs": configs, "dataset_info": [info]})
    (folder / "README.md").write_bytes(f"---\n{head}---\n\n# caf\xe9\n---\n".encode("latin-1"))
    assert mirrored(["revision_mme"], tmp_path) == {"revision_mme": folder}
    (folder / "data" / "test-00001-of-00002.parquet").unlink()
    with pytest.raises(RevisionError, match="lacks data/test-00001-of-00002.parquet"):
        mirrored(["revision_mme"], tmp_path)


@pytest.mark.parametrize("damage", ["no: [yaml", "x"])
def test_a_damaged_readme_or_shard_gets_one_line(tmp_path, damage):
    folder = write_mirror(tmp_path)
    if damage == "x":
        (folder / "data" / "test-00001-of-00002.parquet").write_bytes(b"PAR1")
    else:
        (folder / "README.md").write_text(f"---\n{damage}\n---\n")
    with pytest.raises(RevisionError, match="no whole parquet file|its head is no YAML") as error:
        mirrored(["revision_mme"], tmp_path)
    assert "\n" not in str(error.value) and json.dumps(str(error.value))
