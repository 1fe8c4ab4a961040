"""Random damage to every kind of file that a command reads: it gives a value or one line, whatever is in it."""

import contextlib
import gzip
import io
import json
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import unit_rows, write_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from revision_plugin.aligners import ALIGNERS, load_aligner
from revision_plugin.cli.inspect import inspect_path
from revision_plugin.corpora.features import read_features
from revision_plugin.corpora.images import read_images
from revision_plugin.corpora.inputs import open_images, open_texts
from revision_plugin.corpora.pickles import load_plain_pickle
from revision_plugin.corpora.pixels import decode_image
from revision_plugin.corpora.texts import read_texts
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError
from revision_plugin.evaluation.answer_file import AnswerFile
from revision_plugin.evaluation.results import read_row
from revision_plugin.hosts.tower_record import checked_record

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of Pillow, about damaged metadata
RECORDS = [
    {
        "id": "a",
        "image": "a.png",
        "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "x"}],
    },
    {"id": 2, "caption": "two", "image": "b.png"},
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 8)), min_size=1, max_size=4)
MANY = settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))


def damage(data: bytes, edits) -> bytes:
    """`data` with bytes put in at relative places, over some that are cut out."""
    for place, new, cut in edits:
        start = int(place * len(data))
        data = data[:start] + new + data[start + cut :]
    return data


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """One whole file of each kind."""
    root, rng = tmp_path_factory.mktemp("sound"), np.random.default_rng(0)
    rows = unit_rows(rng, 6, 4)
    write_store(root / "store", rows, texts=["t"] * 6, conversations=[None] * 6)
    write_store(root / "many", rows, texts=["t"] * 6, conversations=[None] * 6, chunk=3, rows_per_shard=3)
    images = write_store(root / "images", unit_rows(rng, 6, 4), modality="image")
    ALIGNERS.get("realign")().fit(root / "store", images).save(root / "aligner")
    np.save(root / "rows.npy", rows.astype(np.float32))
    records = [{"id": f"i{k}", "caption": "x", "embed": row} for k, row in enumerate(rows)]
    (root / "rows.pkl").write_bytes(pickle.dumps(records))
    pq.write_table(
        pa.table({"id": list("abcdef"), "text": ["x"] * 6, "embedding": rows.tolist()}), root / "rows.parquet"
    )
    (root / "texts.json").write_text(json.dumps(RECORDS))
    (root / "texts.jsonl").write_text("\n".join(map(json.dumps, RECORDS)))
    lines = "\n".join(map(json.dumps, RECORDS)).encode()
    (root / "shard.jsonl.gz").write_bytes(gzip.compress(lines))
    (root / "shard.jsonl.zst").write_bytes(pa.compress(lines, codec="zstd", asbytes=True))
    table = pa.table({"text": ["a", "b"], "image": [{"bytes": b"x", "path": "y"}, {"bytes": b"z", "path": None}]})
    pq.write_table(table, root / "shard.parquet")
    with pa.ipc.new_stream(root / "shard.arrow", table.schema) as writer:
        writer.write_table(table)
    for name, mode in (("shard.tar", "w"), ("shard.tar.gz", "w:gz")):
        with tarfile.open(root / name, mode) as tar:
            for member in ("texts.json", "rows.npy"):
                tar.add(root / member, f"a.{member.partition('.')[2]}")
            tar.add(root / "texts.jsonl", "b/" + "long" * 30 + ".txt")
            tar.add(root / "rows.npy", "b/" + "long" * 30 + ".jpg")
    for kind in ("png", "jpeg", "gif", "webp", "tiff", "bmp", "avif"):
        Image.fromarray(rng.integers(0, 255, (9, 7, 3), np.uint8)).save(root / f"picture.{kind}")
    return root


def pictures(path):
    with open(path, "rb") as handle:
        decode_image(io.BytesIO(handle.read()), "x")


def features(path):
    for part in read_features(path, "text" if path.suffix != ".npy" else "image", None):
        assert part.embeddings.ndim == 2 and len(part.ids) == len(part.embeddings)


