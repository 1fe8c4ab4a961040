"""Faults of corpora of many shards."""

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
from catalogue import ENCODE_IMAGES, ENCODE_TEXTS, FIT, HELD, fault, nothing
from PIL import Image

TEXTS = ENCODE_TEXTS.replace("texts.json", "shards")
IMAGES = ENCODE_IMAGES.replace("pictures", "shards")
PNG = io.BytesIO()
Image.new("RGB", (32, 32), "red").save(PNG, "PNG")


def write_tar(w, name, members):
    (w / "shards").mkdir(exist_ok=True)
    with tarfile.open(w / "shards" / name, "w") as tar:
        for file, data in members:
            member = tarfile.TarInfo(file)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return w / "shards" / name


def write_table(w, name, **columns):
    (w / "shards").mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), w / "shards" / name)
    return w / "shards" / name


@fault("a folder of shards of two kinds", TEXTS, "holds shards of parquet and tar; give those of one kind")
def _(w):
    write_tar(w, "a.tar", [("a.txt", b"a dog")])
    write_table(w, "a.parquet", text=["a dog"])


@fault("two columns that can be the text", TEXTS, "text and caption can be the text; say which with --text-column")
def _(w):
    write_table(w, "a.parquet", text=["a dog"], caption=["a cat"])


@fault("no column that can be the text", TEXTS, "say which it is with --text-column (columns: body, url)")
def _(w):
    write_table(w, "a.parquet", body=["a dog"], url=["x"])


@fault("a column that is not there", f"{TEXTS} --text-column body", "has no column 'body' for --text-column")
def _(w):
    write_table(w, "a.parquet", text=["a dog"])


@fault("a column of numbers as the text", f"{TEXTS} --text-column n", "column 'n' is of type int64, not text")
def _(w):
    write_table(w, "a.parquet", text=["a dog"], n=[1])


@fault("a shard with other columns", TEXTS, "b.parquet: has no column 'text', as the first shard has")
def _(w):
    write_table(w, "a.parquet", text=["a dog"])
    write_table(w, "b.parquet", caption=["a dog"])


@fault("a shard of parquet cut short", TEXTS, "b.parquet: not a whole, readable parquet file")
def _(w):
    write_table(w, "a.parquet", text=["a dog"])
    path = write_table(w, "b.parquet", text=["a dog"] * 100)
    path.write_bytes(path.read_bytes()[:-20])


@fault("a compressed JSONL cut short", TEXTS, "a.jsonl.gz: is cut or damaged")
def _(w):
    (w / "shards").mkdir()
    lines = "".join(json.dumps({"text": f"dog {i}"}) + "\n" for i in range(1000))
    (w / "shards" / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:-30])


@fault("an Arrow file cut short", TEXTS, "a.arrow: not a whole, readable Arrow file")
def _(w):
    (w / "shards").mkdir()
    table = pa.table({"text": ["a dog"]})
    with pa.ipc.new_stream(w / "shards" / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    (w / "shards" / "a.arrow").write_bytes((w / "shards" / "a.arrow").read_bytes()[:-8])


@fault("a saved dataset that lacks a file", TEXTS, "state.json: names b.arrow, which is missing")
def _(w):
    (w / "shards").mkdir()
    (w / "shards" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "b.arrow"}]}))


@fault("a saved dataset of several splits", TEXTS, "holds the splits train, test; give the folder of one")
def _(w):
    (w / "shards").mkdir()
    (w / "shards" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))


@fault("an empty shard beside another: it is named", TEXTS, "a.parquet: holds no item", 0)
def _(w):
    write_table(w, "a.parquet", text=pa.array([], pa.string()))
    write_table(w, "b.parquet", text=["a dog"])


@fault("a folder with no shard for texts", TEXTS, "is a folder; give one file of")
def _(w):
    (w / "shards").mkdir()


@fault("a glob that matches nothing", ENCODE_TEXTS.replace("texts.json", "*.tar"), "*.tar: no file matches")
def _(w):
    pass


@fault("a link among the shards that leads out", TEXTS, "a.parquet: is a link that leads out of")
def _(w):
    (w / "shards").mkdir()
    write_table(w, "b.parquet", text=["a dog"]).rename(w / "elsewhere.parquet")
    (w / "shards" / "a.parquet").symlink_to(w / "elsewhere.parquet")


