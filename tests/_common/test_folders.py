"""Claimed folders: one run at a time, of one request."""

import errno

import pytest
from conftest import ENVIRONMENT, FORKS, held_folder

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


def test_this_process_holds_a_folder_once(tmp_path):
    with ClaimedFolder(tmp_path / "out", "run.json", {}):
        with pytest.raises(RevisionError, match="this process already writes here"):
            ClaimedFolder(tmp_path / "out", "run.json", {"other": 1})
        code = (
            "import sys; from pathlib import Path; from revision_plugin._common.folders import ClaimedFolder\n"
            "ClaimedFolder(Path(sys.argv[1]), 'run.json', {})"
        )
        done = FORKS.run(["-c", code, tmp_path / "out"], environment=ENVIRONMENT)
        assert done.returncode and "still writes here" in done.stderr, "the refused claim did not free the folder"


def test_a_kill_while_the_mark_is_written_leaves_no_foreign_file(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".run.json.123.tmp").write_text("{")
    ClaimedFolder(tmp_path / "out", "run.json", {}).close()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    for shared in (False, True):
        with pytest.raises(RevisionError, match="out: cannot be created"):
            ClaimedFolder(tmp_path / "out", "run.json", {}, shared=shared)
    assert (tmp_path / "out").read_text() == "mine"


def test_no_room_for_the_mark(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("revision_plugin._common.files.os.fsync", full)
        with pytest.raises(RevisionError, match="No space left on device; make room and repeat"):
            ClaimedFolder(tmp_path / "out", "run.json", {})
    ClaimedFolder(tmp_path / "out", "run.json", {}).close()
