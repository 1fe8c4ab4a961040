"""Small shards, made in the test: tars, tables, JSONL, pictures."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(color="red", size=(6, 4), form="PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, form)
    return buffer.getvalue()


def tar_bytes(members, mode="w") -> bytes:
    """A tar of (name, bytes) pairs; a TarInfo in the place of a name is taken as it is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def samples(*keys):
    """Members of samples as img2dataset writes them."""
    for key in keys:
        yield f"{key}.jpg", picture(form="JPEG")
        yield f"{key}.json", json.dumps({"caption": f"json of {key}", "uid": f"u-{key}"}).encode()
        yield f"{key}.txt", f"text of {key}".encode()


def jsonl_bytes(*texts) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def write_table(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def read_all(corpus):
    """Every item of every part."""
    return [item for part in corpus.parts for item in corpus.read(part)]


def pairs(corpus):
    return [(item.id, item.text) for item in read_all(corpus)]
