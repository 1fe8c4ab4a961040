"""What a checkpoint's config.json says of its pseudo-vision tower, under `revision`."""

from __future__ import annotations

from typing import Any

from .._common.files import is_count, require_types
from ..corpora.image_views import ImageViews
from ..errors import RevisionError

MOST_TOKENS = 2**16  # of a view
RECORD_TYPES = {
    "encoder": lambda value: isinstance(value, dict),
    "tokens": lambda value: is_count(value) and 0 < value <= MOST_TOKENS,
    "aligner": lambda value: isinstance(value, (dict, type(None))),
    "conversation": lambda value: isinstance(value, str),
}


def checked_record(record: Any, where: str) -> dict:
    """What a checkpoint's config says of its tower. Raises RevisionError for what no training writes."""
    remedy = "it was edited or cut; get the checkpoint again"
    if not isinstance(record, dict):
        raise RevisionError(f"{where}: 'revision' is no record of a tower; {remedy}")
    require_types(record, RECORD_TYPES, f"{where}: 'revision'", remedy)
    if not isinstance(record.get("part_aligner"), (dict, type(None))):
        raise RevisionError(f"{where}: 'revision': 'part_aligner' is no record of an aligner; {remedy}")
    views_of(record, where)
    return record


def views_of(record: dict, where: str) -> ImageViews:
    """The views of an image that a checkpoint was trained with. Raises RevisionError where they are none."""
    spec = record.get("views", "1")
    if not isinstance(spec, str):
        raise RevisionError(f"{where}: 'revision': 'views' is no text; it was edited, get the checkpoint again")
    try:
        return ImageViews.parse(spec)
    except RevisionError as error:
        raise RevisionError(f"{where}: 'revision': {error}") from None
