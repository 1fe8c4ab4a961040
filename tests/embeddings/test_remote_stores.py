"""Stores on other file systems: what is fetched when, what the cache holds, and how a store gets there."""

import os
import pickle
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import fsspec
import numpy as np
import pytest
from conftest import ENVIRONMENT, ROOT, unit_rows, write_store

from revision_plugin._common import file_cache
from revision_plugin._common.file_cache import FileCache, read_size
from revision_plugin.corpora.locations import reading
from revision_plugin.embeddings import remote_stores
from revision_plugin.embeddings.addresses import store_name
from revision_plugin.embeddings.item_views import of_view
from revision_plugin.embeddings.remote_publishing import UPLOADED, work_folder
from revision_plugin.embeddings.store import Store, is_store, store_folder
from revision_plugin.errors import RevisionError
from revision_plugin.export.artefacts import export_store
from revision_plugin.hosts.examples import TextOnlyData

NAME = "memory://bucket/store"
SETTINGS = dict(chunk=10, rows_per_shard=20)  # five shards
HELD = """
import fcntl, sys
files = [open(path) for path in sys.argv[1:]]
for file in files:
    fcntl.flock(file, fcntl.LOCK_SH)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """A file system in memory, which counts what is fetched whole, and an empty cache."""
    monkeypatch.setenv("REVISION_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REVISION_CACHE_SIZE", raising=False)
    monkeypatch.setattr(remote_stores, "_AT_RANDOM", weakref.WeakSet())
    system = fsspec.filesystem("memory")
    system.store.clear()
    fetched, get_file = [], type(system).get_file

    def counted(self, path, *arguments, **keywords):
        fetched.append(os.path.basename(path))
        return get_file(self, path, *arguments, **keywords)

    monkeypatch.setattr(type(system), "get_file", counted)
    system.fetched = fetched
    yield system
    system.store.clear()


@pytest.fixture
def rows(rng):
    return unit_rows(rng, 100, 6).astype("float32")


@pytest.fixture
def local(rows, tmp_path):
    return write_store(tmp_path / "s", rows, **SETTINGS)


@pytest.fixture
def remote(memory, local):
    memory.put(f"{local.path}/", "/bucket/store/", recursive=True)
    return Store.open(NAME)


def cached(store):
    return sorted(store.shards.folder.glob("data-*"))


def damage(memory, path):
    data = bytearray(memory.cat_file(path))
    data[data.index(b"text 25") + 5] ^= 1
    memory.pipe(path, bytes(data))


@pytest.mark.parametrize(
    "name, meant",
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        (Path("s3://bucket/a"), "s3://bucket/a"),
        ("S3://Bucket/a", "s3://Bucket/a"),
        ("file:///data/a", Path("/data/a")),
        (Path("file:///data/a"), Path("/data/a")),
        ("file://a/b", Path("a/b")),
        ("a/b", Path("a/b")),
        ("hf:me/store@" + "a" * 40, Path("hf:me/store@" + "a" * 40)),
        ("hf://datasets/me/store", "hf://datasets/me/store"),
        ("odd:/name", Path("odd:/name")),
    ],
)
def test_what_a_name_means(name, meant):
    assert store_name(name) == meant


def test_a_shard_is_fetched_when_something_first_reads_it(memory, remote, local, rows):
    assert len(remote) == 100 and remote.manifest == local.manifest and remote.path == NAME
    assert memory.fetched == [] and not cached(remote)
    assert remote.row(25) | {"embedding": 0} == local.row(25) | {"embedding": 0}
    assert memory.fetched == ["data-00001.arrow"]
    np.testing.assert_array_equal(np.concatenate([*remote.blocks(7)]), rows)
    np.testing.assert_array_equal(remote.take(np.array([99, 0, 20])), rows[[99, 0, 20]])
    assert remote.ids() == local.ids()
    assert sorted(memory.fetched) == remote.manifest.shards
    again = pickle.loads(pickle.dumps(Store.open(Path(NAME))))
    again.verify()
    assert again.path == NAME and len(memory.fetched) == 5
    for each, shard in zip(cached(remote), sorted(local.path.glob("data-*")), strict=True):
        assert each.read_bytes() == shard.read_bytes()


def test_a_store_of_one_shard_and_one_of_views(memory, rows, tmp_path):
    write_store(tmp_path / "one", rows)
    numbers = [0, 1] * 50
    ids = [f"item {row // 2}" for row in range(100)]
    views = write_store(tmp_path / "views", rows, views="clauses", numbers=numbers, ids=ids, **SETTINGS)
    for name in ("one", "views"):
        memory.put(f"{tmp_path / name}/", f"/b/{name}/", recursive=True)
    one = Store.open("memory://b/one")
    one.verify_embeddings()
    np.testing.assert_array_equal(np.concatenate([*one.blocks()]), rows)
    there = of_view(Store.open("memory://b/views"), "parts")
    np.testing.assert_array_equal(np.concatenate([*there.blocks()]), rows[1::2])
    assert there.row(3) | {"embedding": 0} == of_view(views, "parts").row(3) | {"embedding": 0}


def test_a_name_of_a_store_and_other_names(memory, remote, local):
    assert is_store(NAME) and not is_store("memory://bucket/other") and not is_store("memory://bucket/*.parquet")
    assert store_folder(NAME) == remote.shards.folder and is_store(f"file://{local.path}")
    assert Store.open(f"file://{local.path}").path == local.path
    with pytest.raises(RevisionError, match="memory://bucket/none: no manifest.json there, so no finished embedding"):
        Store.open("memory://bucket/none")


def test_a_store_that_was_written_again_is_another_one(memory, remote, rows, tmp_path):
    remote.verify()
    write_store(tmp_path / "t", rows[::-1], **SETTINGS)
    memory.put(f"{tmp_path / 't'}/", "/bucket/store/", recursive=True)
    again = Store.open(NAME)
    np.testing.assert_array_equal(np.concatenate([*again.blocks()]), rows[::-1])
    assert again.shards.folder != remote.shards.folder and len(memory.fetched) == 10


# the cache


def test_the_cache_never_grows_beyond_its_size(memory, remote, rows, monkeypatch):
    room = 2 * max(remote.manifest.shard_bytes)
    monkeypatch.setenv("REVISION_CACHE_SIZE", str(room))
    small = Store.open(NAME)
    for index in (0, 30, 50, 70, 90, 70, 0):
        np.testing.assert_array_equal(small.span(index, index + 1)[0], rows[index])
        held = small.shards.folder / small.shards.names[small.shards.place(index)[0]]
        assert held in cached(small) and sum(each.stat().st_size for each in cached(small)) <= room
    names = [f"data-0000{shard}.arrow" for shard in (0, 1, 2, 3, 4, 0)]
    assert memory.fetched == names, "the one that was not read for longest goes"
    np.testing.assert_array_equal(np.concatenate([*small.blocks()]), rows)


def test_a_shard_that_does_not_fit(remote, monkeypatch):
    monkeypatch.setenv("REVISION_CACHE_SIZE", "1kB")
    line = r"memory://bucket/store/data-00000.arrow: its 1.\d+ kB do not fit into the cache of 1 kB in .*--cache-size"
    with pytest.raises(RevisionError, match=line):
        Store.open(NAME).row(0)


def test_a_file_that_another_process_reads_is_not_removed(memory, remote, monkeypatch):
    remote.row(0), remote.row(20)
    while remote.shards.let_go():
        pass
    files = cached(remote)
    holder = subprocess.Popen(
        [sys.executable, "-c", HELD, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    monkeypatch.setenv("REVISION_CACHE_SIZE", str(2 * max(remote.manifest.shard_bytes)))
    small = Store.open(NAME)
    with pytest.raises(RevisionError, match="is full of files that other processes read; give a larger --cache-size"):
        small.row(50)
    assert cached(remote) == files
    holder.communicate("")
    small.row(50)
    assert len(cached(remote)) == 2 and files[0] not in cached(remote)


def test_a_lease_is_of_forked_processes_too(tmp_path):
    """A data loader's worker reads on when the training has let the file go."""
    cache = FileCache(tmp_path, 10)
    no = lambda: False  # noqa: E731
    lease = cache.lease(tmp_path / "s" / "a", "a", 8, lambda part: part.write_bytes(b"12345678"), no)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    lease.close()
    with pytest.raises(RevisionError, match="is full of files"):
        cache.lease(tmp_path / "s" / "b", "b", 8, lambda part: part.write_bytes(b"12345678"), no)
    os.close(writer)
    os.waitpid(child, 0)
    cache.lease(tmp_path / "s" / "b", "b", 8, lambda part: part.write_bytes(b"12345678"), no)
    assert {path.name for path in (tmp_path / "s").iterdir() if path.name[0] != "."} == {"b"}


