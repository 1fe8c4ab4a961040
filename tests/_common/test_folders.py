"""Claimed folders: one run at a time, of one request."""

import pytest
from conftest import held_folder

from revision_plugin._common.folders import LOCK, ClaimedFolder
from revision_plugin.errors import RevisionError


def test_the_same_request_goes_on_and_another_is_named(tmp_path):
    out = tmp_path / "out"
    with ClaimedFolder(out, "run.json", {"seed": 1, "size": (2, 3)}):
        (out / "part").write_text("done")
    with ClaimedFolder(out, "run.json", {"seed": 1, "size": (2, 3)}):
        assert (out / "part").read_text() == "done"
    with pytest.raises(RevisionError, match="holds a stopped run with another seed, size; repeat its command"):
        ClaimedFolder(out, "run.json", {"seed": 2})
    with ClaimedFolder(out, "run.json", {"seed": 1, "size": (2, 3)}):
        pass  # the refused one let go of the folder


def test_foreign_files_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RevisionError, match="is not empty; choose another --out"):
        ClaimedFolder(tmp_path, "run.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with ClaimedFolder(tmp_path, "run.json", {}, shared=True):
        assert (tmp_path / "mine.txt").exists()


def test_a_folder_has_one_writer(tmp_path):
    with held_folder(tmp_path / "out") as holder:
        with pytest.raises(RevisionError, match=rf"another process \({holder}\) still writes here"):
            ClaimedFolder(tmp_path / "out", "run.json", {})
    ClaimedFolder(tmp_path / "out", "run.json", {}).close()


def test_a_lock_follows_no_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(RevisionError, match="cannot be created"):
        ClaimedFolder(tmp_path / "out", "run.json", {})
    assert (tmp_path / "precious").read_text() == "precious"
