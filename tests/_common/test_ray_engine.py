"""Work on a Ray of this machine: the same results as here, whoever fails. Every test is slow: Ray has to start."""

import json
import logging
import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
import torch
from conftest import refuse
from PIL import Image

from revision_plugin._common.engines import engine, running_on
from revision_plugin.aligners import ALIGNERS
from revision_plugin.aligners.apply import apply_aligner
from revision_plugin.corpora.inputs import open_images, open_texts
from revision_plugin.embeddings import encode, encoding_run, moments, summed_corpora
from revision_plugin.embeddings.encode import encode_images, encode_texts
from revision_plugin.embeddings.item_encoding import TextEncoding
from revision_plugin.embeddings.summed_corpora import SummedCorpus
from revision_plugin.encoders import load_encoder
from revision_plugin.errors import RevisionError

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
WORDS = ("red", "blue", "green", "white", "black", "brown")


@pytest.fixture(scope="module")
def workers():
    from revision_plugin._common.ray_engine import RayEngine

    with RayEngine(workers=2) as started:
        yield started


@pytest.fixture(scope="module")
def demo():
    return load_encoder("demo")


@pytest.fixture
def corpus(tmp_path):
    """Texts in five shards, one of them empty, and a few pictures."""
    (tmp_path / "texts").mkdir()
    for part in range(5):
        lines = [{"text": f"a {WORDS[(row + part) % 6]} dog and {row} cats"} for row in range(0 if part == 2 else 30)]
        (tmp_path / "texts" / f"{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "pictures").mkdir()
    for index in range(9):
        pixels = np.random.default_rng(index).integers(0, 255, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{index}.png")
    return tmp_path


class Squares:
    """Squares numbers; the worker that is given `fatal` dies, once or always."""

    def __init__(self, folder, *, fatal=-1, always=False, refused=-1):
        self.folder, self.fatal, self.always, self.refused = folder, fatal, always, refused

    def __call__(self):
        return self.work

    def work(self, piece):
        number = piece[0]
        if number == self.refused:
            raise RevisionError(f"{number} cannot be squared; leave it out")
        died = self.folder / "died"
        if number == self.fatal and (self.always or not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array([number**2, os.getpid()], np.float64)


def test_a_ray_of_this_command_alone(tmp_path):
    """Beside another Ray of this machine, which Ray itself would join, or one that was here before."""
    from ray.cluster_utils import Cluster

    from revision_plugin._common.ray_engine import RayEngine

    other = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        with RayEngine(workers=2) as started:
            rows = [value for value, _ in started.map(Squares(tmp_path), [(1,), (2,)])]
            assert rows == [1, 4] and started.workers == 2
    finally:
        other.shutdown()


def test_results_come_in_order_from_all_workers(workers, tmp_path):
    first, second = (list(workers.map(Squares(tmp_path), [(n,) for n in range(30)])) for _ in range(2))
    assert [result[0] for result in first] == [n**2 for n in range(30)] == [result[0] for result in second]
    processes = {result[1] for result in first}
    assert len(processes) == 2 and os.getpid() not in processes
    assert processes == {result[1] for result in second}, "workers go on to the next pass"
    assert list(workers.map(Squares(tmp_path), [])) == []


def test_a_worker_that_dies_costs_no_result(workers, tmp_path):
    results = list(workers.map(Squares(tmp_path, fatal=5), [(n,) for n in range(12)]))
    assert [result[0] for result in results] == [n**2 for n in range(12)] and (tmp_path / "died").exists()


def test_a_piece_that_kills_every_worker_ends_the_run(workers, tmp_path):
    with pytest.raises(RevisionError, match=r"Ray gave up \(.*what is done is kept, mend that and repeat"):
        list(workers.map(Squares(tmp_path, fatal=3, always=True), [(n,) for n in range(6)]))


def test_bad_input_in_a_worker_is_one_line(workers, tmp_path):
    with pytest.raises(RevisionError, match="^2 cannot be squared; leave it out$"):
        list(workers.map(Squares(tmp_path, refused=2), [(n,) for n in range(6)]))


@pytest.fixture
def one_thread():
    """As a worker has: with others a processor's convolutions round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_encode_is_the_same_on_workers(workers, demo, corpus, monkeypatch):
    monkeypatch.setattr(encode, "CHUNK_ROWS", 8)
    for name, function, source in (
        ("t", encode_texts, open_texts(corpus / "texts")),
        ("one", encode_texts, open_texts(corpus / "texts" / "1.jsonl")),  # of which workers take chunks
        ("i", encode_images, open_images(corpus / "pictures")),
    ):
        here = function(demo, source, corpus / f"{name}-here", rows_per_shard=20)
        with running_on(workers):
            there = function(demo, source, corpus / f"{name}-there", rows_per_shard=20)
        assert there.manifest.content_hash == here.manifest.content_hash and there.ids() == here.ids(), name
        there.verify()


def test_encode_counts_what_workers_could_not_use(workers, demo, corpus):
    with open(corpus / "texts" / "3.jsonl", "a") as shard:
        shard.write('{"text": ""}\n{"text": null}\n')
    source = open_texts(corpus / "texts")
    with running_on(workers):
        with pytest.raises(RevisionError, match=r"2 unusable item\(s\), first '3.jsonl:30'.*--max-failures 2"):
            encode_texts(demo, source, corpus / "t")
        assert encode_texts(demo, source, corpus / "t", max_failures=2).manifest.failures == 2


def test_a_worker_killed_while_it_encodes(workers, demo, corpus, monkeypatch):
    monkeypatch.setattr(encode, "CHUNK_ROWS", 4)
    source = open_texts(corpus / "texts")
    here, killed = encode_texts(demo, source, corpus / "here"), []

    def kill_one():
        while not killed:
            for process in psutil.process_iter(["name", "cmdline"]):
                if "ray::EngineWorker.work" in " ".join(process.info["cmdline"] or [process.info["name"] or ""]):
                    killed.append(process.pid)
                    process.kill()
                    return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    with running_on(workers):
        there = encode_texts(demo, source, corpus / "there")
    assert killed and there.manifest.content_hash == here.manifest.content_hash


@pytest.fixture
def stores(demo, corpus):
    return (
        encode_texts(demo, open_texts(corpus / "texts"), corpus / "t"),
        encode_images(demo, corpus / "pictures", corpus / "i"),
    )


@pytest.mark.parametrize("method", ["realign", "monge"])
def test_fit_and_apply_are_the_same_on_workers(workers, stores, tmp_path, monkeypatch, method):
    monkeypatch.setattr(moments, "SPAN_BYTES", 16 * 8 * stores[0].dim)  # several spans
    monkeypatch.setattr("revision_plugin.aligners.apply.CHUNK_ROWS", 16)
    here = ALIGNERS.get(method)().fit(*stores, held_out=0.2)
    with running_on(workers):
        there = ALIGNERS.get(method)().fit(*stores, held_out=0.2)
        applied = apply_aligner(here, stores[0], tmp_path / "there")
    assert here.identity == there.identity and here.report == there.report, "to the last bit"
    local = apply_aligner(here, stores[0], tmp_path / "here")
    assert applied.manifest.content_hash == local.manifest.content_hash


@pytest.mark.parametrize("parts", ["many", "one"])
def test_a_fit_from_corpora_on_workers(workers, demo, corpus, monkeypatch, parts):
    for module in (encode, encoding_run, summed_corpora):
        monkeypatch.setattr(module, "CHUNK_ROWS", 8, raising=False)
    texts = open_texts(corpus / "texts" / ("1.jsonl" if parts == "one" else ""))
    stores = (
        encode_texts(demo, texts, corpus / "t", dtype="float32"),
        encode_images(demo, corpus / "pictures", corpus / "i", dtype="float32"),
    )
    with running_on(workers):
        summed = SummedCorpus(workers, demo, texts, TextEncoding())
        there = ALIGNERS.get("realign")().fit(summed, stores[1], held_out=0)
    here = ALIGNERS.get("realign")().fit(*stores, held_out=0)
    assert len(summed) == len(stores[0]) and summed.passes == 3
    for name, value in here.parameters.items():
        np.testing.assert_allclose(there.parameters[name], value, rtol=0, atol=1e-8, err_msg=name)
    with pytest.raises(RevisionError, match="this needs the rows themselves; encode both corpora"):
        next(summed.blocks(4))


def test_commands_on_ray(corpus, capsys, caplog):
    caplog.set_level(logging.ERROR)
    words = ("encode", "--encoder", "demo", "--texts", corpus / "texts", "--out", corpus / "s")
    assert "--workers: is for --engine ray" in refuse(capsys, *words, "--workers", 2)
    assert engine() is None


def test_a_node_that_is_removed_costs_nothing(workers, tmp_path):
    """Its own cluster of two nodes, in another process: this one is connected already."""
    import subprocess
    import sys

    script = tmp_path / "main.py"
    script.write_text(NODE)
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("all there")


NODE = """
import sys, threading, time
from pathlib import Path
import numpy as np
from ray.cluster_utils import Cluster
from revision_plugin._common.ray_engine import RayEngine

class Slow:
    def __call__(self):
        return lambda piece: (time.sleep(0.3), np.array([piece[0]], float))[1]

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})  # with no room for those of the other
    second = cluster.add_node(num_cpus=1)
    with RayEngine(cluster.address) as engine:
        threading.Timer(4, lambda: cluster.remove_node(second)).start()
        results = [int(result[0]) for result in engine.map(Slow(), [(n,) for n in range(60)])]
    assert results == list(range(60)), results
    cluster.shutdown()
    print("all there")
"""
