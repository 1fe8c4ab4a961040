"""Faults of work on Ray. One Ray of this machine serves all tests; commands reach it as they would a cluster."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from conftest import ENVIRONMENT

from revision_plugin._common.engines import running_on
from revision_plugin._common.processes import module_path
from revision_plugin.corpora.inputs import open_texts
from revision_plugin.embeddings import encoding_run
from revision_plugin.embeddings.encode import encode_texts
from revision_plugin.embeddings.encoding_run import EncodingWork
from revision_plugin.embeddings.store import Store
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
PARTS, ROWS = 6, 300
MODE = "RAY_AUTH_MODE"
HEAD = {"num_cpus": 4, "object_store_memory": 2**27, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", module_path())
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        started = Cluster(initialize_head=True, head_node_args=HEAD)
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def workers(cluster):
    from revision_plugin._common.ray_engine import RayEngine

    with RayEngine(cluster.address, workers=2) as started:
        yield started


@pytest.fixture(scope="module")
def demo():
    return load_encoder("demo")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, demo):
    """Texts in shards, with ids, and the store that this process makes of them, with as many threads as a worker."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "texts").mkdir()
    for part in range(PARTS):
        lines = [json.dumps({"id": f"{part}-{row}", "text": f"{row} dogs and {part} cats"}) for row in range(ROWS)]
        (folder / "texts" / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    encode_texts(demo, folder / "texts", folder / "here")
    torch.set_num_threads(before)
    return folder


@pytest.fixture
def shards(corpus, tmp_path):
    """A corpus of one's own to damage."""
    (tmp_path / "texts").mkdir()
    for shard in (corpus / "texts").iterdir():
        (tmp_path / "texts" / shard.name).write_bytes(shard.read_bytes())
    return tmp_path / "texts"


def hash_of(store) -> str:
    return Store.open(store).manifest.content_hash


def test_the_driver_is_killed_and_the_command_repeated(cluster, corpus, tmp_path):
    out = tmp_path / "store"
    words = ["-m", "revision_plugin.cli", "encode", "--encoder", "demo", "--texts", corpus / "texts", "--out", out]
    words += ["--engine", "ray", "--address", cluster.address, "--workers", "2"]
    command = [sys.executable, *map(str, words)]
    # this process may have had a Ray of its own before, whose token the cluster asks for since then
    environment = {**ENVIRONMENT, **({MODE: os.environ[MODE]} if MODE in os.environ else {})}
    said = tmp_path / "first.log"
    with said.open("w") as log:
        first = subprocess.Popen(command, env=environment, stderr=log)
    deadline = time.monotonic() + 280
    try:
        while not list(tmp_path.glob("store.partial/chunks/*-*.json")):
            assert first.poll() is None and time.monotonic() < deadline, said.read_text()
            time.sleep(0.005)
    finally:
        first.kill()
        first.wait()
    assert not out.exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert hash_of(out) == hash_of(corpus / "here") and not out.with_name("store.partial").exists()


GUARDED = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def test_a_cluster_that_asks_for_a_token(corpus, tmp_path):
    """As one that was started where a token lies: it is not sent to an address before one says so."""
    token = {MODE: "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    guarded = subprocess.Popen(
        [sys.executable, "-c", GUARDED], env={**ENVIRONMENT, **token, "PYTHONPATH": module_path()}, **pipes
    )
    try:
        address = guarded.stdout.readline().strip()
        words = ["-m", "revision_plugin.cli", "encode", "--encoder", "demo", "--texts", corpus / "texts"]
        words += ["--out", tmp_path / "store", "--engine", "ray", "--address", address, "--workers", "1"]
        command = [sys.executable, *map(str, words)]
        refused = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert refused.returncode == 2 and not (tmp_path / "store").exists()
        line = refused.stderr.splitlines()[-1]
        assert line.startswith(f"error: the Ray cluster at {address} does not answer: ")
        assert line.endswith("; one that asks for a token needs RAY_AUTH_MODE=token")
        done = subprocess.run(command, env={**ENVIRONMENT, **token}, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    finally:
        guarded.communicate("", timeout=60)
    assert hash_of(tmp_path / "store") == hash_of(corpus / "here")


class LittleRoom(EncodingWork):
    """A worker's disk takes no file of more than some bytes."""

    def __call__(self):
        work = super().__call__()

        def limited(piece):
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
            try:
                return work(piece)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)

        return limited


def test_a_workers_disk_that_fills(workers, demo, corpus, tmp_path, monkeypatch):
    out = tmp_path / "store"
    with running_on(workers):
        with monkeypatch.context() as patch:
            patch.setattr(encoding_run, "EncodingWork", LittleRoom)
            with pytest.raises(RevisionError) as refused:
                encode_texts(demo, open_texts(corpus / "texts"), out)
        line = str(refused.value)
        assert "cannot be written: File too large; what is done is kept, repeat the command" in line
        assert "\n" not in line and not out.exists() and not list(tmp_path.rglob("*.arrow"))
        encode_texts(demo, open_texts(corpus / "texts"), out)
    assert hash_of(out) == hash_of(corpus / "here")


class Greedy:
    """Work that needs more memory than its process may have."""

    def __call__(self):
        return self.work

    def work(self, piece):
        before = resource.getrlimit(resource.RLIMIT_AS)
        has = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (has + 2**31, before[1]))
        try:
            return np.ones(2**33)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_worker_out_of_memory(workers):
    with pytest.raises(RevisionError, match="^a worker of Ray has run out of memory; what is done is kept: repeat"):
        list(workers.map(Greedy(), [(0,)]))


