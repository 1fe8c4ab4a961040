"""Training data from embedding stores, for any host."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container
from dataclasses import dataclass

import pyarrow.compute as pc
import torch

from .._common.distributed import launched_processes, launched_rank
from ..corpora.image_views import ImageViews
from ..corpora.texts import IMAGE_MARK
from ..embeddings.item_views import ItemStarts, item_starts, item_texts, items_named
from ..embeddings.remote_stores import require_room_for_all
from ..embeddings.store import Store
from ..errors import RevisionError
from ..visual_batch import IMAGE, TEXT, TEXT_PART, headed

GOLDEN_RATIO = (5**0.5 - 1) / 2  # whose multiples fill [0, 1) evenly: any run of rows has the same share


@dataclass(frozen=True)
class Example:
    """One training example: a conversation in LLaVA's form and the text embedding that stands for its image."""

    id: str
    embedding: torch.Tensor  # float32 [D], as stored: not yet aligned; of several views headed [V, 1 + D]
    conversations: list[dict[str, str]]


def verify_part(store: Store) -> None:
    """Verify the share of this process among those that a launcher started. Raises RevisionError for a damaged one."""
    store.verify(launched_rank(), launched_processes())


class TextOnlyData:
    """Examples of a text store. A row's conversation is its own, or `<image>` answered by its text.

    `reconstruct=True` always takes the latter: Stage 1 with LLaVA's `plain` prompt. From a store of views an example
    has `views` of them, as an image has: the whole text, then its parts in order; where they are fewer, the whole again
    in their place, where they are more, the first ones. The share `whole_share` of the examples, spread evenly over the
    store, has the whole alone. `verify` verifies the rows, at once if not said. Raises RevisionError for a store of
    images, one that is already aligned, one of views where the tower takes one, and one that is damaged.
    """

    def __init__(
        self,
        store: Store,
        *,
        reconstruct: bool,
        views: int = 1,
        whole_share: float = 0.0,
        verify: Callable[[Store], None] = verify_part,
    ):
        if store.manifest.modality != "text":
            raise RevisionError(f"{store.path}: is an image store; text-only training needs a text store")
        if store.manifest.aligner:
            raise RevisionError(f"{store.path}: is already aligned; give the original store and --revision_aligner")
        if store.manifest.views and views == 1:
            raise RevisionError(
                f"{store.path}: holds views of each text ({store.manifest.views}), and the tower takes one; give "
                "--revision_views, or encode the texts without --views"
            )
        require_room_for_all(store.shards)
        verify(store)
        self.store, self.reconstruct, self.views, self.whole_share = store, reconstruct, views, whole_share
        self._starts = item_starts(store)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @functools.cached_property
    def most_parts(self) -> int:
        """How many parts the text with most of them has."""
        return self._starts.most_views() - 1 if isinstance(self._starts, ItemStarts) else 0

    def items_named(self, wanted: Container[str | None]) -> dict[str, int]:
        """By id the number of each example whose id is among `wanted`."""
        return items_named(self.store, wanted)

    def __getitem__(self, index: int) -> Example:
        row = self.store.row(int(self._starts[index]))
        turns = [] if self.reconstruct else row["conversations"]
        if not turns:
            turns = [{"from": "human", "value": IMAGE_MARK}, {"from": "gpt", "value": row["text"]}]
        return Example(row["id"], self.embedding(index), mark_image(turns))

    def embedding(self, index: int) -> torch.Tensor:
        """What stands for the image of one example."""
        start, stop = int(self._starts[index]), int(self._starts[index + 1])
        if self.store.manifest.views is None or index * GOLDEN_RATIO % 1 < self.whole_share:
            return torch.from_numpy(self.store.span(start, start + 1)[0])
        rows = torch.from_numpy(self.store.span(start, min(stop, start + self.views)))
        padding = self.views - len(rows)
        kinds = torch.tensor([TEXT, *[TEXT_PART] * (len(rows) - 1), *[TEXT] * padding])
        return headed(torch.cat([rows, rows[:1].expand(padding, -1)]), kinds)

    @property
    def lengths(self) -> list[int]:
        """Approximate words per example, for length-grouped sampling; one pass over the mapped text column."""
        texts = item_texts(self.store, "text")
        return [1 + spaces for part in texts for spaces in pc.count_substring(part, " ").to_pylist()]


class StoredImages:
    """Embeddings of the images of a LLaVA JSON's records, for training without an encoder in the loop.

    The store knows the images of all records by their file names, or else all by the records' ids. Raises
    RevisionError, naming the JSON as `where`, for a store of texts, one of other views than the tower's, and one that
    knows neither, or is damaged. `flag` named the store; `verify` is that of `TextOnlyData`.
    """

    def __init__(
        self,
        store: Store,
        views: ImageViews,
        records: list[dict],
        where: str,
        *,
        flag: str = "--revision_image_store",
        verify: Callable[[Store], None] = verify_part,
    ):
        if store.manifest.modality != "image":
            raise RevisionError(f"{store.path}: is a text store; {flag} takes one of images")
        if (store.manifest.views or "1") != str(views):
            raise RevisionError(
                f"{store.path}: holds views '{store.manifest.views or 1}' of each image, --revision_views says "
                f"'{views}'; encode the images with the same --views"
            )
        require_room_for_all(store.shards)
        verify(store)
        self.store, self._count = store, views.count
        pictured = [record for record in records if "image" in record]
        starts, wanted = item_starts(store), {name(each) for each in pictured for name in (image_name, record_id)}
        self._starts: dict[str | None, int] = {
            identity: starts[item] for identity, item in items_named(store, wanted).items()
        }
        unnamed = [record for record in pictured if image_name(record) not in self._starts]
        self._name = image_name
        if unnamed:
            self._name = record_id
            if any(record_id(record) not in self._starts for record in pictured):
                raise RevisionError(
                    f"{where}: {len(unnamed)} item(s) have an image without an embedding in {store.path}, first "
                    f"'{unnamed[0]['image']}'; encode the folder, or the JSON, that these images are of"
                )

    def embedding(self, record: dict) -> torch.Tensor:
        """The views of a record's image, headed: float32 [V, 1 + D]."""
        start = self._starts[self._name(record)]
        rows = torch.from_numpy(self.store.span(start, start + self._count))
        return headed(rows, torch.full((len(rows),), IMAGE))


def image_names(record: dict) -> list:
    """A record's `image`, which may be a list, as one."""
    images = record.get("image", [])
    return images if isinstance(images, list) else [images]


def image_name(record: dict) -> str | None:
    """The file name of a record's image; none of a record about several."""
    names = image_names(record)
    return names[0] if len(names) == 1 and isinstance(names[0], str) else None


def record_id(record: dict) -> str | None:
    """A record's id, as a store has it; none of a record about several images."""
    return None if image_name(record) is None or record.get("id") is None else str(record["id"])


def mark_image(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """A copy of a conversation with `<image>` before its first turn, unless it already stands somewhere."""
    turns = [dict(turn) for turn in turns]
    if not any(IMAGE_MARK in turn["value"] for turn in turns):
        turns[0]["value"] = f"{IMAGE_MARK}\n{turns[0]['value']}"
    return turns
