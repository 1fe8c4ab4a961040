"""run.json and the folder it holds."""

import contextlib
import subprocess
import sys

import pytest

from revision_plugin._common.flags import parse_flags, says_true
from revision_plugin.errors import RevisionError
from revision_plugin.hosts import checkpoints, run_record

HOLD = """
import sys
from pathlib import Path
from revision_plugin.hosts import run_record
run_record.begin(Path(sys.argv[1]), ["--learning_rate", "1"])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_is_held_by_one_training_until_its_process_ends(tmp_path):
    out = tmp_path / "out"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RevisionError, match=rf"{out}: another process \({holder.pid}\) still writes here"):
        run_record.begin(out, ["--learning_rate", "2"])
    holder.kill()
    holder.wait()
    run_record.begin(out, ["--learning_rate", "2"])


def test_flags_as_argparse_reads_them():
    words = ["--bf16", "--lr=1e-3", "--betas", "0.9", "0.98", "--seed", "1", "--seed", "2", "--group=a=b"]
    assert parse_flags(words) == {
        "--bf16": "",
        "--lr": "1e-3",
        "--betas": "0.9 0.98",
        "--seed": "2",
        "--group": "a=b",
    }
    assert says_true(parse_flags(["--overwrite_output_dir", "--seed", "1"])["--overwrite_output_dir"])
    assert [says_true(word) for word in ("True", "yes", True, "False", "0", False)] == [True] * 3 + [False] * 3


def checkpoint(out, name):
    (out / name).mkdir(parents=True)
    (out / name / "optimizer.pt").write_bytes(b"weights")
    (out / name / "trainer_state.json").write_text("{}")
    checkpoints.complete(out / name)
    return out / name


def test_a_kill_while_an_older_checkpoint_is_deleted(tmp_path):
    """What it leaves is deleted; the same in a folder that nobody was deleting is refused."""
    older, newest = checkpoint(tmp_path, "checkpoint-9"), checkpoint(tmp_path, "checkpoint-10")
    with contextlib.suppress(KeyboardInterrupt), checkpoints.deleting_older(tmp_path):
        (older / "optimizer.pt").unlink()
        raise KeyboardInterrupt
    checkpoints.tidy(tmp_path)
    assert not older.exists() and newest.exists()
    older = checkpoint(tmp_path, "checkpoint-9")
    (older / "optimizer.pt").unlink()
    with pytest.raises(RevisionError, match="optimizer.pt is missing since it was saved"):
        checkpoints.tidy(tmp_path)
    (older / checkpoints.COMPLETE).unlink()
    with pytest.raises(RevisionError, match="is no checkpoint that this training saved"):
        checkpoints.tidy(tmp_path)
    assert older.exists()
