"""LLaVA's data module over an embedding store."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from llava import conversation
from llava.constants import IGNORE_INDEX
from llava.model.llava_arch import LlavaMetaForCausalLM
from llava.train import train
from torch.utils.data import Dataset

from ..._common.distributed import launched_rank
from ...aligners.domain import warn_if_far
from ...corpora.texts import IMAGE_MARK, encodable, read_records
from ...embeddings.store import Store, is_store
from ...encoders import Identity, ImageProcessor, require_same
from ...errors import RevisionError
from ...tower import pack
from .. import run_record
from ..chat_template import chat_template
from ..examples import TextOnlyData, mark_image
from .tokenizers import AUTO, prepare_tokenizer, require_own_marks, require_same_vocabulary
from .training import training

LOOKED_AT = 4  # examples
WHOLE_IMAGES = (None, "square", "pad")


def data_module_builder(original: Callable) -> Callable:
    """LLaVA's `make_supervised_data_module` that also takes a store, or a store joined to a JSON by id."""

    @functools.wraps(original)
    def make_supervised_data_module(tokenizer, data_args):
        plugin_tower = isinstance(getattr(data_args, "image_processor", None), ImageProcessor)
        prepare_tokenizer(tokenizer, begin=plugin_tower, version=conversation.default_conversation.version)
        from_store = data_args.data_path is not None and is_store(data_args.data_path)
        if not plugin_tower:
            if from_store or data_args.revision_store:
                raise RevisionError("training from an embedding store needs --vision_tower revision")
            return original(tokenizer=tokenizer, data_args=data_args)
        _check_language_model(tokenizer)
        if data_args.image_folder:
            training.image_folder = Path(data_args.image_folder).resolve()
        if not from_store and launched_rank() == 0:
            check_records(data_args)
        if from_store:
            dataset = _store_dataset(tokenizer, data_args)
        elif data_args.revision_store:
            dataset = _joined_dataset(tokenizer, data_args)
        else:
            _check_aspect_ratio(data_args)
            dataset = _lazy_dataset()(tokenizer=tokenizer, data_path=data_args.data_path, data_args=data_args)
        _require_learned_tokens(dataset)
        return dict(train_dataset=dataset, eval_dataset=None, data_collator=_collator(tokenizer))

    return make_supervised_data_module


def _check_language_model(tokenizer) -> None:
    """Tokenizer, conversation template and language model must belong together. Keeps the chat template's hash where
    inference looks for it.
    """
    template = conversation.default_conversation
    require_own_marks(tokenizer, template)
    if training.config is None:
        return
    require_same_vocabulary(tokenizer, training.config)
    if template.version == AUTO:
        training.config.revision["chat_template"] = chat_template(tokenizer).hash


def _require_learned_tokens(dataset) -> None:
    """Raise RevisionError where the first examples teach nothing: LLaVA only prints that it masks what it cannot
    split.
    """
    few = range(min(LOOKED_AT, len(dataset)))
    if few and all((dataset[index]["labels"] == IGNORE_INDEX).all() for index in few):
        raise RevisionError(
            f"--version {conversation.default_conversation.version}: every reply of the first {len(few)} examples "
            "is masked, so "
            "nothing would be learned; choose the template that this language model's tokenizer was made for"
        )


def check_records(data_args) -> None:
    """Raise RevisionError, before a step is taken, unless every record of the JSON can be learned: LLaVA's dataset
    would fail in the middle, or pair a question with no image.
    """
    path = Path(data_args.data_path or "")
    if path.suffix.lower() != ".json":
        return  # a list of several files, which LLaVA-NeXT reads
    problems = []
    names: list[str] = []
    for index, record in enumerate(read_records(path, "images")):
        problem = _record_problem(record, joined=bool(data_args.revision_store))
        if problem is None and isinstance(record, dict):
            names += _image_names(record)
        else:
            identity = record.get("id", index) if isinstance(record, dict) else index
            problems.append(f"'{identity}': {problem}")
    if problems:
        raise RevisionError(f"{path}: {len(problems)} record(s) cannot be learned, first {problems[0]}; mend the file")
    if names and data_args.image_folder:
        run_record.require_same_images(Path(data_args.image_folder), names)


def _image_names(record: dict) -> list:
    images = record.get("image", [])
    return images if isinstance(images, list) else [images]


def _record_problem(record: object, *, joined: bool) -> str | None:
    """Why a record cannot be learned; where it is `joined` to a store, its conversation may be about an embedding."""
    turns = record.get("conversations") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(turns, list) or not turns:
        return "has no 'conversations'"
    parts = [turn.get(key) if isinstance(turn, dict) else None for turn in turns for key in ("from", "value")]
    if not all(isinstance(part, str) for part in parts):
        return "'conversations' must be a list of objects with 'from' and 'value'"
    names = _image_names(record)
    if not all(isinstance(name, str) and name and encodable(name) and "\0" not in name for name in names):
        return "'image' is no file name"
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
        return f"'{names[0]}' lies outside the image folder"
    marks = sum(turn["value"].count(IMAGE_MARK) for turn in turns)
    if names and marks != len(names):
        return f"its conversation holds {marks} {IMAGE_MARK} for {len(names)} image(s)"
    if not names and marks > joined:
        return f"its conversation holds {marks} {IMAGE_MARK} and there is no image"
    return (
        None if all(encodable(str(part)) for part in parts) else "holds half of a surrogate pair, which is no character"
    )


