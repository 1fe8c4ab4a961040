"""Faults of corpora, images and features: what a command is given to read."""

import json
import os
import pickle
import socket

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from catalogue import CONVERT, ENCODE_IMAGES, ENCODE_PAIRED, ENCODE_TEXTS, edit_json, fault, nothing
from PIL import Image

PARQUET = ENCODE_TEXTS.replace(".json", ".parquet")
PICKLE = "convert rows.pkl --modality text --encoder external:mine --out new"
FOLDER = "convert parts --modality image --encoder external:mine --out new"


def edit_caption(w, **changes):
    edit_json(w / "texts.json", lambda rows: rows[2].update(changes))


# texts


@fault("JSON that nests 100,000 deep", ENCODE_TEXTS, "texts.json: nests too deep")
def _(w):
    (w / "texts.json").write_text("[" * 100_000)


@fault("a number of 5000 digits", ENCODE_TEXTS, "texts.json: not usable JSON")
def _(w):
    (w / "texts.json").write_text(f'[{{"id": {"9" * 5000}, "text": "a"}}]')


@fault("half of a surrogate pair in a caption", ENCODE_TEXTS, "first '000002': holds half of a surrogate pair")
def _(w):
    edit_caption(w, text="a \ud83d dog")


@fault("an id that is null", ENCODE_TEXTS, "first 'row 2': its id is null")
def _(w):
    edit_caption(w, id=None)


@fault("an id that is a list", ENCODE_TEXTS, "its id is a list, not text or a whole number")
def _(w):
    edit_caption(w, id=["a"])


@fault("a caption that is a number", ENCODE_TEXTS, "first '000002': has no caption")
def _(w):
    edit_caption(w, text=7)


@fault("<image> inside a caption", ENCODE_TEXTS, "holds <image>, which the model would take for another image")
def _(w):
    edit_caption(w, text="a dog <image>")


@fault("two <image> in a conversation", ENCODE_TEXTS, "its conversation holds 2 <image>")
def _(w):
    talk = [{"from": "human", "value": "<image> <image>"}, {"from": "gpt", "value": "a dog"}]
    edit_caption(w, conversations=talk)


@fault("a conversation of numbers", ENCODE_TEXTS, "'conversations' must be a list of objects with 'from' and 'value'")
def _(w):
    edit_caption(w, conversations=[{"from": 1, "value": 2}])


@fault("control characters in an id, shown escaped", ENCODE_TEXTS, r"first '\x1b[31mred\n': has no caption")
def _(w):
    edit_json(w / "texts.json", lambda rows: rows.__setitem__(2, {"id": "\x1b[31mred\n"}))


@fault("a pipe in place of a corpus", ENCODE_TEXTS, "texts.json: is not a regular file")
def _(w):
    (w / "texts.json").unlink()
    os.mkfifo(w / "texts.json")


@fault("a folder in place of a corpus", ENCODE_TEXTS.replace("texts.json", "pictures"), "is a folder; give one file")
def _(w):
    pass


@fault("a line of JSONL cut short", ENCODE_TEXTS.replace(".json", ".jsonl"), "texts.jsonl: line 2: not valid JSON")
def _(w):
    (w / "texts.jsonl").write_text('"a dog"\n{"id": 1, "te\n')


@fault("a parquet file cut short", PARQUET, "not a whole, readable parquet file")
def _(w):
    pq.write_table(pa.table({"text": ["a dog"] * 100}), w / "texts.parquet")
    data = (w / "texts.parquet").read_bytes()
    (w / "texts.parquet").write_bytes(data[:-20])


@fault("a parquet file with damaged pages", PARQUET, "not a whole, readable parquet file")
def _(w):
    pq.write_table(pa.table({"text": [f"dog {i}" for i in range(1000)]}), w / "texts.parquet", compression="zstd")
    data = bytearray((w / "texts.parquet").read_bytes())
    data[40:400] = bytes(360)
    (w / "texts.parquet").write_bytes(data)


@fault("an encrypted parquet file", PARQUET, "not a whole, readable parquet file")
def _(w):
    (w / "texts.parquet").write_bytes(b"PARE" + bytes(64) + (32).to_bytes(4, "little") + b"PARE")


@fault("a text in parquet that is not UTF-8", PARQUET, "not a whole, readable parquet file")
def _(w):
    broken = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), w / "texts.parquet")


# images


@fault("a link to a folder among the images", ENCODE_IMAGES, "first 'more': is a link to a folder")
def _(w):
    (w / "other").mkdir()
    (w / "pictures" / "more").symlink_to(w / "other", target_is_directory=True)


@fault("a link that leads out of the image folder", ENCODE_IMAGES, "'more.png' lies outside the image folder")
def _(w):
    (w / "pictures" / "00004.png").rename(w / "elsewhere.png")
    (w / "pictures" / "more.png").symlink_to(w / "elsewhere.png")


