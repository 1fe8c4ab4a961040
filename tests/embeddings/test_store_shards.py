"""Stores of several shards: what they hold, how they are cut, hashed and opened, and what stops while they are made."""

import hashlib
import itertools
import json
import os

import numpy as np
import pyarrow as pa
import pytest
from conftest import unit_rows, write_store

from revision_plugin.embeddings import mapped_shards, unique_ids
from revision_plugin.embeddings.content_hashes import column_hashes
from revision_plugin.embeddings.item_views import item_starts, items_named, of_view
from revision_plugin.embeddings.manifest import arrow_schema
from revision_plugin.embeddings.store import Store
from revision_plugin.embeddings.writer import StoreWriter
from revision_plugin.errors import RevisionError

ENCODER = {"spec": "test", "fingerprint": "0" * 64}
TALK = [{"from": "human", "value": "hi\n<image>"}, {"from": "gpt", "value": 'ünï "q"'}]
PARTS = [[5, 5, 0, 3], [], [5], [4, 5]]  # rows of each chunk of each part
ROWS = sum(map(sum, PARTS))


def open_writer(path, **settings):
    defaults = dict(modality="text", encoder=ENCODER, dim=6, dtype="float32", request={})
    defaults |= dict(parts=len(PARTS), rows_per_shard=8)
    return StoreWriter(path, **{**defaults, **settings})


def chunks_of_parts():
    """Part, chunk and rows of every chunk of PARTS."""
    start = 0
    for part, counts in enumerate(PARTS):
        for chunk, count in enumerate(counts):
            yield part, chunk, range(start, start + count)
            start += count


def write(writer, rows, part, chunk, span):
    failures = [{"id": f"bad-{part}-{chunk}", "reason": "is broken"}] if not len(span) else []
    ids, texts = ([f"{kind} {row}" for row in span] for kind in ("row", "text"))
    writer.write_chunk(chunk, ids, rows[span.start : span.stop], part=part, texts=texts, failures=failures)


def fill(path, rows):
    """As a command does that is repeated until it is done; what is done already is not done again."""
    writer = open_writer(path)
    try:
        for part, chunk, span in chunks_of_parts():
            if not writer.has_chunk(chunk, part):
                write(writer, rows, part, chunk, span)
            writer.finish_part(part, len(PARTS[part]))
            writer.join()
        writer.finish_part(1, 0)
        return writer.publish()
    finally:
        writer.close()


@pytest.fixture
def rows(rng):
    return unit_rows(rng, ROWS, 6).astype("float32")


@pytest.fixture
def store(rows, tmp_path):
    return fill(tmp_path / "s", rows)


def test_hashes_of_one_shard_are_those_that_stores_have_always_had(tmp_path):
    """Pinned from the writer that had a file a chunk and hashed `json.dumps` of each value."""
    rows = np.tile(np.eye(6), (2, 1))
    ids = [f"row-{i}" for i in range(9)] + ["ünï", 'a"b\\c', "tab\tnul\x7f"]
    texts = [f"text {i}" for i in range(10)] + ["漢字 🎉", "line\nfeed / \u2028"]
    talks = [TALK, None, [], TALK[:1]] + [None] * 8
    for chunk in (5, 12):
        written = write_store(tmp_path / f"t{chunk}", rows, ids=ids, texts=texts, conversations=talks, chunk=chunk)
        assert written.manifest.content_hash == "d2682fdf09d3b1dd586ece468b785d488a8ce69e3ce9532f58d2eae100e07411"
        assert written.manifest.format_version == 1 and written.manifest.shards == ["data-00000.arrow"]
    numbers = [0, 1, 2, 0, 0, 1, 0, 1, 2, 3, 0, 1]
    settings = dict(texts=texts, views="clauses:en", numbers=numbers, chunk=6)
    of_views = write_store(tmp_path / "v", rows, ids=list("aaabccddddee"), **settings)
    assert of_views.manifest.content_hash == "84052899a00e52e2cccbbdd2e3ea9903281cc24b4c93005c691d3221842dcfde"
    images = write_store(tmp_path / "i", rows, ids=ids, modality="image", dtype="float16")
    assert images.manifest.content_hash == "3d5b216f494de650e0853859d0d16875579a4076fb7b07cabf028e1f7667c5bf"