def test_many_readers_fetch_a_shard_once(memory, remote):
    stores = [Store.open(NAME) for _ in range(4)]
    threads = [threading.Thread(target=store.row, args=(25,)) for store in stores for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.fetched == ["data-00001.arrow"]


def test_a_killed_fetch_leaves_nothing_for_long(memory, remote, rows, monkeypatch):
    sizes = remote.manifest.shard_bytes
    for shard in (0, 3):  # which took room under the size that they were to have
        (remote.shards.folder / f".data-0000{shard}.arrow.{sizes[shard]}.part").write_bytes(b"cut")
        (remote.shards.folder / f".data-0000{shard}.arrow.lock").touch()
    monkeypatch.setenv("REVISION_CACHE_SIZE", str(sum(sizes[:2]) + 10))
    small = Store.open(NAME)
    np.testing.assert_array_equal(np.concatenate([*small.blocks()]), rows)
    assert not list(remote.shards.folder.glob("*.part"))


def test_a_wrong_byte_is_never_used(memory, remote, caplog):
    sound = memory.cat_file("/bucket/store/data-00001.arrow")
    damage(memory, "/bucket/store/data-00001.arrow")
    with pytest.raises(RevisionError, match="data-00001.arrow: the content does not match its hash, fetched twice; it"):
        remote.row(25)
    assert not cached(remote) and not list(remote.shards.folder.glob("*.part"))
    assert memory.fetched == ["data-00001.arrow"] * 2 and "it is fetched again" in caplog.text
    memory.pipe("/bucket/store/data-00001.arrow", sound)
    assert remote.row(25)["text"] == "text 25"


@pytest.mark.parametrize("how", ["cut", "empty", "missing", "longer"])
def test_a_shard_that_is_not_whole_there(memory, remote, how):
    path = "/bucket/store/data-00002.arrow"
    data = memory.cat_file(path)
    memory.rm(path)
    if how != "missing":
        memory.pipe(path, {"cut": data[:100], "empty": b"", "longer": data + b"x"}[how])
    line = "shard is missing there" if how == "missing" else r"shard is damaged there \((\d+ bytes, not|it is empty)"
    with pytest.raises(RevisionError, match=f"{NAME}/data-00002.arrow: {line}"):
        remote.verify()


def test_a_copy_that_was_damaged_here(memory, remote, rows):
    remote.verify()
    first, second = cached(remote)[:2]
    os.truncate(first, 50)
    data = bytearray(second.read_bytes())
    data[data.index(b"text 25") + 5] ^= 1
    second.write_bytes(data)
    again = Store.open(NAME)
    np.testing.assert_array_equal(again.span(0, 1)[0], rows[0])  # it could not be mapped, and was fetched again
    with pytest.raises(RevisionError, match="data-00001.arrow: its copy in the cache .* is removed; repeat"):
        again.verify()
    Store.open(NAME).verify()


def test_a_training_needs_room_for_all_rows(memory, remote, monkeypatch):
    total = sum(remote.manifest.shard_bytes)
    assert len(TextOnlyData(remote, reconstruct=True)) == 100
    monkeypatch.setenv("REVISION_CACHE_SIZE", str(total - 1))
    line = r"memory://bucket/store: a training reads all rows in random order; the store takes .* kB, the cache .*: set"
    with pytest.raises(RevisionError, match=line):
        TextOnlyData(Store.open(NAME), reconstruct=True)


def test_a_full_disk_under_the_cache(rows, tmp_path):
    """A file-size limit stands in for the disk."""
    local = write_store(tmp_path / "one", rows)
    script = (
        "import resource, sys, fsspec\nfrom revision_plugin.cli import main\n"
        f"fsspec.filesystem('memory').put({str(local.path)!r} + '/', '/bucket/store/', recursive=True)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)\nmain()"
    )
    environment = {**ENVIRONMENT, "REVISION_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    for limit in (1000, 3000):  # under the manifest, and under the shard
        words = [sys.executable, "-c", script, str(limit), "inspect", NAME]
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        errors = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
        assert done.returncode == 2 and len(errors) == 1 and "File too large; make room" in errors[0], done
        assert "set REVISION_CACHE to another place" in errors[0]
    assert not list((tmp_path / "cache").rglob("data-*.arrow")) and not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.parametrize(
    "text, size", [("20GB", 20 * 10**9), ("1.5TiB", 3 * 2**39), ("500 mb", 5 * 10**8), ("12", 12), ("7B", 7)]
)
def test_sizes(text, size):
    assert read_size(text, "--cache-size") == size


@pytest.mark.parametrize("text", ["", "0", "-1GB", "GB", "20 XB", "nan", "1e9", "99999999TB"])
def test_what_is_no_size(text):
    with pytest.raises(RevisionError, match="--cache-size .*: give a size"):
        read_size(text, "--cache-size")


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.delenv("REVISION_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert file_cache.cache_folder() == tmp_path / "revision-plugin"


# writing


def test_a_store_is_written_there(memory, rows, local):
    made = write_store(NAME, rows, **SETTINGS)
    assert made.path == NAME and made.manifest == local.manifest
    made.verify()
    there = {os.path.basename(name) for name in memory.find("/bucket/store")}
    assert there == {path.name for path in local.path.iterdir()}
    assert not work_folder(NAME).exists()
    with pytest.raises(RevisionError, match="memory://bucket/store: already exists; choose another --out or delete it"):
        write_store(NAME, rows, **SETTINGS)


def test_an_upload_that_breaks_off_goes_on(memory, rows, local, monkeypatch):
    put_file, sent = type(memory).put_file, []

    def breaks(self, source, target, **keywords):
        if len(sent) == 3:
            raise ConnectionError("the line is dead")
        sent.append(os.path.basename(target))
        return put_file(self, source, target, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "put_file", breaks)
        with pytest.raises(RevisionError, match=f"{NAME}: cannot be written .ConnectionError: the line is dead"):
            write_store(NAME, rows, **SETTINGS)
    assert sent == local.manifest.shards[:3] and not is_store(NAME)
    memory.pipe("/bucket/store/data-00001.arrow", local.path.joinpath("data-00002.arrow").read_bytes())  # of another

    def counted(self, source, target, **keywords):
        sent.append(os.path.basename(target))
        return put_file(self, source, target, **keywords)

    del sent[:]
    monkeypatch.setattr(type(memory), "put_file", counted)
    made = write_store(NAME, rows, **SETTINGS)
    made.verify()
    assert made.manifest == local.manifest and not work_folder(NAME).exists()
    assert sent[:3] == ["data-00001.arrow", "data-00003.arrow", "data-00004.arrow"] and sent[-1] == "manifest.json"


def test_bytes_that_do_not_arrive(memory, rows, monkeypatch):
    put_file = type(memory).put_file

    def cut(self, source, target, **keywords):
        put_file(self, source, target, **keywords)
        self.pipe(target, self.cat_file(target)[:-1])

    monkeypatch.setattr(type(memory), "put_file", cut)
    with pytest.raises(RevisionError, match="data-00000.arrow: .* bytes arrived; what is done is kept, repeat"):
        write_store(NAME, rows, **SETTINGS)
    assert not is_store(NAME)


def test_a_kill_after_the_last_file_leaves_nothing(memory, rows, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("revision_plugin.embeddings.remote_publishing.shutil.rmtree", lambda path: None)
        write_store(NAME, rows, **SETTINGS)
    assert (work_folder(NAME) / UPLOADED).is_file()
    with pytest.raises(RevisionError, match="already exists"):
        write_store(NAME, rows, **SETTINGS)
    assert not work_folder(NAME).exists() and len(Store.open(NAME)) == 100


def test_other_files_at_the_address_are_kept(memory, rows):
    memory.pipe("/bucket/store/mine.txt", b"mine")
    with pytest.raises(RevisionError, match="already exists"):
        write_store(NAME, rows, **SETTINGS)
    assert memory.find("/bucket/store") == ["/bucket/store/mine.txt"]


def test_an_exported_store(remote, local, tmp_path):
    exported = export_store(NAME, tmp_path / "out")
    assert exported.manifest == local.manifest
    assert {path.name for path in exported.path.iterdir()} >= {"README.md", "state.json", "shards.json"}


def test_the_password_of_an_address_is_not_shown():
    with pytest.raises(RevisionError, match="memory://host/nothing") as raised:
        with reading("memory://me:secret@host/nothing", "memory"):
            raise FileNotFoundError
    assert "secret" not in str(raised.value)