@fault("a JSON whose image is a link that leads out", ENCODE_PAIRED, "'00001.png' lies outside the image folder")
def _(w):
    (w / "pictures" / "00001.png").rename(w / "elsewhere.png")
    (w / "pictures" / "00001.png").symlink_to(w / "elsewhere.png")


@fault("NUL in an image path", ENCODE_PAIRED, "is no path that an image can have")
def _(w):
    edit_json(w / "paired.json", lambda rows: rows[1].update(image="a\0b.png"))


@fault("an image that is a number", ENCODE_PAIRED, "first '000001': has no 'image'")
def _(w):
    edit_json(w / "paired.json", lambda rows: rows[1].update(image=3))


@fault(
    "an image folder that is missing", ENCODE_PAIRED.replace("folder pictures", "folder none"), "none: no such folder"
)
def _(w):
    pass


@fault("a pipe among the images", ENCODE_IMAGES, "more.png: is not a regular file")
def _(w):
    os.mkfifo(w / "pictures" / "more.png")


@fault("a socket among the images", ENCODE_IMAGES, "more.png: cannot be read")
def _(w):
    os.chdir(w / "pictures")  # a socket's path must be short
    socket.socket(socket.AF_UNIX).bind("more.png")


@fault("PostScript called .png, which would start Ghostscript", ENCODE_IMAGES, "more.png: does not decode")
def _(w):
    text = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(ran) (w) file\n%%EOF\n"
    (w / "pictures" / "more.png").write_text(text)


@fault("an image whose name is not UTF-8", ENCODE_IMAGES, "its name is not UTF-8; rename it")
def _(w):
    os.rename(w / "pictures" / "00004.png", os.fsencode(w / "pictures") + b"/caf\xe9.png")


@fault("an AVIF, a JFIF and an image without suffix: they are encoded", ENCODE_IMAGES, "", 0)
def _(w):
    picture = Image.new("RGB", (32, 32), "red")
    picture.save(w / "pictures" / "a.avif")
    picture.save(w / "pictures" / "b.jfif", "JPEG")
    picture.save(w / "pictures" / "c", "PNG")


@fault("other files beside the images: they are counted", ENCODE_IMAGES, "1 file(s) are no images", 0)
def _(w):
    (w / "pictures" / "labels.txt").write_text("dog")


@fault("an image turned by its EXIF: it is turned", ENCODE_IMAGES, "", 0)
def _(w):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 32), "red").save(w / "pictures" / "more.jpg", exif=exif)


@fault("an image of floats from 0 to 1: it is scaled", ENCODE_IMAGES, "", 0)
def _(w):
    Image.fromarray(np.linspace(0, 1, 1024, dtype=np.float32).reshape(32, 32)).save(w / "pictures" / "more.tiff")


@fault("an image of other floats", ENCODE_IMAGES, "its pixels are floats beyond 0 to 1")
def _(w):
    Image.fromarray(np.full((32, 32), 200, np.float32)).save(w / "pictures" / "more.tiff")


@fault("an image that holds NaN", ENCODE_IMAGES, "its pixels are floats beyond 0 to 1")
def _(w):
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(w / "pictures" / "more.tiff")


@fault("a format that is known and not read", ENCODE_IMAGES, "more.heic: does not decode as an image of")
def _(w):
    (w / "pictures" / "more.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))


@fault("an image whose EXIF is damaged: it is not turned", ENCODE_IMAGES, "", 0)
def _(w):
    Image.new("RGB", (32, 32), "red").save(w / "pictures" / "more.png", exif=b"Exif\0\0II*\0\x08")


@fault("an image of 1 x 20000 pixels", ENCODE_IMAGES, "more than 200 times as long as wide")
def _(w):
    Image.new("RGB", (20000, 1), "red").save(w / "pictures" / "more.png")


@fault("an image of integers of 32 bits", ENCODE_IMAGES, "integers of a range that nothing in the file names")
def _(w):
    Image.fromarray(np.full((32, 32), 200, np.int32)).save(w / "pictures" / "more.tiff")


# features made elsewhere


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


@fault("NUL in a caption", ENCODE_TEXTS, "first '000002': holds NUL, as text of another encoding does")
def _(w):
    edit_caption(w, text="a\0d\0o\0g\0")


fault("an image folder for texts", ENCODE_TEXTS + " --image-folder pictures", "only a JSON of images takes one")(
    nothing
)
fault("features that are missing", CONVERT, "rows.npy: no such file")(nothing)


@fault("a pipe in place of features", CONVERT, "rows.npy: is not a regular file")
def _(w):
    os.mkfifo(w / "rows.npy")


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
