"""Faults of the machine under a command: power, disks, pipes, folders, environments. Each in a process of its own."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys

import psutil
import pytest
from conftest import ENVIRONMENT, FLAGS, FORKS, ROOT, STAGE1, STEPS, run, unit_rows, write_store

from revision_plugin._common.files import write_json
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.errors import RevisionError
from revision_plugin.hosts import run_record

CLI = ["-m", "revision_plugin.cli"]
ENCODER = {"spec": "test", "fingerprint": "0" * 64}


def command(*words, cwd, **settings):
    return FORKS.run([*CLI, *map(str, words)], environment=ENVIRONMENT, cwd=cwd, **settings)


def only_line(done) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr[-2000:]
    return lines[0]


# power


@pytest.mark.parametrize("torn", ["empty chunk", "cut chunk", "missing chunk", "empty mark", "cut mark"])
def test_a_power_loss_leaves_a_chunk_that_is_made_again(rng, tmp_path, torn):
    rows = unit_rows(rng, 20, 6)
    expected = write_store(tmp_path / "whole", rows, chunk=10, dtype="float16", texts=["t"] * 20).manifest

    def writer():
        settings = dict(modality="text", encoder=ENCODER, dim=6, dtype="float16", request={})
        return StoreWriter(tmp_path / "s", **settings)

    def write(target, chunk):
        part = slice(10 * chunk, 10 * chunk + 10)
        ids = [f"row-{i}" for i in range(20)][part]
        target.write_chunk(chunk, ids, rows[part], texts=["t"] * 10, conversations=[None] * 10)

    first = writer()
    write(first, 0)
    write(first, 1)
    first.close()
    data, mark = (tmp_path / "s.partial" / "chunks" / f"00000-000001.{ending}" for ending in ("arrow", "json"))
    damaged = data if "chunk" in torn else mark
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2] if "cut" in torn else b"")
    if "missing" in torn:
        damaged.unlink()
    again = writer()
    assert again.has_chunk(0) and not again.has_chunk(1)
    write(again, 1)
    assert again.finish(2).manifest.content_hash == expected.content_hash


def test_a_mark_follows_its_chunk_to_the_disk(rng, tmp_path, monkeypatch):
    """Without fsync before the mark, a power loss could keep the mark and lose the rows."""
    order = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda a, b: order.append(("named", os.path.basename(b))) or replace(a, b))
    place = "/proc/self/fd/{}".format
    monkeypatch.setattr(os, "fsync", lambda fd: order.append(("on disk", os.readlink(place(fd)))) or fsync(fd))
    writer = StoreWriter(tmp_path / "s", modality="image", encoder=ENCODER, dim=6, dtype="float16", request={})
    order.clear()
    writer.write_chunk(0, ["a"], unit_rows(rng, 1, 6))
    steps = [kind + " " + os.path.basename(name).lstrip(".").split(".")[0] for kind, name in order]
    assert steps == ["on disk 00000-000000", "named 00000-000000", "on disk chunks"] * 2


# files


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".x.json.{os.getpid()}.tmp").symlink_to(victim)
    write_json(tmp_path / "x.json", {"a": 1})
    assert victim.read_text() == "mine" and json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


@pytest.mark.slow
def test_files_are_readable_as_the_umask_says(stores, tiny_llm, tmp_path):
    words = [
        *FLAGS,
        *(*STAGE1, "--data_path", stores / "texts", "--revision_aligner", stores / "realign"),
        *("--vision_tower", "revision", "--revision_encoder", "demo", "--model_name_or_path", tiny_llm),
        *("--output_dir", tmp_path / "out", "--max_steps", STEPS, "--save_strategy", "steps", "--save_steps", "2"),
    ]
    script = "import os, sys\nos.umask(0o027)\nfrom revision_plugin.hosts.launch import main\nmain()"
    done = FORKS.run(["-c", script, *map(str, words)], environment=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]
    made = [path for path in (tmp_path / "out").rglob("*") if path.name != ".lock"]
    wrong = [path for path in made if stat.S_IMODE(path.stat().st_mode) != (0o750 if path.is_dir() else 0o640)]
    assert len(made) > 10 and not wrong
    run("fit", "--source", stores / "texts", "--target", stores / "images", "--out", tmp_path / "aligner")
    assert all(path.stat().st_mode & stat.S_IROTH for path in [tmp_path / "aligner", *(tmp_path / "aligner").iterdir()])


@pytest.mark.slow
def test_a_disk_that_fills_under_a_training(stores, tiny_llm, tmp_path):
    """A file-size limit stands in for the disk; with room again the same command goes on."""
    words = [
        *FLAGS,
        *(*STAGE1, "--data_path", stores / "texts", "--revision_aligner", stores / "realign"),
        *("--vision_tower", "revision", "--revision_encoder", "demo", "--model_name_or_path", tiny_llm),
        *("--output_dir", tmp_path / "out", "--max_steps", STEPS, "--save_strategy", "steps", "--save_steps", "2"),
    ]
    script = (
        "import resource\nfrom revision_plugin.hosts.launch import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\nmain()"
    )
    done = FORKS.run(["-c", script, *map(str, words)], environment=ENVIRONMENT)
    assert done.returncode == 2, done.stderr[-2000:]
    (line,) = [line for line in done.stderr.replace("\r", "\n").splitlines() if "error: " in line]
    assert "make room and repeat" in line and not (tmp_path / "out" / "mm_projector.bin").exists()
    done = FORKS.run([str(ROOT / "scripts" / "train.py"), *map(str, words)], environment=ENVIRONMENT)
    assert done.returncode == 0 and (tmp_path / "out" / "mm_projector.bin").exists(), done.stderr[-2000:]
    assert "was cut short by a kill and is deleted" in done.stderr


def test_a_full_device_and_a_closed_pipe(stores, tmp_path):
    words = [sys.executable, *CLI, "inspect", str(stores / "texts")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert done.returncode == 2 and "No space left on device; make room" in only_line(done)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    os.close(writer)
    assert done.returncode == 141 and not done.stderr


def test_the_working_directory_is_gone(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = "import os\nos.rmdir(os.getcwd())\nfrom revision_plugin.cli import main\nmain()"
    done = FORKS.run(["-c", script, "inspect", "x"], environment=ENVIRONMENT, cwd=gone)
    assert done.returncode == 2 and "the working directory is gone; change to one that is there" in only_line(done)


def test_a_terminal_without_unicode(rng, tmp_path):
    write_store(tmp_path / "s", unit_rows(rng, 2, 6), ids=["\u732b\x1b[31m", "b"])
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, *CLI, "inspect", str(tmp_path / "s")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0 and r"first id: \u732b\x1b[31m" in done.stdout, done.stderr


# processes


def test_a_child_ends_with_a_killed_parent(tmp_path):
    script = (
        "import subprocess, sys\nfrom revision_plugin._common.processes import start_child\n"
        "child = start_child([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\nchild.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert child.wait(timeout=20) is None or not child.is_running()


def test_a_forked_process_ends_with_a_killed_parent(tmp_path):
    (tmp_path / "main.py").write_text(
        "import time\nfrom pathlib import Path\nfrom revision_plugin._common.forked import call, forked_processes\n"
        "if __name__ == '__main__':\n"
        f"    log = Path({str(tmp_path / 'log')!r})\n"
        "    with forked_processes(['json'], 1) as context:\n"
        "        child = context.Process(target=call, args=(log, 1, print, ('begun',)))\n"
        "        child.start()\n        child.join()\n"
        "        sleeper = context.Process(target=call, args=(log, 1, time.sleep, (600,)))\n"
        "        sleeper.start()\n"
        "    print(sleeper.pid, flush=True)\n    sleeper.join()\n"
    )
    parent = subprocess.Popen([sys.executable, tmp_path / "main.py"], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    assert (tmp_path / "log").read_text() == "begun\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert child.wait(timeout=20) is None or not child.is_running()


def test_another_number_of_processes_than_before(tmp_path, monkeypatch):
    (tmp_path / "checkpoint-1").mkdir()
    run_record.begin(tmp_path, ["--seed", "1"])
    run_record.CLAIMS.pop().close()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RevisionError, match=r"another number of processes \(1, now 2\)"):
        run_record.begin(tmp_path, ["--seed", "1"])
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(RevisionError, match="the environment variable WORLD_SIZE is 'two', not a number"):
        run_record.begin(tmp_path, ["--seed", "1"])


def test_secrets_stay_out_of_the_record(tmp_path):
    key = "hf_" + "a" * 30
    flags = [
        "--hub_token",
        "opensesame",
        "--run_name",
        key,
        "--hub_model_id",
        "https://me:secret@host/x",
        "--seed",
        "1",
    ]
    run_record.begin(tmp_path, flags)
    text = (tmp_path / "run.json").read_text()
    run_record.CLAIMS.pop().close()
    assert not any(secret in text for secret in ("opensesame", key, "secret")) and '"--seed": "1"' in text


# environments


@pytest.mark.slow
def test_modules_beside_the_user_do_not_run(benchmark_files, stage2, tmp_path):
    """`revision evaluate` started in a folder with a yaml.py; the model's and the output's names hold what lmms-eval
    splits at.
    """
    marker = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    for name in ("yaml", "lmms_eval", "torch"):
        (tmp_path / f"{name}.py").write_text(marker)
    model = tmp_path / "m,blind=True, {1}"
    model.symlink_to(stage2, target_is_directory=True)
    words = ["evaluate", "--model", model, "--tasks", "demo", "--data-root", benchmark_files, "--device", "cpu"]
    words += ["--limit", "2", "--out", tmp_path / "o,u=t"]
    program = [sys.executable, "-P", *CLI]
    done = subprocess.run([*program, *map(str, words)], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "ran").exists()
    settings = json.loads((tmp_path / "o,u=t" / "evaluation.json").read_text())
    assert settings["model"] == str(stage2) and settings["blind"] is False
    assert not list((tmp_path / "o,u=t").glob(".datasets-*"))


@pytest.fixture
def benchmark_files(tmp_path_factory):
    from revision_plugin.demo import corpus, world

    scenes = world.sample_scenes(1, seed=5, held_out=True, distinct=True)
    return corpus.write_benchmark(scenes, tmp_path_factory.mktemp("benchmark"), seed=5)


def test_a_copied_environment_says_so(tmp_path):
    """A checkout copied with its .venv, whose programs name the old place."""
    environment = ROOT / ".venv"
    copied = tmp_path / "copy" / ".venv"
    (copied / "bin").mkdir(parents=True)
    for name in ("pyvenv.cfg", "bin/activate", "bin/revision"):
        shutil.copy(environment / name, copied / name)
    done = subprocess.run([copied / "bin" / "revision", "inspect", "x"], capture_output=True, text=True)
    assert done.returncode == 2 and "was copied or moved and runs the code of" in only_line(done)
    (tmp_path / "copy" / "revision_plugin").mkdir()
    (tmp_path / "copy" / "revision_plugin" / "tower.py").touch()
    activated = [environment / "bin" / "revision", "inspect", "x"]  # what the copied `activate` puts on the path
    done = subprocess.run(activated, capture_output=True, text=True, cwd=tmp_path / "copy")
    assert done.returncode == 2 and "was copied or moved and runs the code of" in only_line(done)
    done = subprocess.run(activated, capture_output=True, text=True, cwd=tmp_path)
    assert "copied or moved" not in done.stderr


@pytest.mark.parametrize(
    "variables, line",
    [
        ({"GPUS": "x[$(touch ran)]"}, "error: GPUS="),
        ({"GLOBAL_BATCH": "a[$(touch ran)]+1"}, "error: GLOBAL_BATCH="),
        ({"BATCH_PER_GPU": "08"}, "error: BATCH_PER_GPU=08; a whole number of at least 1 is needed"),
        ({"TOKENS": "-1"}, "error: TOKENS=-1"),
        ({"SAVE_STEPS": ""}, "error: SAVE_STEPS=''"),
        ({"LEARNING_RATE": "1e-3; touch ran"}, "error: LEARNING_RATE="),
    ],
)
@pytest.mark.parametrize("script", ["pretrain.sh", "finetune.sh"])
def test_numbers_of_the_launches_are_checked(tmp_path, script, variables, line):
    environment = {"PATH": os.environ["PATH"], "DRY_RUN": "1", "DATA": "d", "ENCODER": "demo", **variables}
    done = subprocess.run(
        ["bash", ROOT / "scripts" / script], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    if variables == {"SAVE_STEPS": ""}:  # an empty one takes the default
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2 and done.stderr.startswith(line), done.stderr
    assert not (tmp_path / "ran").exists()


# libraries


def test_threads_meet_no_half_imported_library(tmp_path):
    """An encoder that imports something slow when it is first used: four threads at once would find it half made."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(0.3)\nvalue = 1\n")
    (tmp_path / "lazy_encoder.py").write_text(LAZY_ENCODER)
    (tmp_path / "pictures").mkdir()
    from PIL import Image

    for number in range(8):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "pictures" / f"{number}.png")
    words = ("encode", "--encoder", "python:lazy_encoder:Lazy", "--images", "pictures", "--out", "new")
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(Store.open(tmp_path / "new")) == 8


LAZY_ENCODER = """
import torch
from revision_plugin.encoders import Encoder, ImageProcessor, Tokens

state = {"ready": False, "busy": False}

class Lazy(Encoder):
    dim = 3

    def __init__(self, spec):
        super().__init__(spec)
        self.image_processor = ImageProcessor(self, self.pixels, height=8, width=8, mean=[0] * 3, std=[1] * 3)

    @property
    def fingerprint_parts(self):
        return {}

    def pixels(self, image):
        if not state["ready"]:
            assert not state["busy"], "two threads at once"
            state["busy"] = True
            import slow_module
            state["ready"] = True
        return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(8, 8, 3).permute(2, 0, 1) / 255

    def load_model(self):
        return torch.nn.Linear(3, 3)

    def tokenize_texts(self, texts):
        return Tokens({})

    def text_features(self, model, tokens):
        raise NotImplementedError

    def image_features(self, model, pixels):
        return pixels.mean((2, 3)) + 1
"""
