"""Rebuild the art sheet and the names from unpacked npm packages emoji-datasource-google@16.0.0 and
emojibase-data@17.0.0 (`npm pack`, `tar xzf`)."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path

import inflect
from PIL import Image

from revision_plugin.errors import RevisionError, one_line

SOURCES = {
    "art": "npm emoji-datasource-google 16.0.0 (Noto Emoji images, Apache-2.0)",
    "names": "npm emojibase-data 17.0.0 (MIT; Unicode CLDR names and keywords, Unicode License v3)",
}
GROUPS = ("animals-nature", "food-drink", "travel-places", "activities", "objects")
# names of a kind in plain words, where a thing of it can be called so
CATEGORIES = ("animal", "bird", "fish", "insect", "flower", "plant", "fruit", "vegetable", "drink", "building")
CATEGORIES += ("vehicle", "boat", "ball", "tool", "instrument", "shoe", "clothes")
CELL, COLUMNS = 32, 24
MOST_SHARED = 12  # a keyword that more things have names none of them
PLAIN = re.compile(r"[a-z]+(?:[ -][a-z]+)?")
PLURAL_ENDING = re.compile(r"(?<![suiy])s")  # not glass, bus, tennis


def read_emoji(data: Path, images: Path) -> list[dict]:
    """The emoji whose label is one or two plain words, a face and its animal once, each with its picture."""
    meta = json.loads((data / "meta" / "groups.json").read_text(encoding="utf-8"))
    chosen: dict[str, dict] = {}
    for emoji in json.loads((data / "en" / "data.json").read_text(encoding="utf-8")):
        group = meta["groups"].get(str(emoji.get("group")))
        label = emoji["label"].lower().removesuffix(" face")
        if group not in GROUPS or not PLAIN.fullmatch(label) or label.startswith("oncoming") or label in chosen:
            continue
        code = emoji["hexcode"].lower()
        pictures = [path for name in (code, f"{code}-fe0f") if (path := images / f"{name}.png").is_file()]
        if pictures:
            kind = meta["subgroups"][str(emoji["subgroup"])]
            chosen[label] = {"tags": emoji["tags"], "group": group, "kind": kind, "picture": pictures[0]}
    if not chosen:
        raise RevisionError(f"{images}: no pictures there; unpack {SOURCES['art']} and give its folder")
    return [{"label": label, **entry} for label, entry in chosen.items()]


def forms(noun: str, engine: inflect.engine) -> list[str]:
    """Article, singular and plural of a noun; what is a plural already stays as it is."""
    if PLURAL_ENDING.search(noun[-2:]) and engine.singular_noun(noun):
        return ["some", noun, noun]
    return [engine.a(noun).split()[0], noun, engine.plural_noun(noun)]


def other_names(emoji: list[dict]) -> list[list[str]]:
    """For each emoji, keywords that are nouns (the last word of some label, or a category) and that few share."""
    heads = {entry["label"].split()[-1] for entry in emoji} | set(CATEGORIES)
    usable = [[tag for tag in e["tags"] if tag in heads and tag not in e["label"].split()] for e in emoji]
    shared = Counter(tag for tags in usable for tag in tags)
    return [[tag for tag in tags if shared[tag] <= MOST_SHARED or tag in CATEGORIES][:3] for tags in usable]


def build(data: Path, art: Path, out: Path) -> None:
    """Write `things.png` (one RGBA sheet) and `things.json` into `out`."""
    emoji, engine = read_emoji(data, art / "img" / "google" / "64"), inflect.engine()
    rows = -(-len(emoji) // COLUMNS)
    sheet, entries = Image.new("RGBA", (COLUMNS * CELL, rows * CELL)), []
    for index, (entry, others) in enumerate(zip(emoji, other_names(emoji))):
        with Image.open(entry["picture"]) as image:
            tile = image.convert("RGBA").resize((CELL, CELL), Image.Resampling.LANCZOS)
        sheet.paste(tile, ((index % COLUMNS) * CELL, (index // COLUMNS) * CELL))
        names = [forms(noun, engine) for noun in (entry["label"], *others)]
        code = entry["picture"].stem
        entries.append({"code": code, "group": entry["group"], "kind": entry["kind"], "names": names})
    out.mkdir(parents=True, exist_ok=True)
    sheet.save(out / "things.png", optimize=True)
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    head = json.dumps({"sources": SOURCES, "cell": CELL, "columns": COLUMNS}, indent=1).removesuffix("\n}")
    (out / "things.json").write_text(f'{head},\n "things": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--art", type=Path, required=True, help="emoji-datasource-google's folder, with img/google/64")
    parser.add_argument("--names", type=Path, required=True, help="emojibase-data's folder, with en/data.json")
    parser.add_argument("--out", type=Path, required=True)
    with one_line():
        arguments = parser.parse_args()
        build(arguments.names, arguments.art, arguments.out)
