"""Faults of what the commands themselves write: stores and aligners, and the roles they are given."""

import hashlib
import json
import os
import shutil

import numpy as np
from catalogue import APPLY, FIT, GEOMETRY, INSPECT, edit_json, fault, nothing, shard, without
from safetensors.numpy import load_file, save_file

# roles

fault("texts and images exchanged in fit", "fit --source images --target texts --out new", "the source must be one of")(
    nothing
)
fault("one store as both corpora", "fit --source texts --target texts --out new", "the target must be one of images")(
    nothing
)
fault(
    "texts and images exchanged in geometry",
    "geometry --source images --target texts --out new",
    "the source must be one of texts",
)(nothing)
fault("an image store to be aligned", "apply --aligner realign --source images --out new", "is an image store")(nothing)


def align(w):
    from conftest import run

    run("apply", "--aligner", w / "realign", "--source", w / "texts", "--out", w / "aligned")


ALIGNED = "is already aligned (realign); give the original store"
fault("an aligned store in fit", FIT.replace("texts", "aligned"), ALIGNED)(align)
fault("an aligned store in geometry", GEOMETRY.replace("texts", "aligned"), ALIGNED)(align)
fault("an aligned store to be aligned", APPLY.replace("texts", "aligned"), ALIGNED)(align)


@fault("a store of one row", FIT.replace("texts", "one"), "the source has 1 row(s); fitting needs at least 2")
def _(w):
    from conftest import unit_rows, write_store

    write_store(w / "one", unit_rows(np.random.default_rng(0), 1, 192))


@fault("captions that are all the same", FIT.replace("texts", "same"), "the source does not vary (trace ")
def _(w):
    from conftest import run

    (w / "same.txt").write_text("a dog\n" * 20)
    run("encode", "--encoder", "demo", "--texts", w / "same.txt", "--out", w / "same")


# stores


@fault("embeddings that are not those of the hash", FIT, "the content does not match its hash")
def _(w):
    from revision_plugin.embeddings.store import Store

    (matrix,) = list(Store.open(w / "texts").blocks())
    data = bytearray(shard(w).read_bytes())
    data[data.index(matrix[3].tobytes())] ^= 1
    shard(w).write_bytes(data)


@fault("a manifest that names a shard twice", FIT, "shards cannot be what it says")
def _(w):
    edit_json(w / "texts" / "manifest.json", lambda manifest: manifest["shards"].append(manifest["shards"][0]))


@fault("a manifest that is a list", INSPECT, "manifest.json: expected a JSON object, found a list")
def _(w):
    (w / "texts" / "manifest.json").write_text("[]")


@fault("a manifest that names a file elsewhere", FIT, "shards cannot be what it says")
def _(w):
    edit_json(w / "texts" / "manifest.json", lambda manifest: manifest.update(shards=["../images/data-00000.arrow"]))


@fault("a manifest with a dimension in words", FIT, "dim cannot be what it says")
def _(w):
    edit_json(w / "texts" / "manifest.json", lambda manifest: manifest.update(dim="many"))


@fault("a manifest with a dimension beyond any array", FIT, "dim cannot be what it says")
def _(w):
    edit_json(w / "texts" / "manifest.json", lambda manifest: manifest.update(dim=2**40))


@fault("a manifest without its shards", FIT, "lacks shards")
def _(w):
    edit_json(w / "texts" / "manifest.json", without("shards"))


@fault("an encoder in a manifest that is a number", FIT, "names no encoder by 'spec' and 'fingerprint'")
def _(w):
    def change(manifest):
        del manifest["manifest_hash"]
        manifest["encoder"] = {"spec": 3, "fingerprint": 4}

    edit_json(w / "texts" / "manifest.json", change)


@fault("a folder in place of a shard", FIT, "is not a regular file")
def _(w):
    name = shard(w)
    name.unlink()
    name.mkdir()


@fault("a pipe in place of a shard", FIT, "is not a regular file")
def _(w):
    name = shard(w)
    name.unlink()
    os.mkfifo(name)


@fault("another store's shard", FIT, "its columns are not those the manifest promises")
def _(w):
    shutil.copy(next((w / "images").glob("*.arrow")), shard(w))


@fault("an edited caption", APPLY, "the content does not match its hash")
def _(w):
    data = shard(w).read_bytes()
    word = next(word for word in (b"background", b"left", b"right", b" and ") if word in data)
    shard(w).write_bytes(data.replace(word, word[::-1], 1))


