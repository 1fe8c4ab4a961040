"""Faults of sums in files, and of fits on them and on corpora."""

import json

from catalogue import edit_json, fault, nothing

MERGE = "fit --merge t i --out new"


def sums(w):
    from conftest import run

    run("moments", w / "texts", "--out", w / "t")
    run("moments", w / "images", "--out", w / "i")


@fault("sums of texts alone", MERGE.replace(" i", ""), "no file holds moments of images; sum them with")
def _(w):
    sums(w)


@fault("the same sums twice", MERGE.replace(" t ", " t t "), "rows 0 to 12 are in", 2)
def _(w):
    sums(w)


@fault("a part of the rows in no file", MERGE, "rows 5 to 12 of the 12 that t has a part of are in no file")
def _(w):
    from conftest import run

    sums(w)
    (w / "t").unlink()
    run("moments", w / "texts", "--rows", "0:5", "--out", w / "t")


@fault("sums of two encoders", MERGE, "is of another encoder than")
def _(w):
    import numpy as np
    from conftest import run, unit_rows, write_store

    sums(w)
    (w / "i").unlink()
    write_store(w / "foreign", unit_rows(np.random.default_rng(0), 20, 192), modality="image")
    run("moments", w / "foreign", "--out", w / "i")


@fault("a byte flipped in a file of sums", MERGE, "t: was edited or damaged; give files that")
def _(w):
    sums(w)
    data = bytearray((w / "t").read_bytes())
    data[-1] ^= 1
    (w / "t").write_bytes(data)


@fault("a file of sums cut short", MERGE, "t: not a whole safetensors file")
def _(w):
    sums(w)
    (w / "t").write_bytes((w / "t").read_bytes()[:-9])


@fault("sums through the map of another fit", "fit --merge a.pass2 m --out new", "was summed through another map")
def _(w):
    from conftest import run

    sums(w)
    run("fit", "--merge", w / "t", w / "i", "--out", w / "a")
    run("fit", "--merge", w / "t", w / "i", "--method", "mean_shift", "--measure", "--out", w / "b")
    run("moments", w / "texts", "--through", w / "b.pass2", "--out", w / "m")


@fault("images to be summed through a map", "moments images --through a.pass2 --out new", "is no source that the map")
def _(w):
    from conftest import run

    sums(w)
    run("fit", "--merge", w / "t", w / "i", "--out", w / "a")


fault("sums of rows that are not there", "moments texts --rows 3:13 --out new", "a range of rows within 0:12")(nothing)
fault(
    "a method that reads rows, on sums", MERGE.replace("--out", "--method auto --out"), "auto compares methods on rows"
)(sums)
CORPORA = "fit --encoder demo --source texts.json --target pictures --out new"


@fault(
    "a record without a caption in a fit from corpora", CORPORA, "1 unusable item(s), first '000003': has no caption"
)
def _(w):
    edit_json(w / "texts.json", lambda rows: rows[3].pop("conversations") and None)


@fault("a file that is no image in a fit from corpora", CORPORA, "'00004.png' cannot be used")
def _(w):
    (w / "pictures" / "00004.png").write_text("not a picture")


@fault("an empty corpus in a fit from corpora", CORPORA, "holds no text; nothing to encode")
def _(w):
    (w / "texts.json").write_text(json.dumps([]))