def check_store(store: Store, encoder: Identity) -> None:
    """Raise RevisionError unless `store` was made with `encoder`."""
    require_same(
        store.encoder, encoder, f"{store.path}: was made with another encoder", "encode the texts again with this one"
    )


def _check_domain(store: Store, data_args) -> None:
    """The store's encoder must be the tower's; statistics of another domain get a warning, from one process."""
    check_store(store, data_args.image_processor.encoder.identity)
    aligner = training.tower.aligner if training.tower else None
    if aligner is not None and launched_rank() == 0:
        warn_if_far(aligner, store, corpus=store.path, aligner_path=aligner.path or "ALIGNER")


def _item(example_turns: list[dict], embedding: np.ndarray, tokenizer, data_args) -> dict:
    """A LLaVA training item whose image is an embedding [D]."""
    sources = train.preprocess_multimodal(copy.deepcopy([example_turns]), data_args)
    tensors = train.preprocess(sources, tokenizer, has_image=True)
    return {
        "input_ids": tensors["input_ids"][0],
        "labels": tensors["labels"][0],
        "image": torch.from_numpy(embedding),
    }


def _store_dataset(tokenizer, data_args):
    plain = conversation.default_conversation.sep_style == conversation.SeparatorStyle.PLAIN
    data = TextOnlyData(Store.open(data_args.data_path), reconstruct=plain)
    _check_domain(data.store, data_args)

    class TextOnlyDataset(Dataset):
        store = data.store

        def __len__(self):
            return len(data)

        def __getitem__(self, index):
            example = data[index]
            return _item(example.conversations, example.embedding, tokenizer, data_args)

        @functools.cached_property
        def lengths(self):
            return data.lengths

        @property
        def modality_lengths(self):
            return self.lengths  # every example has an image: all positive in LLaVA's convention

    return TextOnlyDataset()


def _joined_dataset(tokenizer, data_args):
    """LLaVA's own dataset, in which items without `image` take the embedding the store has for their id."""
    _check_aspect_ratio(data_args)
    store = Store.open(data_args.revision_store)
    TextOnlyData(store, reconstruct=False)  # its checks of the store
    _check_domain(store, data_args)
    rows = {identity: row for row, identity in enumerate(store.ids())}

    class JoinedDataset(_lazy_dataset()):  # type: ignore[misc]
        def __getitem__(self, index):
            record = self.list_data_dict[index]
            if "image" in record:
                return super().__getitem__(index)
            row = store.row(rows[str(record["id"])])
            return _item(mark_image(record["conversations"]), row["embedding"], tokenizer, data_args)

    JoinedDataset.store = store
    dataset = JoinedDataset(tokenizer=tokenizer, data_path=data_args.data_path, data_args=data_args)
    missing = [r.get("id") for r in dataset.list_data_dict if "image" not in r and str(r.get("id")) not in rows]
    if missing:
        raise RevisionError(
            f"{data_args.data_path}: {len(missing)} item(s) have neither an image nor an embedding in "
            f"{store.path}, first '{missing[0]}'"
        )
    return dataset


def _lazy_dataset() -> type:
    """LLaVA's dataset of JSON items; LLaVA-NeXT's, which puts the next item in place of an unreadable one, fails
    instead.
    """
    if not hasattr(train.LazySupervisedDataset, "_get_item"):
        return train.LazySupervisedDataset

    class ExactDataset(train.LazySupervisedDataset):
        def __getitem__(self, index):
            return self._get_item(index)

    return ExactDataset


def _check_aspect_ratio(data_args) -> None:
    """The tower takes an image as a whole."""
    ratio = getattr(data_args, "image_aspect_ratio", None)
    if ratio not in WHOLE_IMAGES:
        raise RevisionError(
            f"--image_aspect_ratio {ratio} cuts images into parts; with --vision_tower revision use square or pad"
        )


def _collator(tokenizer):
    prepare = LlavaMetaForCausalLM.prepare_inputs_labels_for_multimodal
    takes_modalities = "modalities" in inspect.signature(prepare).parameters  # LLaVA-NeXT drops examples without them

    class Collator(train.DataCollatorForSupervisedDataset):
        """LLaVA's collator; a batch may mix embeddings and pixels."""

        def __call__(self, instances):
            images = [_one_image(instance["image"]) for instance in instances]
            batch = super().__call__([{k: v for k, v in i.items() if k != "image"} for i in instances])
            # LLaVA's own mask takes every token that pads for padding; where it also ends replies, they would vanish
            lengths = torch.tensor([len(instance["input_ids"]) for instance in instances])
            batch["attention_mask"] = torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]
            batch["images"] = pack(images)
            if takes_modalities:
                batch["modalities"] = ["image"] * len(instances)
            return batch

    return Collator(tokenizer=tokenizer)


def _one_image(image):
    """An item's pixels [3, H, W] or embedding [D]; LLaVA-NeXT keeps them as a list of (tensor, size, modality)."""
    if not isinstance(image, list):
        return image
    if len(image) != 1:
        raise RevisionError(f"an example has {len(image)} images; the pseudo-vision tower is trained on one an example")
    tensor = image[0][0]
    return tensor.squeeze(0) if tensor.ndim == 4 and len(tensor) == 1 else tensor