def sharded(harm):
    """Four rows a shard of the store of texts, and then some harm to its folder."""

    def inject(w):
        from conftest import unit_rows, write_store

        write_store(w / "many", unit_rows(np.random.default_rng(0), 12, 192), chunk=4, rows_per_shard=4)
        harm(w / "many")

    return inject


MANY = "inspect many"
fault("a shard of several that is missing", MANY, "data-00001.arrow: shard is missing; encode the store again")(
    sharded(lambda store: (store / "data-00001.arrow").unlink())
)
fault("a shard of several that was cut", MANY, "data-00002.arrow: shard is damaged (400 bytes, not")(
    sharded(lambda store: os.truncate(store / "data-00002.arrow", 400))
)
fault("the hashes of a store's shards, edited", MANY, "shards.json: was edited or damaged; encode the store again")(
    sharded(lambda store: edit_json(store / "shards.json", lambda hashes: hashes["columns"]["id"].reverse()))
)
fault("the hashes of a store's shards, missing", MANY, "shards.json: no such file")(
    sharded(lambda store: (store / "shards.json").unlink())
)


@fault("other numbers of rows in a manifest", MANY, "says 12 rows, its shards 13; encode the store again")
@sharded
def _(store):
    def change(manifest):
        del manifest["manifest_hash"]
        manifest["shards"]["rows"] = [4, 4, 5]

    edit_json(store / "manifest.json", change)


@fault("a shard of several whose bytes were changed", MANY, "data-00001.arrow: the content does not match its hash")
@sharded
def _(store):
    file = store / "data-00001.arrow"
    file.write_bytes(file.read_bytes().replace(b"text 6", b"text 9", 1))


@fault("a store that was never finished", "inspect never", "is an unfinished store; repeat the command")
def _(w):
    (w / "never.partial").mkdir()


fault(
    "a folder that is nothing of ours",
    "inspect pictures",
    "is no embedding store, aligner, checkpoint or file of moments",
)(nothing)

# aligners


def rewrite_aligner(w, change):
    """Change the parameters, and the record so that it fits them: what a broken fit would have written."""
    parameters = load_file(w / "realign" / "aligner.safetensors")
    change(parameters)
    save_file(parameters, w / "realign" / "aligner.safetensors")
    record = json.loads((w / "realign" / "aligner.json").read_text())
    del record["record_hash"]
    record["parameters_hash"] = hashlib.sha256((w / "realign" / "aligner.safetensors").read_bytes()).hexdigest()
    (w / "realign" / "aligner.json").write_text(json.dumps(record))


@fault("an aligner that is not finite", APPLY, "'source_mean' is not finite; fit the aligner again")
def _(w):
    rewrite_aligner(w, lambda parameters: parameters["source_mean"].__setitem__(3, np.nan))


@fault("an aligner without its source mean", APPLY, "holds no source mean of 192 dimensions")
def _(w):
    rewrite_aligner(w, lambda parameters: parameters.pop("source_mean"))


@fault("an aligner whose parameters do not fit together", APPLY, "its parameters do not fit together")
def _(w):
    rewrite_aligner(w, lambda parameters: [parameters.pop(n) for n in list(parameters) if not n.endswith("_mean")])


@fault("an aligner whose record was edited", APPLY, "aligner.json: was edited or damaged")
def _(w):
    edit_json(w / "realign" / "aligner.json", lambda record: record["options"].update(centroid_rounds=3))


@fault("an aligner of a dimension in words", APPLY, "dim cannot be what it says")
def _(w):
    edit_json(w / "realign" / "aligner.json", lambda record: record.update(dim="many"))


@fault("an aligner's record that is a list", APPLY, "aligner.json: expected a JSON object, found a list")
def _(w):
    (w / "realign" / "aligner.json").write_text("[]")


@fault("a damaged store to be exported", "export --store texts --out new", "the content does not match its hash")
def _(w):
    data = bytearray(shard(w).read_bytes())
    data[len(data) // 2] ^= 1
    shard(w).write_bytes(bytes(data))


@fault("a cut aligner to be exported", "export --aligner realign --out new", "missing, cut or edited")
def _(w):
    weights = w / "realign" / "aligner.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])


@fault("an aligner of a method nobody knows", APPLY, "unknown aligner 'magic'")
def _(w):
    def change(record):
        del record["record_hash"]
        record["method"] = "magic"

    edit_json(w / "realign" / "aligner.json", change)
