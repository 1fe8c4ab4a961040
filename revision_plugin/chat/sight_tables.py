"""What the page says of an image's surroundings, as HTML in which texts are only texts."""

from __future__ import annotations

import html
from collections.abc import Sequence

from .answering import Respondent
from .embedding_space import ALIGNED, TEXTS, EmbeddingSpace, Neighbour, Sight

NO_STORES = (
    "**Not given: stores.** Where the image lies between texts and images, and the captions nearest to it, are shown "
    "with `--source TEXTS --target IMAGES`, a store of texts and one of images."
)
NO_ALIGNER = "**Not given: an aligner.** The captions nearest after alignment are shown with `--aligner DIR`."
NO_READER = (
    "**Not given: a Stage-1 projector.** The caption that it reads out of the image is shown with `--stage1 DIR`, the "
    "output folder of a Stage 1."
)


def missing_parts(space: EmbeddingSpace | None, reader: Respondent | None) -> list[str]:
    """In Markdown, what is not shown because it was not given, and which flag gives it."""
    lines = []
    if space is None:
        lines.append(NO_STORES)
    elif space.method is None:
        lines.append(NO_ALIGNER)
    if reader is None:
        lines.append(NO_READER)
    return lines


def problem_line(error: Exception) -> str:
    """One line that a reader's software reads out."""
    return f'<p role="alert">{html.escape(str(error))}</p>'


def cosine_table(space: EmbeddingSpace, sight: Sight) -> str:
    """The cosine of the image's embedding with each cloud's centroid."""
    names = {ALIGNED: f"{ALIGNED} ({space.method})"}
    rows = [(cosine, names.get(name, name)) for name, cosine in sight.cosines.items()]
    return _table("This image and the centroids", ("cosine", "centroid of the"), rows)


def neighbour_tables(space: EmbeddingSpace, sight: Sight) -> tuple[str, str]:
    """The nearest captions before and after alignment; without an aligner the second is empty."""
    searched, there = space.searched
    among = f"{searched:,} texts" if searched == there else f"a random {searched:,} of {there:,} texts"
    before = _neighbours(f"Nearest captions before alignment, among {among}", sight.nearest[TEXTS])
    if ALIGNED not in sight.nearest:
        return before, ""
    return before, _neighbours(f"Nearest captions after alignment ({space.method})", sight.nearest[ALIGNED])


def _neighbours(title: str, neighbours: Sequence[Neighbour]) -> str:
    return _table(title, ("cosine", "caption"), [(each.cosine, each.text) for each in neighbours])


def _table(title: str, heads: tuple[str, str], rows: Sequence[tuple[float, str]]) -> str:
    head = "".join(f"<th>{html.escape(each)}</th>" for each in heads)
    body = "".join(f"<tr><td>{number:.3f}</td><td>{html.escape(text)}</td></tr>" for number, text in rows)
    return f"<h3>{html.escape(title)}</h3><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
