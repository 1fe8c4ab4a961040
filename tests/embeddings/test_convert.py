"""Features made elsewhere, and hostile pickles."""

import io
import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import unit_rows

from revision_plugin.cli import main
from revision_plugin.corpora.pickles import load_plain_pickle
from revision_plugin.embeddings.convert import convert
from revision_plugin.embeddings.store import Store
from revision_plugin.errors import RevisionError

EXTERNAL = "external:llm2clip"


def dump(path, value, protocol=4):
    with open(path, "wb") as handle:
        pickle.dump(value, handle, protocol=protocol)


def records(rows, start=0):
    return [{"id": f"i{start + k}", "caption": f"text {start + k}", "embed": row} for k, row in enumerate(rows)]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_authors_pickles_in_parts(rng, tmp_path, protocol, dtype):
    rows = (3 * unit_rows(rng, 12, 6)).astype(dtype)
    (tmp_path / "parts").mkdir()
    for part, rank in ((0, slice(0, 5)), (2, slice(5, 10)), (10, slice(10, 12))):
        dump(tmp_path / "parts" / f"text_{part}.pkl", records(rows[rank], rank.start), protocol)
    store = convert(tmp_path / "parts", tmp_path / "out", modality="text", encoder=EXTERNAL, dtype="float32")
    assert store.ids() == [f"i{k}" for k in range(12)], "parts are read by number"
    expected = rows.astype(np.float64)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.concatenate(list(store.blocks())), expected, atol=1e-7)
    assert store.row(11)["text"] == "text 11" and store.encoder.spec == EXTERNAL


def test_clip_retrieval_npy_and_parquet(rng, tmp_path):
    rows = unit_rows(rng, 5, 6).astype(np.float32)
    for name in ("img_emb", "text_emb", "metadata"):
        (tmp_path / "cr" / name).mkdir(parents=True)
    np.save(tmp_path / "cr" / "img_emb" / "img_emb_0.npy", rows)
    np.save(tmp_path / "cr" / "text_emb" / "text_emb_0.npy", rows[::-1])
    pq.write_table(
        pa.table({"image_path": list("abcde"), "caption": list("vwxyz")}),
        tmp_path / "cr" / "metadata" / "metadata_0.parquet",
    )
    text = convert(tmp_path / "cr", tmp_path / "t", modality="text", encoder=EXTERNAL)
    image = convert(tmp_path / "cr", tmp_path / "i", modality="image", encoder=EXTERNAL)
    assert text.ids() == image.ids() == list("abcde") and text.row(0)["text"] == "v"
    np.save(tmp_path / "x.npy", rows)
    assert len(convert(tmp_path / "x.npy", tmp_path / "n", modality="image", encoder=EXTERNAL)) == 5
    (tmp_path / "x.txt").write_text("\n".join("abcde"))
    assert (
        convert(tmp_path / "x.npy", tmp_path / "nt", modality="text", encoder=EXTERNAL, texts=tmp_path / "x.txt").row(
            4
        )["text"]
        == "e"
    )
    pq.write_table(pa.table({"id": [1, 2, 3, 4, 5], "embedding": rows.tolist()}), tmp_path / "x.parquet")
    assert convert(tmp_path / "x.parquet", tmp_path / "p", modality="image", encoder=EXTERNAL).ids() == list("12345")


