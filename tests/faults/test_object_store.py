"""Kills of a command that writes to an object store, and a training that reads one, each in its own process."""

import os
import shutil
import signal
import time

import pytest
from conftest import ENVIRONMENT, FLAGS, FORKS, ROOT, STAGE1, STEPS, projector, run
from object_store import served

from revision_plugin.embeddings.remote_publishing import work_folder
from revision_plugin.embeddings.store import Store

pytestmark = pytest.mark.slow
ENCODE = (
    "import revision_plugin.embeddings.encode as e\ne.CHUNK_ROWS = 10\nfrom revision_plugin.cli import main\nmain()"
)


@pytest.fixture
def there(tmp_path, monkeypatch):
    """The object store and an empty cache, for this process and those that it starts."""
    monkeypatch.setenv("REVISION_CACHE", str(tmp_path / "cache"))
    with served() as store:
        names = (
            "AWS_ENDPOINT_URL",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_DEFAULT_REGION",
            "REVISION_CACHE",
        )
        store.environment = {**ENVIRONMENT, **{name: os.environ[name] for name in names}}
        yield store


def test_an_encode_that_is_killed_while_it_uploads(there, world_files, tmp_path):
    name, log = "s3://bucket/new", tmp_path / "log"
    words = ["encode", "--encoder", "demo", "--rows-per-shard", "20"]
    words += ["--texts", str(world_files / "texts.json"), "--out"]

    def start(out):
        with open(log, "w") as file:
            settings = dict(environment=there.environment, cwd=tmp_path, stdout=file, stderr=file)
            return FORKS.popen(["-c", ENCODE, *words, out], **settings)

    there.fault("PUT /bucket/new/data-00001", seconds=600)
    process = start(name)
    while not any(each.startswith("PUT /bucket/new/data-00001") for each in there.requests):
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -9 and there.names("new") == {"data-00000.arrow"}
    there.faults.clear()
    del there.requests[:]
    process = start(name)
    assert process.wait(timeout=200) == 0, log.read_text()
    assert not any(each.startswith("PUT /bucket/new/data-00000") for each in there.requests), "what is there stays"
    process = start("whole")
    assert process.wait(timeout=200) == 0, log.read_text()
    made, whole = Store.open(name), Store.open(tmp_path / "whole")
    made.verify()
    assert made.manifest.content_hash == whole.manifest.content_hash and len(made.manifest.shards) == 3
    assert there.names("new") == {path.name for path in whole.path.iterdir()} and not work_folder(name).exists()


def test_a_training_from_an_object_store(there, stores, tiny_llm, tmp_path):
    """It learns what it learns from the store on disk, and refuses a cache that cannot hold the store."""
    there.put(stores / "texts", "texts")
    run("fit", "--source", "s3://bucket/texts", "--target", stores / "images", "--out", tmp_path / "realign")
    local = (stores / "realign" / "aligner.safetensors").read_bytes()
    assert (tmp_path / "realign" / "aligner.safetensors").read_bytes() == local
    shutil.rmtree(tmp_path / "cache")
    size = (stores / "texts" / "data-00000.arrow").stat().st_size

    def train(out, data, **variables):
        words = [
            *(*FLAGS, *STAGE1, "--data_path", data, "--revision_aligner", stores / "realign"),
            *("--vision_tower", "revision", "--revision_encoder", "demo", "--model_name_or_path", tiny_llm),
            *("--output_dir", tmp_path / out, "--max_steps", STEPS, "--dataloader_num_workers", "2"),
        ]
        environment = {**there.environment, **variables}
        return FORKS.run([str(ROOT / "scripts" / "train.py"), *map(str, words)], environment=environment)

    done = train("small", "s3://bucket/texts", REVISION_CACHE_SIZE=str(size - 1))
    (line,) = [line for line in done.stderr.replace("\r", "\n").splitlines() if "error: " in line]
    assert done.returncode == 2 and "a training reads all rows in random order; the store takes" in line
    for out, data in (("there", "s3://bucket/texts"), ("here", stores / "texts")):
        done = train(out, data, REVISION_CACHE_SIZE=str(size))
        assert done.returncode == 0, done.stderr[-3000:]
    one, other = projector(tmp_path / "there"), projector(tmp_path / "here")
    assert one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)
