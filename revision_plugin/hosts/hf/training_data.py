"""Training examples of the HF-native form: token ids with a token for each visual token, and what the tower reads."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ..._common.distributed import launched_rank
from ...corpora.texts import IMAGE_MARK, read_records
from ...embeddings.store import is_store
from ...errors import RevisionError
from ...tower import PseudoVisionTower
from ...visual_batch import pack
from ..checkpoint_parts import IMAGE_PLACE
from ..examples import StoredImages, TextOnlyData, image_names, mark_image
from ..named_templates import IGNORED, PLAIN, conversation_pieces, encode_pieces, turns_of, with_visual_tokens
from ..record_images import record_pixels
from ..store_checks import StoreChecks
from ..training_records import check_records
from ..training_stores import (
    check_texts,
    refuse_joined_stores,
    require_embeddings,
    stored_images,
    stored_texts,
)

LOOKED_AT = 4  # examples


@dataclass(frozen=True)
class Encoding:
    """How conversations become token ids of at most `longest` tokens: an image is `tokens` of `image_id` a view."""

    tokenizer: Any
    version: str
    image_id: int
    tokens: int
    longest: int

    def item(self, turns: list[dict[str, str]], image: torch.Tensor | None, name: str) -> dict[str, Any]:
        """The example of a conversation about `image`: pixels, views of them, an embedding, or headed ones.

        Raises RevisionError where the image's tokens do not fit.
        """
        if image is not None:
            turns = [_mark_first(turn) for turn in turns]
        pieces = conversation_pieces(self.version, self.tokenizer, turns_of(turns))
        ids, labels = encode_pieces(pieces, self.tokenizer)
        images = int((ids == IMAGE_PLACE).sum())
        if images != (image is not None):
            raise RevisionError(f"'{name}': holds {images} {IMAGE_MARK}; an example is about one image")
        views = image.shape[0] if image is not None and image.ndim in (2, 4) else 1
        visual = views * self.tokens
        ids, labels = with_visual_tokens(ids, labels, count=visual, image_id=self.image_id)
        if (ids[self.longest :] == self.image_id).any():
            raise RevisionError(f"'{name}': {visual} visual tokens do not fit into --model_max_length {self.longest}")
        return {"input_ids": ids[: self.longest], "labels": labels[: self.longest], "image": image}


def _mark_first(turn: dict[str, str]) -> dict[str, str]:
    """A turn whose image, if it has one, comes first and on a line of its own, as LLaVA's training has it."""
    if IMAGE_MARK not in turn["value"]:
        return turn
    text = turn["value"].replace(IMAGE_MARK, "").strip()
    return {**turn, "value": f"{IMAGE_MARK}\n{text}".strip()}


class StoreExamples(Dataset):
    """Text alone: each example's image is its text's embedding."""

    def __init__(self, data: TextOnlyData, encoding: Encoding):
        self._data, self._encoding = data, encoding

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self._data[index]
        return self._encoding.item(example.conversations, example.embedding, example.id)

    @functools.cached_property
    def modality_lengths(self) -> list[int]:
        """Words an example."""
        return self._data.lengths


class RecordExamples(Dataset):
    """A LLaVA JSON's records, with their images, the embeddings of these, or those of texts by the records' ids."""

    def __init__(self, records: list[dict], encoding: Encoding, data_args: Any, checks: StoreChecks):
        self._records, self._encoding = records, encoding
        self._folder = Path(data_args.image_folder).resolve() if data_args.image_folder else None
        self._processor, self._square = data_args.image_processor, data_args.image_aspect_ratio == "pad"
        self.images: StoredImages | None = None
        self.texts: TextOnlyData | None = None
        self._rows: dict[str, int] = {}
        if data_args.revision_image_store:
            self.images = stored_images(records, data_args, checks)
        if data_args.revision_store:
            self.texts = stored_texts(data_args.revision_store, data_args, checks, reconstruct=False)
            self._rows = self.texts.items_named(
                {str(record.get("id", number)) for number, record in enumerate(records)}
            )
            require_embeddings(records, self._rows, self.texts, data_args)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self._records[index]
        turns, name = record["conversations"], str(record.get("id", index))
        if "image" in record:
            return self._encoding.item(turns, self._image(record, name), name)
        if self.texts is not None:
            return self._encoding.item(mark_image(turns), self.texts.embedding(self._rows[name]), name)
        return self._encoding.item(turns, None, name)

    def _image(self, record: dict, name: str) -> torch.Tensor:
        if self.images is not None:
            return self.images.embedding(record)
        names = image_names(record)
        if len(names) != 1 or self._folder is None:
            what = f"has {len(names)} images" if self._folder else "has an image, and there is no --image_folder"
            raise RevisionError(f"'{name}': {what}; an example is about one image in --image_folder")
        return record_pixels(self._folder, names[0], self._processor, square=self._square)

    @functools.cached_property
    def modality_lengths(self) -> list[int]:
        """Words an example; below zero where it has no image."""
        words = [sum(len(turn["value"].split()) for turn in record["conversations"]) for record in self._records]
        return [count if "image" in record else -count for count, record in zip(words, self._records)]


def training_data(
    data_args: Any, encoding: Encoding, tower: PseudoVisionTower, checks: StoreChecks
) -> StoreExamples | RecordExamples:
    """The examples that the flags name, checked against the tower. Raises RevisionError where they do not fit it, and
    where the first of them teach nothing.
    """
    data: StoreExamples | RecordExamples
    if is_store(data_args.data_path):
        refuse_joined_stores(data_args)
        texts = stored_texts(data_args.data_path, data_args, checks, reconstruct=encoding.version == PLAIN)
        check_texts(texts, tower.encoder.identity, tower)
        data = StoreExamples(texts, encoding)
    else:
        path = Path(data_args.data_path)
        if not path.is_file() or path.suffix.lower() != ".json":
            raise RevisionError(f"--data_path {path}: is neither a store nor a LLaVA JSON")
        if launched_rank() == 0:
            check_records(data_args)
        data = RecordExamples(_objects(path), encoding, data_args, checks)
        if data.texts is not None:
            check_texts(data.texts, tower.encoder.identity, tower)
    few = range(min(LOOKED_AT, len(data)))
    if not few:
        raise RevisionError(f"--data_path {data_args.data_path}: holds no example")
    if all((data[index]["labels"] == IGNORED).all() for index in few):
        raise RevisionError(
            f"--version {encoding.version}: every reply of the first {len(few)} examples is masked, so nothing would "
            "be learned; choose the template that this language model's tokenizer was made for"
        )
    return data


def _objects(path: Path) -> list[dict]:
    return [record for record in read_records(path, "images") if isinstance(record, dict)]  # as they were checked to be


@dataclass(frozen=True)
class Collator:
    """Examples as a batch: token ids padded on the right, and the rows of all images in order as `pixel_values`."""

    padding: int

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids = pad_sequence([item["input_ids"] for item in items], batch_first=True, padding_value=self.padding)
        labels = pad_sequence([item["labels"] for item in items], batch_first=True, padding_value=IGNORED)
        lengths = torch.tensor([len(item["input_ids"]) for item in items])
        images = [item["image"] for item in items if item["image"] is not None]
        packed = pack(images) if images else torch.zeros(0, 1)
        return {
            "input_ids": ids,
            "labels": labels,
            "attention_mask": torch.arange(ids.shape[1]) < lengths[:, None],
            "pixel_values": torch.cat(packed) if isinstance(packed, list) else packed,
        }
