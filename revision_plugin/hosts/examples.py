"""Text-only training data from an embedding store, for any host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from .._common.distributed import launched_rank
from ..corpora.texts import IMAGE_MARK
from ..embeddings.store import Store
from ..errors import RevisionError


@dataclass(frozen=True)
class Example:
    """One training example: a conversation in LLaVA's form and the text embedding that stands for its image."""

    id: str
    embedding: np.ndarray  # float32 [D], as stored: not yet aligned
    conversations: list[dict[str, str]]


class TextOnlyData:
    """Examples of a text store. A row's conversation is its own, or `<image>` answered by its text.

    `reconstruct=True` always takes the latter: Stage 1 with LLaVA's `plain` prompt. Raises RevisionError for a
    store of images or one that is already aligned.
    """

    def __init__(self, store: Store, *, reconstruct: bool):
        if store.manifest.modality != "text":
            raise RevisionError(f"{store.path}: is an image store; text-only training needs a text store")
        if store.manifest.aligner:
            raise RevisionError(f"{store.path}: is already aligned; give the original store and --revision_aligner")
        if launched_rank() == 0:
            store.verify()
        self.store, self.reconstruct = store, reconstruct

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Example:
        row = self.store.row(index)
        turns = [] if self.reconstruct else row["conversations"]
        if not turns:
            turns = [{"from": "human", "value": IMAGE_MARK}, {"from": "gpt", "value": row["text"]}]
        return Example(row["id"], row["embedding"], mark_image(turns))

    @property
    def lengths(self) -> list[int]:
        """Approximate words per example, for length-grouped sampling; one pass over the mapped text column."""
        return [1 + spaces for spaces in pc.count_substring(self.store.column("text"), " ").to_pylist()]


def mark_image(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """A copy of a conversation with `<image>` before its first turn, unless it already stands somewhere."""
    turns = [dict(turn) for turn in turns]
    if not any(IMAGE_MARK in turn["value"] for turn in turns):
        turns[0]["value"] = f"{IMAGE_MARK}\n{turns[0]['value']}"
    return turns
