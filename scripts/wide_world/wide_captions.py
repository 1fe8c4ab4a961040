"""What people write about a scene: in their own words and order, and not all of it; and a plain caption with all."""

from __future__ import annotations

import itertools

import numpy as np

from scripts.wide_world.things import things
from scripts.wide_world.wide_scenes import COLORS, SIZES, Part, WideScene

PLAIN_PLACES = ("top left", "top right", "bottom left", "bottom right")
ROWS, COLUMNS = (("top", "upper"), ("bottom", "lower")), ("left", "right")
NUMBERS = {2: ("two", "two", "a couple of", "a pair of"), 3: ("three", "three", "a trio of")}
SIZE_WORDS = {"small": ("small", "tiny", "little"), "big": ("big", "large", "huge")}
OPENINGS = ("", "", "", "a picture of", "there is", "i see", "this shows", "an image of", "here is", "look at")
BACKGROUND_PHRASES = (
    "on {a} background",
    "on {a} background",
    "on {}",
    "against {}",
    "in front of {a} wall",
    "with {a} backdrop",
)
PLACES_SAID = (
    "in the {row} {column}",
    "at the {row} {column}",
    "in the {row} {column} corner",
    "at the {end}",
    "on the {column}",
)
BESIDE = ("next to", "beside", "and")
ABOVE, BELOW, LEFT, RIGHT = ("above", "over"), ("below", "under"), ("to the left of",), ("to the right of",)
JOINED = ("and", "and", "with")
NAMED_OTHERWISE, SIZE_SAID, PLACE_SAID, BACKGROUND_SAID, LEFT_OUT, COMPARED = 0.25, 0.85, 0.65, 0.7, 0.12, 0.3
PARTS_AT_MOST, CHOICES_A_PART, CHOICES_A_SCENE = 3, 8, 9


def plain_caption(scene: WideScene) -> str:
    """All facts in one fixed form. One scene, one caption."""
    said = [f"{_mention(part)} in the {PLAIN_PLACES[part.place]}" for part in sorted(scene.parts)]
    return f"{' and '.join(said)} {_background(BACKGROUND_PHRASES[0], scene)}"


def human_caption(scene: WideScene, rng: np.random.Generator, *, comparing: bool = True) -> str:
    """A caption in somebody's words: the order, the names, the places and what goes unsaid vary with `rng`.

    The same choices are made for any scene of as many parts: a scene and its twin with one fact changed have captions
    that differ in this fact alone, or not at all where it goes unsaid. Without `comparing` no thing's place is given
    by another's.
    """
    by_part = rng.random((PARTS_AT_MOST, CHOICES_A_PART))
    order, leave, compare, axis, word, joint, opening, said, phrase = rng.random(CHOICES_A_SCENE)
    arrangements = list(itertools.permutations(range(len(scene.parts))))
    chosen = list(_pick(arrangements, order))
    if len(chosen) > 1 and leave < LEFT_OUT:
        chosen = chosen[:-1]
    mentions = [_mention(scene.parts[i], by_part[i]) for i in chosen]
    if comparing and len(chosen) == 2 and compare < COMPARED:
        first, second = (scene.parts[i] for i in chosen)
        things_said = f"{mentions[0]} {_pick(_relation(first, second, axis), word)} {mentions[1]}"
    else:
        things_said = _joined([m + _place(scene.parts[i], by_part[i]) for m, i in zip(mentions, chosen)], joint)
    text = f"{_pick(OPENINGS, opening)} {things_said}".strip()
    if said < BACKGROUND_SAID:
        text += f" {_background(_pick(BACKGROUND_PHRASES, phrase), scene)}"
    return text


def vocabulary_words() -> set[str]:
    """All words that captions are made of."""
    relations = (*BESIDE, *ABOVE, *BELOW, *LEFT, *RIGHT)
    fixed = [*PLAIN_PLACES, *COLUMNS, *COLORS, *OPENINGS, *BACKGROUND_PHRASES, *relations, *JOINED]
    fixed += [phrase.format(row="", end="", column="") for phrase in PLACES_SAID] + ["a", "an", "some", ","]
    fixed += [word for words in (*ROWS, *NUMBERS.values(), *SIZE_WORDS.values()) for word in words]
    names = [form for thing in things() for name in thing.names for form in (name.singular, name.plural)]
    return {word for text in (*fixed, *names) for word in text.replace("{}", " ").replace("{a}", " ").split()}


def _pick(choices, share: float):
    """The choice at a share in [0, 1) of the way through `choices`."""
    return choices[int(share * len(choices))]


def _background(phrase: str, scene: WideScene) -> str:
    color = COLORS[scene.background]
    return phrase.format(color, a=f"an {color}" if color[0] in "aeiou" else f"a {color}")


def _mention(part: Part, choices: np.ndarray | None = None) -> str:
    """A part without its place: number, size and name; the plain ones without `choices` [CHOICES_A_PART]."""
    names, size = things()[part.thing].names, SIZES[part.size]
    name, numbers = names[0], NUMBERS.get(part.number, ())
    number, sizes = numbers[0] if numbers else "", SIZE_WORDS.get(size, ("",))
    adjective = sizes[0]
    if choices is not None:
        otherwise, which, how_many, size_said, how_big = choices[:5]
        if otherwise < NAMED_OTHERWISE and len(names) > 1:
            name = _pick(names[1:], which)
        number = _pick(numbers, how_many) if numbers else ""
        adjective = _pick(sizes, how_big) if size_said < SIZE_SAID else ""
    if part.number > 1:
        return f"{number} {name.plural}"
    article = "a" if adjective and name.article != "some" else name.article
    return " ".join(word for word in (article, adjective, name.singular) if word)


def _place(part: Part, choices: np.ndarray) -> str:
    said, row, phrase = choices[5:]
    if said >= PLACE_SAID:
        return ""
    rows, column = ROWS[part.place // 2], COLUMNS[part.place % 2]
    return " " + _pick(PLACES_SAID, phrase).format(row=_pick(rows, row), end=rows[0], column=column)


def _relation(first: Part, second: Part, axis: float) -> tuple[str, ...]:
    """Words for how the first part lies to the second, truly."""
    rows, columns = first.place // 2 - second.place // 2, first.place % 2 - second.place % 2
    if axis < 1 / 3:
        return BESIDE
    if rows and (axis < 2 / 3 or not columns):
        return ABOVE if rows < 0 else BELOW
    return LEFT if columns < 0 else RIGHT


def _joined(mentions: list[str], joint: float) -> str:
    if len(mentions) == 1:
        return mentions[0]
    return f"{' , '.join(mentions[:-1])} {_pick(JOINED, joint)} {mentions[-1]}"
