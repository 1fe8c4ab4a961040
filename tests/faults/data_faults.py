"""Faults of corpora: texts and images."""

import os
import socket

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from catalogue import ENCODE_IMAGES, ENCODE_PAIRED, ENCODE_TEXTS, edit_json, fault, nothing
from PIL import Image

PARQUET = ENCODE_TEXTS.replace(".json", ".parquet")


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


@fault("NUL in a caption", ENCODE_TEXTS, "first '000002': holds NUL, as text of another encoding does")
def _(w):
    edit_caption(w, text="a\0d\0o\0g\0")


fault("an image folder for texts", ENCODE_TEXTS + " --image-folder pictures", "only a JSON of images takes one")(
    nothing
)


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