@fault("a tar cut short", IMAGES, "a.tar: not a whole, readable tar")
def _(w):
    path = write_tar(w, "a.tar", [("a.png", PNG.getvalue()), ("b.png", PNG.getvalue())])
    path.write_bytes(path.read_bytes()[:1200])


@fault("a tar whose end is missing", IMAGES, "a.tar: not a whole, readable tar: its end is missing")
def _(w):
    path = write_tar(w, "a.tar", [("a.png", PNG.getvalue())])
    path.write_bytes(path.read_bytes()[:1024])


@fault("two tars joined", IMAGES, "holds more behind the tar's end; give tars that are not joined")
def _(w):
    path = write_tar(w, "a.tar", [("a.png", PNG.getvalue())])
    path.write_bytes(path.read_bytes() * 2)


@fault("a link in a tar", IMAGES, "first 'b': its member 'png' is a link, a device or sparse")
def _(w):
    path = write_tar(w, "a.tar", [("a.png", PNG.getvalue())])
    link = tarfile.TarInfo("b.png")
    link.type, link.linkname = tarfile.SYMTYPE, "../../pictures/00004.png"
    with tarfile.open(path, "a") as tar:
        tar.addfile(link)


@fault(
    "an absolute path in a tar", IMAGES, "first '/etc/a': its member '/etc/a.png' is called by a path that leads out"
)
def _(w):
    write_tar(w, "a.tar", [("/etc/a.png", PNG.getvalue())])


@fault("two images in a sample", IMAGES, "jpg and png can be the image; say which with --image-column")
def _(w):
    write_tar(w, "a.tar", [("a.png", PNG.getvalue()), ("a.jpg", PNG.getvalue())])


@fault("a sample without an image", IMAGES, "first 'b': has no member jpg, jpeg, png, webp")
def _(w):
    write_tar(w, "a.tar", [("a.png", PNG.getvalue()), ("b.txt", b"a dog")])


@fault("a damaged image in a tar", IMAGES, "a.tar: a.png: does not decode as an image")
def _(w):
    write_tar(w, "a.tar", [("a.png", PNG.getvalue()[:60])])


@fault("a pickle as a member of a tar", f"{TEXTS} --text-column pyd", "is a pickle, which is never read")
def _(w):
    write_tar(w, "a.tar", [("a.pyd", b"x"), ("a.txt", b"a dog")])


@fault("images in a table that are paths", IMAGES, "holds no image, but the path 'a.png'; give --image-folder")
def _(w):
    write_table(w, "a.parquet", image=["a.png"])


@fault("an image folder for a tar", f"{IMAGES} --image-folder pictures", "holds its images itself; leave it out")
def _(w):
    write_tar(w, "a.tar", [("a.png", PNG.getvalue())])


@fault(
    "a store there, and no package",
    FIT.replace("texts", "s3://bucket/texts"),
    "'s3://' needs a package that is not installed; pip install s3fs",
)
@fault(
    "a file system whose package is not installed",
    ENCODE_TEXTS.replace("texts.json", "s3://bucket/data"),
    "'s3://' needs a package that is not installed; pip install s3fs",
)
def _(w):
    from object_store import without_s3fs

    HELD.enter_context(without_s3fs())


@fault(
    "a shard named twice: it is read once",
    TEXTS.replace("shards", "shards shards/a.parquet"),
    "1 file(s) are named twice",
    0,
)
def _(w):
    write_table(w, "a.parquet", text=["a dog"])


@fault("a shard twice under two names", TEXTS, "occurs more than once; ids must be unique")
def _(w):
    write_table(w, "a.parquet", text=["a dog"], id=["1"])
    write_table(w, "b.parquet", text=["a dog"], id=["1"])


@fault("an empty file among the shards", TEXTS, "b.parquet: not a whole, readable parquet file")
def _(w):
    write_table(w, "a.parquet", text=["a dog"])
    (w / "shards" / "b.parquet").touch()


fault(
    "a file system that nobody knows",
    ENCODE_TEXTS.replace("texts.json", "nowhere://data"),
    "no file system is called 'nowhere://'",
)(nothing)
fault(
    "a file elsewhere that is missing",
    ENCODE_TEXTS.replace("texts.json", "memory://none/a.jsonl"),
    "no such file or folder",
)(nothing)
fault("the flag of images for texts", f"{ENCODE_TEXTS} --image-column x", "--image-column x: is for --images")(nothing)
fault("the flag of texts for images", f"{ENCODE_IMAGES} --text-column x", "--text-column x: is for --texts")(nothing)
