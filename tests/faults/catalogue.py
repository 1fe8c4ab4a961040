"""Every fault: how it is injected, the command that meets it, its exit status and what its one line says.

`docs/faults.md` is generated from this list (`python tests/faults/page.py`); the suite proves each entry.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent.parent
ENCODE_TEXTS = "encode --encoder demo --texts texts.json --out new"
ENCODE_IMAGES = "encode --encoder demo --images pictures --out new"
ENCODE_PAIRED = "encode --encoder demo --images paired.json --image-folder pictures --out new"
FIT = "fit --source texts --target images --out new"
APPLY = "apply --aligner realign --source texts --out new"
INSPECT = "inspect texts"
GEOMETRY = "geometry --source texts --target images --out new"


@dataclass(frozen=True)
class Fault:
    name: str
    inject: Callable[[Path], None]
    command: str
    line: str  # a part of the one line on standard error
    status: int = 2


FAULTS: list[Fault] = []


def fault(name: str, command: str, line: str, status: int = 2):
    def add(inject):
        FAULTS.append(Fault(name, inject, command, line, status))
        return inject

    return add


def nothing(w: Path) -> None:
    """For faults of the command line."""


def without(*keys: str) -> Callable[[dict], None]:
    return lambda value: [value.pop(key, None) for key in keys] and None


def edit_json(path: Path, change: Callable) -> None:
    value = json.loads(path.read_text())
    changed = change(value)
    path.write_text(json.dumps(value if changed is None else changed))


# corpora


@fault("a missing corpus", ENCODE_TEXTS, "texts.json: no such file")
def _(w):
    (w / "texts.json").unlink()


@fault("an empty corpus", ENCODE_TEXTS, "holds no text; nothing to encode")
def _(w):
    (w / "texts.json").write_text("[]")


@fault("a JSON cut short", ENCODE_TEXTS, "texts.json: not valid JSON")
def _(w):
    (w / "texts.json").write_text((w / "texts.json").read_text()[:200])


@fault("a text that is not UTF-8", ENCODE_TEXTS.replace(".json", ".txt"), "line 1 is not UTF-8; save it as UTF-8")
def _(w):
    (w / "texts.txt").write_bytes(b"caf\xe9\n")


@fault("a record without a caption", ENCODE_TEXTS, "1 unusable item(s), first '000003': has no caption")
def _(w):
    edit_json(w / "texts.json", lambda rows: rows[3].pop("conversations") and None)


@fault("an id twice", ENCODE_TEXTS, "id '000002' occurs more than once; ids must be unique")
def _(w):
    edit_json(w / "texts.json", lambda rows: rows[7].update(id="000002"))


@fault(
    "a text longer than the encoder's window",
    ENCODE_TEXTS,
    "1 of 12 texts were longer than the encoder's window and were cut",
    0,
)
def _(w):
    edit_json(w / "texts.json", lambda rows: rows[0]["conversations"][1].update(value="dog " * 500))


# images


@fault("an image cut short", ENCODE_IMAGES, "1 unusable item(s), first '00004.png'")
def _(w):
    picture = w / "pictures" / "00004.png"
    picture.write_bytes(picture.read_bytes()[:300])


@fault("a file that is no image", ENCODE_IMAGES, "00004.png: does not decode as an image")
def _(w):
    (w / "pictures" / "00004.png").write_text("not a picture")


@fault("an image of 400 megapixels", ENCODE_IMAGES, "exceeds limit of")
def _(w):
    from PIL import Image

    Image.new("1", (20000, 20000)).save(w / "pictures" / "00004.png")


@fault("an animated image: its first frame is encoded", ENCODE_IMAGES, "", 0)
def _(w):
    from PIL import Image

    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    frames[0].save(w / "pictures" / "more.gif", save_all=True, append_images=frames[1:])


@fault("a CMYK image: it is converted", ENCODE_IMAGES, "", 0)
def _(w):
    from PIL import Image

    Image.new("CMYK", (32, 32), (10, 200, 30, 5)).save(w / "pictures" / "more.jpg")


@fault("an image of 16 bits: it is scaled", ENCODE_IMAGES, "", 0)
def _(w):
    from PIL import Image

    Image.fromarray(np.full((32, 32), 40000, np.uint16)).save(w / "pictures" / "more.png")


@fault("an image path with ..", ENCODE_PAIRED, "lies outside the image folder")
def _(w):
    edit_json(w / "paired.json", lambda rows: rows[1].update(image="../texts.json"))


@fault("an absolute image path", ENCODE_PAIRED, "lies outside the image folder")
def _(w):
    edit_json(w / "paired.json", lambda rows: rows[1].update(image="/etc/passwd"))


@fault("an image that is missing", ENCODE_PAIRED, "00001.png: no such file")
def _(w):
    (w / "pictures" / "00001.png").unlink()


# embeddings


def convert_rows(w: Path, change: Callable[[np.ndarray], None]) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    change(rows)
    np.save(w / "rows.npy", rows)


CONVERT = "convert rows.npy --modality image --encoder external:mine --out new"


@fault("a row with NaN", CONVERT, "1 unusable row(s), first '5': holds NaN or infinity")
def _(w):
    convert_rows(w, lambda rows: rows.__setitem__((5, 2), np.nan))


@fault("a row with infinity", CONVERT, "1 unusable row(s), first '5': holds NaN or infinity")
def _(w):
    convert_rows(w, lambda rows: rows.__setitem__((5, 2), np.inf))


@fault("a row of zeros", CONVERT, "1 unusable row(s), first '5': is zero")
def _(w):
    convert_rows(w, lambda rows: rows.__setitem__(5, 0))


@fault(
    "stores of different dimension",
    "fit --source texts --target narrow --out new",
    "source and target differ in dimension: 192 and 8",
)
def _(w):
    from conftest import unit_rows, write_store

    write_store(w / "narrow", unit_rows(np.random.default_rng(0), 20, 8), modality="image")


@fault(
    "stores of two encoders",
    "fit --source texts --target foreign --out new",
    "come from different encoders ('demo' and 'test')",
)
def _(w):
    from conftest import unit_rows, write_store

    write_store(w / "foreign", unit_rows(np.random.default_rng(0), 20, 192), modality="image")


@fault(
    "an aligner on another encoder's store",
    "apply --aligner realign --source foreign --out new",
    "the aligner was fitted for another encoder ('demo' and 'test')",
)
def _(w):
    from conftest import unit_rows, write_store

    write_store(w / "foreign", unit_rows(np.random.default_rng(0), 20, 192))


@fault("a hostile pickle", "convert evil.pkl --modality text --encoder external:x --out new", "evil.pkl")
def _(w):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {w / 'ran'}",)

    (w / "evil.pkl").write_bytes(pickle.dumps(Evil()))


# stores and aligners on disk


def shard(w: Path) -> Path:
    return next((w / "texts").glob("*.arrow"))


@fault("a shard cut short", FIT, "shard is damaged")
def _(w):
    shard(w).write_bytes(shard(w).read_bytes()[:500])


@fault("a shard that is missing", FIT, "shard is missing")
def _(w):
    shard(w).unlink()


@fault("a shard that is empty", FIT, "shard is damaged")
def _(w):
    shard(w).write_bytes(b"")


@fault("a shard twice in a manifest", FIT, "manifest.json: shards cannot be what it says; encode the store again")
def _(w):
    edit_json(w / "texts" / "manifest.json", lambda manifest: manifest.update(shards=manifest["shards"] * 2))


@fault("a byte flipped in a shard", INSPECT, "the content does not match its hash")
def _(w):
    data = bytearray(shard(w).read_bytes())
    data[len(data) // 2] ^= 1
    shard(w).write_bytes(bytes(data))


@fault("an edited manifest", FIT, "manifest.json: was edited or damaged; encode the store again")
def _(w):
    edit_json(w / "texts" / "manifest.json", lambda manifest: manifest.update(count=99))


@fault("a manifest of old with another count", FIT, "the manifest says 99 rows, the shards hold 12")
def _(w):
    def change(manifest):
        del manifest["manifest_hash"], manifest["columns"]
        manifest["count"] = 99

    edit_json(w / "texts" / "manifest.json", change)


@fault("an aligner cut short", APPLY, "missing, cut or edited; fit the aligner again")
def _(w):
    weights = w / "realign" / "aligner.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])


@fault("an aligner's record edited", APPLY, "lacks options; fit the aligner again")
def _(w):
    edit_json(w / "realign" / "aligner.json", lambda record: record.pop("options") and None)


@fault("an output that is occupied", FIT, "already exists; choose another --out or delete it")
def _(w):
    (w / "new").mkdir()
    (w / "new" / "mine.txt").write_text("mine")


@fault("an output under a file", ENCODE_TEXTS.replace("new", "texts.json/new"), "cannot be created")
def _(w):
    pass


@fault("another writer on the store", ENCODE_TEXTS, "still writes here; wait for it, end it, or choose another --out")
def _(w):
    from conftest import held_folder

    HELD.enter_context(held_folder(w / "new.partial"))


@fault("an unfinished store of another corpus", ENCODE_TEXTS, "holds a stopped run with another corpus_hash")
def _(w):
    from revision_plugin.embeddings.writer import StoreWriter
    from revision_plugin.encoders import load_encoder

    request = {"corpus": "texts.json", "corpus_hash": "0", "chunk_rows": 4096}
    StoreWriter(
        w / "new", modality="text", encoder=load_encoder("demo").identity, dim=192, dtype="float16", request=request
    ).close()


@fault(
    "an unfinished store that an earlier version began", ENCODE_TEXTS, "was begun by an earlier version, which wrote"
)
def _(w):
    (w / "new.partial").mkdir()
    (w / "new.partial" / "request.json").write_text(json.dumps({"corpus": "texts.json", "chunk_rows": 4096}))


HELD = contextlib.ExitStack()  # locks that a fault keeps until its test ends