def shards(path):
    for opened in (open_texts, open_images):
        with contextlib.suppress(RevisionError):
            corpus = opened(path)
            for item in (item for part in corpus.parts for item in corpus.read(part)):
                item.id.encode()
                assert item.problem or opened is open_images or item.text.strip()


def store(path):
    opened = Store.open(path.parent)
    opened.verify()
    assert len(opened.ids()) == len(opened) and np.isfinite(np.concatenate(list(opened.blocks()))).all()


FILES = {
    "texts.json": lambda path: list(read_texts(path)) and list(read_images(path, path.parent)),
    "texts.jsonl": lambda path: list(read_texts(path)),
    "rows.parquet": lambda path: list(read_texts(path)) and features(path),
    **{f"shard.{kind}": shards for kind in ("tar", "tar.gz", "jsonl.gz", "jsonl.zst", "arrow", "parquet")},
    "rows.npy": features,
    "rows.pkl": lambda path: load_plain_pickle(path) and features(path),
    "store/manifest.json": store,
    "store/data-00000.arrow": store,
    "many/manifest.json": store,
    "many/shards.json": store,
    "many/data-00001.arrow": store,
    "aligner/aligner.json": lambda path: load_aligner(path.parent),
    "aligner/aligner.safetensors": lambda path: load_aligner(path.parent),
    **{f"picture.{kind}": pictures for kind in ("png", "jpeg", "gif", "webp", "tiff", "bmp", "avif")},
}


@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes(sound, name):
    path = sound / name
    whole = path.read_bytes()

    @MANY
    @given(EDITS)
    def attack(edits):
        path.write_bytes(damage(whole, edits))
        with contextlib.suppress(RevisionError):
            FILES[name](path)

    try:
        attack()
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "name", ["store/manifest.json", "many/manifest.json", "many/shards.json", "aligner/aligner.json"]
)
def test_any_value_under_any_key(sound, name):
    path = sound / name
    whole = path.read_text()

    @MANY
    @given(st.dictionaries(st.sampled_from(sorted(json.loads(whole))), JSON_VALUES, max_size=3), st.booleans())
    def attack(changes, hashed):
        record = {**json.loads(whole), **changes}
        if not hashed:  # as an older release wrote it
            record = {key: value for key, value in record.items() if key not in ("manifest_hash", "record_hash")}
        path.write_text(json.dumps(record))
        with contextlib.suppress(RevisionError):
            FILES[name](path)

    try:
        attack()
    finally:
        path.write_text(whole)


@MANY
@given(JSON_VALUES)
def test_any_value_as_a_record(tmp_path_factory, value):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "a_results.json", "texts.json"):
        (folder / name).write_text(json.dumps(value))
    for text in ([value], {"revision": value}, {"results": value}):
        (folder / "config.json").write_text(json.dumps(text))
        (folder / "a_results.json").write_text(json.dumps(text))
        for read in (lambda: inspect_path(folder), lambda: read_row(folder), lambda: checked_record(value, "x")):
            with contextlib.suppress(RevisionError):
                read()
    (folder / "texts.json").write_text(json.dumps([value, {"id": value}, {"text": value}, {"conversations": value}]))
    items = [*read_texts(folder / "texts.json"), *read_images(folder / "texts.json", folder)]
    assert len(items) == 8, "nothing is dropped"
    for item in items:
        item.id.encode()


@MANY
@given(st.binary(max_size=200))
def test_any_bytes_as_kept_answers(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "answers"
    folder.mkdir(exist_ok=True)
    (folder / "x-0.jsonl").write_bytes(b'{"key": ["a"], "answer": "yes"}\n' + data)
    assert AnswerFile(folder, "x", 0).get("a") == "yes"


@MANY
@given(st.binary(max_size=60))
def test_any_bytes_as_a_pickle(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    for head in (b"", b"\x80\x04", b"\x80\x04]("):
        path.write_bytes(head + data + b".")
        with contextlib.suppress(RevisionError):
            load_plain_pickle(path)