def test_the_command(rng, tmp_path, capsys):
    np.save(tmp_path / "x.npy", unit_rows(rng, 4, 192))
    main(["convert", str(tmp_path / "x.npy"), "--modality", "image", "--encoder", "demo", "--out", str(tmp_path / "o")])
    assert Store.open(tmp_path / "o").encoder.spec == "demo" and "4 image embeddings" in capsys.readouterr().out


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize(
    "attack",
    [
        lambda m: Hostile(m),
        lambda m: [{"id": "a", "embed": np.zeros(3), "caption": Hostile(m)}],
        lambda m: np.array([Hostile(m)], dtype=object),
        lambda m: {"k": np.dtype("O"), "v": Hostile(m)},
    ],
)
def test_a_hostile_pickle_runs_no_code(tmp_path, attack):
    marker = tmp_path / "owned"
    dump(tmp_path / "bad.pkl", attack(marker))
    with pytest.raises(
        RevisionError, match=r"refused: it (wants to call (posix|nt|os)\.system|holds an array of 'O8')"
    ):
        load_plain_pickle(tmp_path / "bad.pkl")
    assert not marker.exists()


@pytest.mark.parametrize(
    "code, message",
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cnumpy\nload\n(S'/etc/passwd'\ntR.", "numpy.load"),
        (b"cnumpy.core.multiarray\nfromfile\n(S'/etc/passwd'\ntR.", "fromfile"),
        (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "rot13"),
        (b"c_codecs\ndecode\n(S'x'\nS'rot13'\ntR.", "_codecs.decode"),
        (b"Pexternal\n.", "outside the file"),
        (b"cnumpy\nndarray.__reduce__\n.", "ndarray.__reduce__"),
    ],
)
def test_other_calls_are_refused(tmp_path, code, message):
    (tmp_path / "bad.pkl").write_bytes(code)
    with pytest.raises(RevisionError, match=message):
        load_plain_pickle(tmp_path / "bad.pkl")


def test_plain_values_survive(tmp_path):
    value = {"a": [1, 2.5, "x", None, True, (3,)], "b": np.float32(2), "c": np.arange(6).reshape(2, 3), "d": b"raw"}
    for protocol in range(6):
        dump(tmp_path / "ok.pkl", value, protocol)
        loaded = load_plain_pickle(tmp_path / "ok.pkl")
        assert loaded["a"] == value["a"] and loaded["b"] == 2 and loaded["d"] == b"raw"
        np.testing.assert_array_equal(loaded["c"], value["c"])


def test_damaged_and_unfit_files(rng, tmp_path):
    buffer = io.BytesIO()
    pickle.dump(records(unit_rows(rng, 4, 6)), buffer)
    (tmp_path / "cut.pkl").write_bytes(buffer.getvalue()[:-40])
    dump(
        tmp_path / "ragged.pkl",
        [{"id": 1, "embed": np.ones(3), "caption": "a"}, {"id": 2, "embed": np.ones(4), "caption": "b"}],
    )
    dump(tmp_path / "list.pkl", [1, 2])
    dump(tmp_path / "image.pkl", [{"id": 1, "embed": np.ones(3), "image_path": "a.png"}])
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "x.csv").write_text("")
    for name, message in (
        ("cut.pkl", "not a whole pickle|refused"),
        ("ragged.pkl", "of one length"),
        ("list.pkl", "'id' and 'embed'"),
        ("image.pkl", "no 'caption'"),
        ("object.npy", "not a plain .npy"),
        ("x.csv", "give a .pkl, .npy or .parquet"),
        ("none.npy", "no such file"),
    ):
        with pytest.raises(RevisionError, match=message):
            convert(tmp_path / name, tmp_path / "out", modality="text", encoder=EXTERNAL)
    assert not (tmp_path / "out").exists()


def test_unusable_rows_need_a_budget(rng, tmp_path):
    rows = unit_rows(rng, 5, 6)
    rows[1], rows[3] = np.nan, 0
    np.save(tmp_path / "x.npy", rows)
    with pytest.raises(RevisionError, match="2 unusable row.*first '1': holds NaN.*--max-failures 2"):
        convert(tmp_path / "x.npy", tmp_path / "a", modality="image", encoder=EXTERNAL)
    store = convert(tmp_path / "x.npy", tmp_path / "b", modality="image", encoder=EXTERNAL, max_failures=2)
    assert store.ids() == ["0", "2", "4"] and store.manifest.failures == 2
