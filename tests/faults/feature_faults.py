"""Faults of features made elsewhere, and of lmms-eval's results."""

import json
import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from catalogue import CONVERT, fault, nothing

PICKLE = "convert rows.pkl --modality text --encoder external:mine --out new"
FOLDER = "convert parts --modality image --encoder external:mine --out new"


def dump(w, value):
    (w / "rows.pkl").write_bytes(pickle.dumps(value))


def records(**changes):
    rows = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    made = [{"id": f"i{k}", "caption": f"text {k}", "embed": row} for k, row in enumerate(rows)]
    made[3].update(changes)
    return made


@fault("a pickled array of objects over raw bytes", PICKLE, "it holds an array of 'O8'")
def _(w):
    body = pickle.dumps(np.zeros(2, np.float64), protocol=2)
    (w / "rows.pkl").write_bytes(body.replace(b"f8", b"O8"))


@fault("a pickle of few bytes that unfolds for ever", PICKLE, "it nests too deep or unfolds to too many values")
def _(w):
    value = [1]
    for _ in range(30):
        value = [value, value]
    dump(w, value)


@fault("a pickled list that contains itself", PICKLE, "it nests too deep or unfolds to too many values")
def _(w):
    value: list = []
    value.append(value)
    dump(w, value)


@fault("a pickle of a type", PICKLE, "it holds a type or a function")
def _(w):
    dump(w, [np.dtype("f4")])


@fault("a pickled caption that is null", PICKLE, "1 unusable row(s), first 'i3': has no text")
def _(w):
    dump(w, records(caption=None))


@fault("a pickled id that is null", PICKLE, "1 unusable row(s), first 'row 3': its id is null")
def _(w):
    dump(w, records(id=None))


@fault("a pickled caption with <image>", PICKLE, "first 'i3': holds <image>")
def _(w):
    dump(w, records(caption="<image>"))


@fault("pickled vectors that are complex", PICKLE, "are not all real numbers")
def _(w):
    dump(w, records(embed=np.ones(8, np.complex64)))


@fault("an .npy of complex numbers", CONVERT, "expected floats of shape [N, D], found complex64")
def _(w):
    np.save(w / "rows.npy", np.ones((4, 8), np.complex64))


@fault("an .npy of objects", CONVERT, "rows.npy: not a plain .npy array")
def _(w):
    np.save(w / "rows.npy", np.array([{}]), allow_pickle=True)


@fault("an .npy that is a zip file", CONVERT, "rows.npy: ")
def _(w):
    np.savez(w / "rows.npz", a=np.ones((4, 8)))
    (w / "rows.npz").rename(w / "rows.npy")


@fault("an .npy whose head claims more rows than it has", CONVERT, "rows.npy: not a plain .npy array")
def _(w):
    np.save(w / "rows.npy", np.ones((4, 8), np.float32))
    data = (w / "rows.npy").read_bytes()
    (w / "rows.npy").write_bytes(data.replace(b"(4, 8), }    ", b"(9999999, 8),"))


@fault("an .npy without columns", CONVERT, "expected floats of shape [N, D], found float64 [4, 0]")
def _(w):
    np.save(w / "rows.npy", np.ones((4, 0)))


@fault("rows of another dimension than the encoder's", CONVERT.replace("external:mine", "demo"), "'demo' gives 192")
def _(w):
    np.save(w / "rows.npy", np.ones((4, 8), np.float32))


@fault(
    "fewer texts than rows",
    CONVERT.replace("image", "text") + " --texts some.txt",
    "some.txt: 1 texts for 4 rows; they must correspond line by line",
)
def _(w):
    np.save(w / "rows.npy", np.ones((4, 8), np.float32))
    (w / "some.txt").write_text("a dog\n")


def clip_retrieval(w, embeddings, metadata):
    for kind, names in (("img_emb", embeddings), ("metadata", metadata)):
        (w / "parts" / kind).mkdir(parents=True)
        for name in names:
            if kind == "metadata":
                pq.write_table(
                    pa.table({"key": [f"{name}-{i}" for i in range(4)]}), w / f"parts/metadata/{name}.parquet"
                )
            else:
                np.save(w / "parts" / kind / f"{name}.npy", np.ones((4, 8), np.float32))


@fault("a part of a clip-retrieval folder that is missing", FOLDER, "img_emb/img_emb_1.npy is missing")
def _(w):
    clip_retrieval(w, ["img_emb_0", "img_emb_2"], ["metadata_0", "metadata_2"])


@fault("metadata of a part that is not there", FOLDER, "img_emb/img_emb_1.npy is missing")
def _(w):
    clip_retrieval(w, ["img_emb_0"], ["metadata_0", "metadata_1"])


@fault("a part without its metadata", FOLDER, "metadata/metadata_1.parquet is missing")
def _(w):
    clip_retrieval(w, ["img_emb_0", "img_emb_1"], ["metadata_0"])


@fault("metadata with other rows than its part", FOLDER, "3 rows for the 4 of img_emb_0.npy")
def _(w):
    clip_retrieval(w, ["img_emb_0"], ["metadata_0"])
    pq.write_table(pa.table({"key": list("abc")}), w / "parts" / "metadata" / "metadata_0.parquet")