def test_what_rays_memory_monitor_ends():
    from ray.exceptions import OutOfMemoryError

    from revision_plugin._common.ray_engine import ray_failures

    with (
        pytest.raises(RevisionError, match="^a worker of Ray has run out of memory; .* fewer --workers"),
        ray_failures(),
    ):
        raise OutOfMemoryError("Task was killed due to the node running low on memory.\n\nMemory on the node ...")


def cut(folder):
    (folder / "3.jsonl").write_text((folder / "3.jsonl").read_text()[:-20])


def empty(folder):
    (folder / "3.jsonl").write_text("")


def missing(folder):
    (folder / "3.jsonl").unlink()


def twice(folder):
    (folder / "9.jsonl").write_bytes((folder / "3.jsonl").read_bytes())


@pytest.mark.parametrize("damage", [cut, missing, twice])
def test_a_shard_that_is_not_right(workers, demo, corpus, shards, tmp_path, damage):
    opened = open_texts(shards)
    damage(shards)
    if damage is twice:
        opened = open_texts(shards)
    lines = []
    for name, place in (("here", contextlib.nullcontext()), ("there", running_on(workers))):
        with place, pytest.raises(RevisionError) as refused:
            encode_texts(demo, opened, tmp_path / name)
        lines.append(str(refused.value))
        assert "\n" not in lines[-1] and not (tmp_path / name).exists()
    if damage is twice:  # here it is seen while reading, there when the shards are put together
        assert all("' occurs more than once; ids must be unique" in line for line in lines)
        return
    assert lines[0] == lines[1] and "3.jsonl" in lines[0]
    (shards / "3.jsonl").write_bytes((corpus / "texts" / "3.jsonl").read_bytes())
    with running_on(workers):
        encode_texts(demo, opened, tmp_path / "there")
    assert hash_of(tmp_path / "there") == hash_of(corpus / "here")


def test_an_empty_shard(workers, demo, shards, tmp_path):
    empty(shards)
    with running_on(workers):
        there = encode_texts(demo, open_texts(shards), tmp_path / "there")
    assert len(there) == (PARTS - 1) * ROWS and there.ids()[3 * ROWS] == "4-0"