def test_a_columns_hash_is_of_a_line_of_json_a_value(rng):
    schema = arrow_schema("text", 6, "float32", views=True)
    texts = ["plain", "漢字", 'a"b\\', "\n\t\0\x7f\u2028", "", "🎉"] * 3
    turns = [TALK, None, [], [{"from": None, "value": "x"}], [{"from": "a", "value": "b"}] * 3, TALK[1:]] * 3
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(unit_rows(rng, 18, 6).astype("f4").reshape(-1)), 6)
    table = pa.Table.from_arrays(
        [
            pa.array(texts),
            embeddings,
            pa.array(range(18), pa.int32()),
            pa.array(texts),
            pa.array(turns, schema[4].type),
        ],
        schema=schema,
    )
    names = [name for name in schema.names if name != "embedding"]
    for first, last in ((0, 18), (4, 11), (1, 2)):
        part = table.slice(first, last - first)
        for name in names:
            lines = "".join(json.dumps(value) + "\n" for value in part.column(name).to_pylist())
            expected = hashlib.blake2b(lines.encode()).hexdigest()
            assert column_hashes([part.slice(0, 1), part.slice(1)], 6, [name]) == {name: expected}


def test_a_shard_ends_with_the_chunk_that_fills_it(store, rows):
    manifest = store.manifest
    assert manifest.format_version == 2 and manifest.shard_rows == [10, 8, 9]  # 5+5+0 | 3+5 | 4+5
    assert manifest.count == ROWS and manifest.failures == 1
    assert (store.path / "failures.jsonl").read_text() == '{"id": "bad-0-2", "reason": "is broken"}\n'
    assert manifest.shard_bytes == [(store.path / name).stat().st_size for name in manifest.shards]
    assert {path.name for path in store.path.iterdir()} == {
        *("data-00000.arrow", "data-00001.arrow", "data-00002.arrow", "manifest.json", "shards.json"),
        *("failures.jsonl", "dataset_info.json", "state.json"),
    }
    store.verify()
    store.verify_embeddings()


def test_it_holds_what_a_store_of_one_shard_holds(store, rows, tmp_path):
    import datasets

    ids, texts = ([f"{kind} {row}" for row in range(ROWS)] for kind in ("row", "text"))
    one = write_store(tmp_path / "one", rows, ids=ids, texts=texts, chunk=4)
    assert one.manifest.format_version == 1
    for size, start, stop in itertools.product((1, 7, 100), (0, 9, 10, 17), (10, 11, ROWS, None)):
        expected = rows[start:stop]
        blocks = list(store.blocks(size, start, stop))
        assert all(0 < len(block) <= size for block in blocks)
        np.testing.assert_array_equal(np.concatenate([rows[:0], *blocks]), expected)
    chosen = np.array([26, 0, 9, 10, 10, 18, 3])
    np.testing.assert_array_equal(store.take(chosen), rows[chosen])
    assert store.take(chosen[:0]).shape == (0, 6)
    for index in range(ROWS):
        assert store.row(index)["text"] == texts[index] == one.row(index)["text"]
        np.testing.assert_array_equal(store.span(index, index + 1), rows[index : index + 1])
    assert store.ids() == ids and store.column("text").to_pylist() == texts
    assert [len(table) for table in store.tables(["id"], 7)] == [7, 7, 7, 6]
    tables = store.tables(["id", "text"], 5)
    assert [value for table in tables for value in table.column("id").to_pylist()] == ids
    loaded = datasets.load_from_disk(str(store.path))
    assert loaded["id"][:] == ids


def test_opening_maps_nothing_and_few_maps_are_kept(store, rows, monkeypatch):
    mapped = []
    real = mapped_shards.map_shard
    monkeypatch.setattr(mapped_shards, "map_shard", lambda path, schema: mapped.append(path.name) or real(path, schema))
    monkeypatch.setattr(mapped_shards, "MAPS", 2)
    opened = Store.open(store.path)
    assert len(opened) == ROWS and not mapped
    opened.row(11), opened.row(12)
    assert mapped == ["data-00001.arrow"]
    opened.row(0), opened.row(26)
    assert opened.shards._kept.cache_info().currsize == 2
    np.testing.assert_array_equal(np.concatenate(list(opened.blocks())), rows)


