"""The things of the wide world: what they look like, what they are called, and what they are easily mistaken for."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ART = Path(__file__).with_name("art")


@dataclass(frozen=True)
class Name:
    """A noun: its article in the singular ("a", "an", or "some" for a plural), its singular and its plural."""

    article: str
    singular: str
    plural: str


@dataclass(frozen=True)
class Thing:
    """One emoji: its own name, then names that it shares with others; `group` and the finer `kind` are Unicode's."""

    names: tuple[Name, ...]
    group: str
    kind: str


@functools.cache
def things() -> tuple[Thing, ...]:
    """All things, in the order of the art sheet."""
    entries = json.loads((ART / "things.json").read_text(encoding="utf-8"))["things"]
    return tuple(Thing(tuple(Name(*n) for n in e["names"]), e["group"], e["kind"]) for e in entries)


@functools.cache
def things_of(groups: tuple[str, ...] | None) -> tuple[int, ...]:
    """Positions of the things of these groups, of all groups for None. Raises ValueError for groups without any."""
    chosen = tuple(i for i, thing in enumerate(things()) if groups is None or thing.group in groups)
    if not chosen:
        raise ValueError(f"no things are of the groups {groups}")
    return chosen


@functools.cache
def lookalikes(index: int) -> tuple[int, ...]:
    """Other things of the same kind, of the same group where the kind has fewer than four."""
    thing = things()[index]
    of_kind = [i for i, other in enumerate(things()) if other.kind == thing.kind and i != index]
    if len(of_kind) < 3:
        of_kind = [i for i, other in enumerate(things()) if other.group == thing.group and i != index]
    return tuple(of_kind)


@functools.cache
def sprite(index: int, size: int) -> np.ndarray:
    """A thing's art, float32 RGBA [size, size, 4] in [0, 1]."""
    sheet, cell, columns = _sheet()
    left, top = (index % columns) * cell, (index // columns) * cell
    tile = sheet.crop((left, top, left + cell, top + cell))
    return np.asarray(tile.resize((size, size), Image.Resampling.LANCZOS), np.float32) / 255


@functools.cache
def _sheet() -> tuple[Image.Image, int, int]:
    meta = json.loads((ART / "things.json").read_text(encoding="utf-8"))
    with Image.open(ART / "things.png") as opened:
        return opened.convert("RGBA"), meta["cell"], meta["columns"]
