"""A store's manifest: what it holds, where it came from, and the hashes of its content."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from .._common.files import hash_json, is_count, is_texts, read_object, require_types
from ..encoders.identity import Identity
from ..errors import RevisionError
from .content_hashes import hash_of_shards

MANIFEST = "manifest.json"
SHARD_HASHES = "shards.json"  # of a store of several: a file of its own, since only a check of all rows reads it
ONE_HASH, HASH_A_SHARD = FORMAT_VERSIONS = (1, 2)  # by what a store's columns are hashed
SHARD_NAMES = "data-%05d.arrow"
DTYPES = {"float16": np.float16, "float32": np.float32}
SHARD_NAME = re.compile(r"[\w-][\w.-]*")  # a file of the store's own folder
SIZES = ("rows", "bytes", "items")  # that are known of each shard
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
    "shards": lambda value: isinstance(value, dict) or _is_names(value),
    "versions": lambda value: isinstance(value, dict),
}
UNIT_NORM_TOLERANCE = {"float16": 1e-2, "float32": 1e-3}


@dataclass(frozen=True)
class Manifest:
    """What a store holds and where it came from.

    Of format version 1 `columns` are hashes of all rows, as stores have always had them; of version 2, which several
    shards have, hashes of the shards' hashes, and it says of each shard how many rows and bytes it has.
    """

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
    format_version: int = ONE_HASH
    columns: dict[str, str] | None = None  # hashes by column, of which `content_hash` is made
    views: str | None = None  # of an item, where there are several: their spec
    shard_rows: list[int] | None = None
    shard_bytes: list[int] | None = None
    shard_items: list[int] | None = None  # where an item has several views

    def to_json(self) -> dict:
        """Plain values under a hash of their own."""
        values = {**asdict(self), "encoder": self.encoder.to_json()}
        sizes = {name: values.pop(f"shard_{name}") for name in SIZES}
        if self.format_version == HASH_A_SHARD:
            values["shards"] = {
                "names": SHARD_NAMES,
                **{name: each for name, each in sizes.items() if each is not None},
            }
        if self.views is None:
            del values["views"]  # as stores of one vector an item have always been
        return {**values, "manifest_hash": hash_json(values)}

    @classmethod
    def from_json(cls, value: dict, where: Path | str) -> Manifest:
        """Read what `to_json` gave. Raises RevisionError with everything that is wrong with it."""
        remedy = "encode the store again"
        value = dict(value)
        if value.get("kind") != "store" or value.get("format_version") not in FORMAT_VERSIONS:
            known = " or ".join(map(str, FORMAT_VERSIONS))
            raise RevisionError(f"{where}: not the manifest of a store of format version {known}; {remedy}")
        require_types(value, MANIFEST_TYPES, str(where), remedy)
        if value.pop("manifest_hash", None) not in (None, hash_json(value)):  # stores of old have none
            raise RevisionError(f"{where}: was edited or damaged; {remedy}")
        encoder = Identity.from_json(value.get("encoder"), str(where))
        if not isinstance(value.get("aligner"), (dict, type(None))):
            raise RevisionError(f"{where}: its 'aligner' names none; {remedy}")
        if not isinstance(value.get("views", "1"), str):
            raise RevisionError(f"{where}: its 'views' name none; {remedy}")
        unknown = sorted(value.keys() - cls.__dataclass_fields__.keys() | value.keys() & {f"shard_{n}" for n in SIZES})
        if unknown:
            raise RevisionError(f"{where}: holds '{unknown[0]}', which no manifest has; {remedy}")
        if value["format_version"] == HASH_A_SHARD:
            value |= _shards(value, str(where), remedy)
        elif not _is_names(value["shards"]):
            raise RevisionError(f"{where}: shards cannot be what it says; {remedy}")
        manifest = cls(**{**value, "encoder": encoder})
        old = manifest.columns is None and manifest.format_version == ONE_HASH
        if not old and not is_hashes(manifest.columns, manifest.schema.names):
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


def shard_hashes(manifest: Manifest, path: Path) -> list[dict[str, str]]:
    """By shard of a store the hashes of its columns, from the file `path` beside a manifest of format version 2.

    Raises RevisionError where they are not those that the manifest's hashes are made of.
    """
    columns, names = read_object(path).get("columns"), manifest.schema.names
    rows = manifest.shard_rows or []
    if not isinstance(columns, dict) or sorted(columns) != sorted(names):
        raise RevisionError(f"{path}: holds no hashes of the store's columns; encode the store again")
    for name, hashes in columns.items():
        whole = is_texts(hashes) and len(hashes) == len(rows) and all(map(HASH.fullmatch, hashes))
        if not whole or hash_of_shards(rows, hashes) != (manifest.columns or {}).get(name):
            raise RevisionError(f"{path}: was edited or damaged; encode the store again")
    return [dict(zip(columns, each)) for each in zip(*columns.values())]


def _is_names(value: object) -> bool:
    return is_texts(value) and len({*value}) == len(value) and all(map(SHARD_NAME.fullmatch, value))  # type: ignore


def _shards(value: dict, where: str, remedy: str) -> dict:
    """The shards' names, rows and bytes, as fields of a manifest."""
    shards = value["shards"]
    wanted = {"names", "rows", "bytes"} | ({"items"} if value.get("views") else set())
    if not isinstance(shards, dict) or shards.keys() != wanted or shards["names"] != SHARD_NAMES:
        raise RevisionError(f"{where}: its 'shards' are not described as a store's are; {remedy}")
    numbers = [shards[name] for name in SIZES if name in wanted]
    if not all(isinstance(each, list) and len(each) == len(numbers[0]) for each in numbers) or not all(
        all(map(is_count, each)) for each in numbers
    ):
        raise RevisionError(f"{where}: the sizes of its 'shards' are no numbers; {remedy}")
    if sum(shards["rows"]) != value["count"]:
        raise RevisionError(f"{where}: says {value['count']} rows, its shards {sum(shards['rows'])}; {remedy}")
    names = [SHARD_NAMES % number for number in range(len(shards["rows"]))]
    return {"shards": names, **{f"shard_{name}": shards.get(name) for name in SIZES}}


def is_hashes(columns: object, names: list[str]) -> bool:
    """Whether they are hashes of exactly these columns."""
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