def test_stores_of_old_with_many_shards_open_and_verify(rows, tmp_path):
    """A file a chunk, one hash of all rows, and no sizes: as stores were written before."""
    new = write_store(tmp_path / "s", rows)
    table = pa.ipc.open_stream((new.path / "data-00000.arrow").read_bytes()).read_all()
    spans = [(0, 10), (10, 10), (20, 0), (20, 7)]
    for number, (start, count) in enumerate(spans):
        with pa.OSFile(str(new.path / f"data-{number:05d}.arrow"), "wb") as file:
            with pa.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table.slice(start, count))
    manifest = json.loads((new.path / "manifest.json").read_text())
    del manifest["manifest_hash"]
    manifest["shards"] = [f"data-{number:05d}.arrow" for number in range(4)]
    (new.path / "manifest.json").write_text(json.dumps(manifest))
    old = Store.open(new.path)
    old.verify()
    np.testing.assert_array_equal(np.concatenate(list(old.blocks())), rows)
    np.testing.assert_array_equal(old.take(np.array([26, 19, 20])), rows[[26, 19, 20]])
    assert old.row(20)["id"] == "row-20" and old.manifest.content_hash == new.manifest.content_hash
    os.truncate(new.path / "data-00003.arrow", 100)
    with pytest.raises(RevisionError, match=r"data-00003.arrow: shard is damaged"):
        Store.open(new.path)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_processes_in_any_order_make_the_same_store(store, rows, tmp_path, order):
    """Three processes: each writes parts of its own, joins shards of its own as it goes, and all join at the end."""
    out = tmp_path / "t"
    writers = [open_writer(out, owner=number == 0) for number in range(3)]
    chunks = [[each for each in chunks_of_parts() if each[0] == part] for part in range(len(PARTS))]
    for turn, part in enumerate(order):
        number = turn % 3
        for _, chunk, span in chunks[part]:
            write(writers[number], rows, part, chunk, span)
            writers[number].join(lambda shard, number=number: shard % 3 == number)
        writers[number].finish_part(part, len(PARTS[part]))
    for number in (2, 1, 0):
        writers[number].join(lambda shard, number=number: shard % 3 == number)
    made = writers[0].publish()
    assert made.manifest == store.manifest
    for name in made.manifest.shards:
        assert (made.path / name).read_bytes() == (store.path / name).read_bytes()


def test_a_gap_is_not_published(rows, tmp_path):
    writer = open_writer(tmp_path / "s")
    for part, chunk, span in chunks_of_parts():
        if (part, chunk) != (0, 1):
            write(writer, rows, part, chunk, span)
        writer.finish_part(part, len(PARTS[part]))
    writer.finish_part(1, 0)
    with pytest.raises(RevisionError, match="a chunk is missing, or was damaged while others were made; repeat"):
        writer.publish()
    write(writer, rows, *[each for each in chunks_of_parts() if each[:2] == (0, 1)][0])
    assert len(writer.publish()) == ROWS


def test_chunks_are_freed_as_shards_are_joined(rows, tmp_path):
    writer = open_writer(tmp_path / "s")
    for part, chunk, span in itertools.islice(chunks_of_parts(), 4):
        write(writer, rows, part, chunk, span)
        writer.join()
    files = {path.name for path in (tmp_path / "s.partial").rglob("*.arrow")}
    assert files == {"data-00000.arrow", "00000-000003.arrow"}
    assert all(writer.has_chunk(chunk) for chunk in range(4)) and not writer.has_chunk(4)
    assert [len(writer.chunk_failures(chunk)) for chunk in range(4)] == [0, 0, 1, 0]
    assert writer.truncated() == 0 and [each["id"] for each in writer.failures()] == ["bad-0-2"]
    writer.close()