@fault("vectors of two lengths in parquet", CONVERT.replace(".npy", ".parquet"), "not all numeric and of one length")
def _(w):
    pq.write_table(pa.table({"embedding": [[1.0, 2.0], [1.0]]}), w / "rows.parquet")


@fault("vectors of texts in parquet", CONVERT.replace(".npy", ".parquet"), "its vectors are not all real numbers")
def _(w):
    pq.write_table(pa.table({"embedding": [["a", "b"]]}), w / "rows.parquet")


@fault("two values in one pickle", PICKLE, "it holds more after its first value")
def _(w):
    (w / "rows.pkl").write_bytes(2 * pickle.dumps(records()))


@fault("two arrays in one .npy", CONVERT, "holds something else than one array")
def _(w):
    with open(w / "rows.npy", "wb") as handle:
        for _ in range(2):
            np.save(handle, np.ones((4, 8), np.float32))


@fault("a pickle that fills the memory with nine bytes", PICKLE, "remembers a value at a place beyond its own length")
def _(w):
    (w / "rows.pkl").write_bytes(b"\x80\x02Nr" + (2**31 - 1).to_bytes(4, "little") + b".")


@fault("a pickled array of impossible shape", PICKLE, "it holds an array of impossible shape")
def _(w):
    body = pickle.dumps(np.zeros(2, np.float64), protocol=2)
    (w / "rows.pkl").write_bytes(body.replace(b"K\x02\x85", b"J\xff\xff\xff\xff\x85"))


@fault("pickled captions taken for images", PICKLE.replace("text", "image"), "have captions and no image")
def _(w):
    dump(w, records())


@fault("an id of 5000 digits in a pickle", PICKLE, "its id is too long a number")
def _(w):
    dump(w, records(id=10**4999))


@fault("one vector that stands for gigabytes", PICKLE, "its rows unfold to many times the size of the file")
def _(w):
    vector = np.ones(20000)
    dump(w, [{"id": str(number), "caption": "x", "embed": vector} for number in range(20000)])


@fault("another file among the parts of a folder", FOLDER, "holds notes.txt beside its .pkl parts")
def _(w):
    (w / "parts").mkdir()
    (w / "parts" / "image_0.pkl").write_bytes(pickle.dumps(records(image_path="a.png")))
    (w / "parts" / "notes.txt").write_text("mine")


@fault("two pickled parts of one number", FOLDER, "another file has the same number; leave one of them")
def _(w):
    (w / "parts").mkdir()
    for name in ("image_0.pkl", "image_00.pkl"):
        (w / "parts" / name).write_bytes(pickle.dumps(records(image_path="a.png")))


@fault("two parts of one number", FOLDER, "another file has the same number; leave one of them")
def _(w):
    clip_retrieval(w, ["img_emb_0", "img_emb_00"], ["metadata_0"])


@fault("captions in parquet taken for images", CONVERT.replace(".npy", ".parquet"), "has texts and names no image")
def _(w):
    pq.write_table(pa.table({"caption": ["a"], "embedding": [[1.0, 2.0]]}), w / "rows.parquet")


@fault("a column twice in parquet", CONVERT.replace(".npy", ".parquet"), "has two columns 'embedding'; leave one")
def _(w):
    column = pa.array([[1.0, 2.0]])
    pq.write_table(pa.Table.from_arrays([column, column], ["embedding", "embedding"]), w / "rows.parquet")


@fault("texts beside features that bring their own", PICKLE + " --texts some.txt", "only text features from .npy")
def _(w):
    dump(w, records())
    (w / "some.txt").write_text("a dog\n")


@fault("an output inside the features", FOLDER.replace("--out new", "--out parts/new"), "lies inside the features")
def _(w):
    clip_retrieval(w, ["img_emb_0"], ["metadata_0"])


fault("features that are missing", CONVERT, "rows.npy: no such file")(nothing)


@fault("a pipe in place of features", CONVERT, "rows.npy: is not a regular file")
def _(w):
    os.mkfifo(w / "rows.npy")


@fault("results of two models in one folder", "table results", "not of one model, asked in one way")
def _(w):
    for name in ("a", "b"):
        folder = w / "results" / name
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(f'{{"model": "{name}"}}')
        task = {"a": "mme", "b": "pope"}[name]
        (folder / "x_results.json").write_text(f'{{"results": {{"revision_{task}": {{"acc,none": 0.5}}}}}}')


@fault("a result of lmms-eval that is no number", "table results", "an accuracy is no number from 0 to 1")
def _(w):
    (w / "results").mkdir()
    (w / "results" / "a_results.json").write_text('{"results": {"revision_pope": {"acc,none": NaN}}}')


@fault("a result file cut short", "table results", "a_results.json: not valid JSON")
def _(w):
    (w / "results").mkdir()
    (w / "results" / "a_results.json").write_text('{"results": {')


@fault("a result file of another kind", "table results", "holds no results by task")
def _(w):
    (w / "results").mkdir()
    (w / "results" / "a_results.json").write_text(json.dumps({"results": [1]}))
