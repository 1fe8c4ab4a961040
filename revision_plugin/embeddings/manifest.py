"""A store's manifest: what it holds, where it came from, and the hashes of its content."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from .._common.files import hash_json, is_count, is_texts, require_types
from ..encoders.identity import Identity
from ..errors import RevisionError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
DTYPES = {"float16": np.float16, "float32": np.float32}
SHARD_NAME = re.compile(r"[\w-][\w.-]*")  # a file of the store's own folder
HASH = re.compile(r"[0-9a-f]{128}")
MANIFEST_TYPES = {
    "modality": lambda value: value in ("text", "image"),
    "dim": lambda value: is_count(value) and 0 < value < 2**31,  # Arrow's limit of a list
    "dtype": lambda value: value in tuple(DTYPES),
    "count": lambda value: is_count(value) and value > 0,
    "unit_norm": lambda value: value is True,
    "content_hash": lambda value: isinstance(value, str),
    "conversations": is_count,
    "failures": is_count,
    "shards": lambda value: is_texts(value) and len({*value}) == len(value) and all(map(SHARD_NAME.fullmatch, value)),
    "versions": lambda value: isinstance(value, dict),
}
UNIT_NORM_TOLERANCE = {"float16": 1e-2, "float32": 1e-3}


@dataclass(frozen=True)
class Manifest:
    """What a store holds and where it came from."""

    modality: str
    encoder: Identity
    dim: int
    dtype: str
    count: int
    unit_norm: bool
    content_hash: str
    conversations: int
    failures: int
    shards: list[str]
    versions: dict
    aligner: dict | None = None
    kind: str = "store"
    format_version: int = FORMAT_VERSION
    columns: dict[str, str] | None = None  # hashes by column, of which `content_hash` is made
    views: str | None = None  # of an item, where there are several: their spec

    def to_json(self) -> dict:
        """Plain values under a hash of their own."""
        values = {**asdict(self), "encoder": self.encoder.to_json()}
        if self.views is None:
            del values["views"]  # as stores of one vector an item have always been
        return {**values, "manifest_hash": hash_json(values)}

    @classmethod
    def from_json(cls, value: dict, where: Path) -> Manifest:
        """Read what `to_json` gave. Raises RevisionError with everything that is wrong with it."""
        remedy = "encode the store again"
        value = dict(value)
        if value.get("kind") != "store" or value.get("format_version") != FORMAT_VERSION:
            raise RevisionError(f"{where}: not the manifest of a store of format version {FORMAT_VERSION}; {remedy}")
        require_types(value, MANIFEST_TYPES, str(where), remedy)
        if value.pop("manifest_hash", None) not in (None, hash_json(value)):  # stores of old have none
            raise RevisionError(f"{where}: was edited or damaged; {remedy}")
        encoder = Identity.from_json(value.get("encoder"), str(where))
        if not isinstance(value.get("aligner"), (dict, type(None))):
            raise RevisionError(f"{where}: its 'aligner' names none; {remedy}")
        if not isinstance(value.get("views", "1"), str):
            raise RevisionError(f"{where}: its 'views' name none; {remedy}")
        unknown = sorted(value.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            raise RevisionError(f"{where}: holds '{unknown[0]}', which no manifest has; {remedy}")
        manifest = cls(**{**value, "encoder": encoder})
        if not _is_hashes(manifest.columns, manifest.schema.names):
            raise RevisionError(f"{where}: its 'columns' are no hashes of its columns; {remedy}")
        if manifest.columns is not None and manifest.content_hash != manifest.joined(manifest.columns):
            raise RevisionError(f"{where}: was edited or damaged; {remedy}")
        return manifest

    @property
    def schema(self) -> pa.Schema:
        """The shards' Arrow schema."""
        return arrow_schema(self.modality, self.dim, self.dtype, views=self.views is not None)

    def joined(self, columns: dict[str, str]) -> str:
        """The content hash that columns of these hashes have."""
        return joined_hash(columns, self.modality, self.dim, self.dtype)


def _is_hashes(columns: object, names: list[str]) -> bool:
    """Whether they are hashes of exactly these columns, or None, as in stores of old."""
    if columns is None:
        return True
    return (
        isinstance(columns, dict)
        and sorted(columns) == sorted(names)
        and all(isinstance(each, str) and HASH.fullmatch(each) for each in columns.values())
    )


def arrow_schema(modality: str, dim: int, dtype: str, *, views: bool = False) -> pa.Schema:
    """The shards' Arrow schema."""
    fields = [("id", pa.string()), ("embedding", pa.list_(pa.from_numpy_dtype(DTYPES[dtype]), dim))]
    if views:
        fields.append(("view", pa.int32()))
    if modality == "text":
        turn = pa.struct([("from", pa.string()), ("value", pa.string())])
        fields += [("text", pa.string()), ("conversations", pa.list_(turn))]
    return pa.schema(fields)


def joined_hash(columns: dict[str, str], modality: str, dim: int, dtype: str) -> str:
    """The content hash of rows whose columns have these hashes."""
    store_hasher = hashlib.blake2b(f"{modality} {dim} {dtype}".encode(), digest_size=32)
    for name in sorted(columns):
        store_hasher.update(name.encode() + bytes.fromhex(columns[name]))
    return store_hasher.hexdigest()