def die_at(step, path, rows):
    """`fill` in a process that is gone at its `step`-th change of a name in the file system: its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        done = itertools.count()

        def dying(change):
            def changed(*arguments, **keywords):
                if next(done) == step:
                    os._exit(9)
                return change(*arguments, **keywords)

            return changed

        for name in ("replace", "unlink", "mkdir", "rmdir"):
            setattr(os, name, dying(getattr(os, name)))
        fill(path, rows)
        os._exit(0)
    finally:
        os._exit(1)


def test_a_kill_at_any_change_of_the_disk_resumes_to_the_same_store(store, rows, tmp_path):
    finished = False
    for step in itertools.count():
        out = tmp_path / f"k{step}"
        status = die_at(step, out, rows)
        assert status in (0, 9)
        made = Store.open(out) if out.exists() else fill(out, rows)
        assert made.manifest == store.manifest and not out.with_name(f"{out.name}.partial").exists()
        made.verify()
        if status == 0:
            finished = True
            break
    assert finished and step > 40


def test_kill_after_kill(store, rows, tmp_path):
    """The same folder, each time a little further."""
    out, step = tmp_path / "k", 3
    while not out.exists():
        assert die_at(step, out, rows) in (0, 9)
        step += 1
    assert Store.open(out).manifest == store.manifest


@pytest.mark.parametrize("harm", ["cut", "missing", "cut mark"])
def test_a_power_loss_that_tears_a_shard(store, rows, tmp_path, harm):
    """Its chunks are gone: they are made again."""
    writer = open_writer(tmp_path / "t")
    for part, chunk, span in chunks_of_parts():
        write(writer, rows, part, chunk, span)
        writer.finish_part(part, len(PARTS[part]))
    writer.finish_part(1, 0)
    writer.join()
    writer.close()
    partial = tmp_path / "t.partial"
    if harm == "missing":
        (partial / "data-00001.arrow").unlink()
    else:
        os.truncate(partial / ("joined/00001.json" if "mark" in harm else "data-00001.arrow"), 100)
    again = open_writer(tmp_path / "t")
    missing = [(part, chunk) for part, chunk, _ in chunks_of_parts() if not again.has_chunk(chunk, part)]
    assert missing == [(0, 3), (2, 0)]
    again.close()
    assert fill(tmp_path / "t", rows).manifest == store.manifest


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


DAMAGES = {
    "a missing shard": (lambda s: (s / "data-00001.arrow").unlink(), "data-00001.arrow: shard is missing; encode"),
    "a cut shard": (
        lambda s: os.truncate(s / "data-00002.arrow", 500),
        "data-00002.arrow: shard is damaged .500 bytes",
    ),
    "a folder": (lambda s: (s / "data-00002.arrow").unlink() or (s / "data-00002.arrow").mkdir(), "not a regular file"),
    "an edited manifest": (lambda s: edit(s / "manifest.json", lambda m: m.update(failures=5)), "edited or damaged"),
    "other rows": (lambda s: edit(s / "manifest.json", resized([10, 8, 8])), "says 27 rows, its shards 26; encode"),
    "no sizes": (lambda s: edit(s / "manifest.json", resized("x")), "the sizes of its 'shards' are no numbers"),
    "a list": (lambda s: edit(s / "manifest.json", resized(None)), "'shards' are not described as a store's are"),
}


def resized(rows):
    """A manifest without its hash whose shards have other rows; None lists their names."""

    def change(manifest):
        del manifest["manifest_hash"]
        manifest["shards"] = ["data-00000.arrow"] if rows is None else {**manifest["shards"], "rows": rows}

    return change


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_that_opening_finds(store, kind):
    harm, message = DAMAGES[kind]
    harm(store.path)
    with pytest.raises(RevisionError, match=message):
        Store.open(store.path)


def test_damage_that_reading_finds(store):
    shard = store.path / "data-00001.arrow"
    whole = shard.read_bytes()
    shard.write_bytes(b"\0" * len(whole))
    opened = Store.open(store.path)
    assert opened.row(9)["id"] == "row 9"
    with pytest.raises(RevisionError, match=r"data-00001.arrow: shard is damaged"):
        opened.row(10)
    flipped = bytearray(whole)
    flipped[whole.index(b"row 12")] ^= 1
    shard.write_bytes(flipped)
    with pytest.raises(RevisionError, match=r"data-00001.arrow: .*does not match its hash|damaged"):
        Store.open(store.path).verify()
    Store.open(store.path).verify(0, 2)  # the first process' shards are whole
    with pytest.raises(RevisionError, match="does not match its hash|damaged"):
        Store.open(store.path).verify(1, 2)


@pytest.mark.parametrize("change", [lambda h: h["columns"]["id"].reverse(), lambda h: h["columns"].pop("text")])
def test_edited_hashes_of_shards_are_found(store, change):
    edit(store.path / "shards.json", change)
    with pytest.raises(RevisionError, match=r"shards.json: "):
        store.verify()


def test_shards_that_change_places_are_found(store):
    """Of equal size they would open; the hashes are of shards in their order."""
    first, second = (store.path / f"data-0000{number}.arrow" for number in (0, 1))
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)
    with pytest.raises(RevisionError, match="damaged|does not match its hash"):
        Store.open(store.path).verify()


def test_a_manifest_of_many_shards_is_compact(store):
    many = json.loads((store.path / "manifest.json").read_text())
    assert many["shards"].keys() == {"names", "rows", "bytes"}
    assert not any(name in json.dumps(many) for name in store.manifest.shards)


def test_an_id_twice_in_different_shards(rows, tmp_path):
    ids = [f"row {row}" for row in range(ROWS)]
    ids[25] = ids[2]
    with pytest.raises(RevisionError, match="id 'row 2' occurs more than once; ids must be unique"):
        write_store(tmp_path / "s", rows, ids=ids, chunk=5, rows_per_shard=5)
    assert not (tmp_path / "s").exists()


def save_hashes(tmp_path, groups, hashes=unique_ids.id_hashes):
    files = []
    for number, ids in enumerate(groups):
        files.append(tmp_path / f"{number}.npy")
        np.save(files[-1], np.sort(hashes(ids)))
    return unique_ids.repeated_id(files, lambda place: iter([groups[place][:2], groups[place][2:]]))


def test_ids_are_compared_bucket_by_bucket(tmp_path, monkeypatch):
    groups = [[f"{shard}-{row}" for row in range(50)] for shard in range(4)]
    monkeypatch.setattr(unique_ids, "HASHES_AT_A_TIME", 20)  # ten buckets
    assert save_hashes(tmp_path, groups) is None
    for place, (shard, row) in itertools.product(range(0, 50, 7), ((0, 3), (3, 49))):
        twice = [list(group) for group in groups]
        twice[2][place] = groups[shard][row]
        assert save_hashes(tmp_path, twice) == groups[shard][row]


def test_hashes_that_meet_by_chance_are_no_repeated_id(tmp_path, monkeypatch):
    def poor(ids):
        return np.array([len(identity) for identity in ids], np.uint64)

    monkeypatch.setattr(unique_ids, "id_hashes", poor)
    assert save_hashes(tmp_path, [["a", "bb", "c"], ["d", "ee", "f"]], poor) is None
    assert save_hashes(tmp_path, [["a", "bb", "c"], ["d", "bb", "f"]], poor) == "bb"
    assert save_hashes(tmp_path, [["a", "a", "c"], ["d"]], poor) == "a"


def test_views_in_several_shards(rng, tmp_path):
    numbers = [0, 1, 2, 0, 0, 1, 0, 1, 2, 3]
    ids, rows = list("aaabccdddd"), unit_rows(rng, 10, 6).astype("float32")
    parts = [(0, 3), (3, 6), (6, 10)]  # an item is in one chunk
    writer = open_writer(tmp_path / "w", parts=1, views="clauses:en", rows_per_shard=3)
    for chunk, (first, last) in enumerate(parts):
        part = slice(first, last)
        writer.write_chunk(chunk, ids[part], rows[part], texts=ids[part], views=numbers[part])
    store = writer.finish(3)
    assert store.manifest.shard_rows == [3, 3, 4] and store.manifest.shard_items == [1, 2, 1]
    starts = item_starts(store)
    assert list(starts) == [0, 3, 4, 6, 10] == [starts[item] for item in range(len(starts))]
    assert starts.most_views() == 4 and items_named(store, {"c", "a", "x"}) == {"a": 0, "c": 2}
    for view, chosen in (("whole", [0, 3, 4, 6]), ("parts", [1, 2, 5, 7, 8, 9]), ("1", [1, 5, 7]), ("3", [9])):
        kind = of_view(store, view)
        assert len(kind) == len(chosen) and kind.ids() == [ids[row] for row in chosen]
        for size in (1, 2, 50):
            np.testing.assert_array_equal(np.concatenate(list(kind.blocks(size))), rows[chosen])
            np.testing.assert_array_equal(np.concatenate(list(kind.blocks(size, 0, 1))), rows[chosen[:1]])
        backwards = np.arange(len(chosen))[::-1]
        np.testing.assert_array_equal(kind.take(backwards), rows[chosen[::-1]])
        assert [kind.row(i)["view"] for i in range(len(chosen))] == [numbers[row] for row in chosen]
        kind.verify_embeddings()
