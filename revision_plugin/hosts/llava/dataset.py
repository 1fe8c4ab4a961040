"""LLaVA's data module over an embedding store."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from pathlib import Path

import torch
from llava import conversation
from llava.constants import IGNORE_INDEX
from llava.model.llava_arch import LlavaMetaForCausalLM
from llava.train import train
from torch.utils.data import Dataset

from ..._common.distributed import launched_rank
from ...embeddings.store import is_store
from ...encoders import ImageProcessor
from ...errors import RevisionError
from ...visual_batch import pack
from ..chat_template import chat_template
from ..examples import mark_image
from ..probe import read_probe
from ..tokenizers import AUTO, require_own_marks, require_same_vocabulary
from ..training_records import check_records
from ..training_stores import (
    check_aspect_ratio,
    check_texts,
    refuse_joined_stores,
    require_embeddings,
    stored_images,
    stored_texts,
)
from .tokenizers import prepare_tokenizer
from .training import training

LOOKED_AT = 4  # examples


def data_module_builder(original: Callable) -> Callable:
    """LLaVA's `make_supervised_data_module` that also takes a store, or a store joined to a JSON by id."""

    @functools.wraps(original)
    def make_supervised_data_module(tokenizer, data_args):
        plugin_tower = isinstance(getattr(data_args, "image_processor", None), ImageProcessor)
        prepare_tokenizer(tokenizer, begin=plugin_tower, version=conversation.default_conversation.version)
        from_store = data_args.data_path is not None and is_store(data_args.data_path)
        if not plugin_tower:
            if from_store or data_args.revision_store or data_args.revision_image_store:
                raise RevisionError("training from an embedding store needs --vision_tower revision")
            if data_args.revision_probe:
                raise RevisionError("--revision_probe needs --vision_tower revision; leave it out")
            return original(tokenizer=tokenizer, data_args=data_args)
        _check_language_model(tokenizer)
        training.several_rows = data_args.image_processor.views.count > 1 or bool(data_args.revision_image_store)
        if data_args.image_folder:
            training.image_folder = Path(data_args.image_folder).resolve()
        if not from_store and launched_rank() == 0:
            check_records(data_args)
        if from_store:
            refuse_joined_stores(data_args)
            dataset = _store_dataset(tokenizer, data_args)
        elif data_args.revision_store or data_args.revision_image_store:
            dataset = _joined_dataset(tokenizer, data_args)
        else:
            check_aspect_ratio(data_args)
            dataset = _lazy_dataset()(tokenizer=tokenizer, data_path=data_args.data_path, data_args=data_args)
        _require_learned_tokens(dataset)
        collator = _collator(tokenizer)
        if training.tower is not None:

            def item(turns, embeddings, name):
                return _item(turns, embeddings, tokenizer, data_args)

            training.probe = read_probe(data_args, training.tower, item, collator)
        return dict(train_dataset=dataset, eval_dataset=None, data_collator=collator)

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


def _item(example_turns: list[dict], embedding: torch.Tensor, tokenizer, data_args) -> dict:
    """A LLaVA training item whose image is an embedding [D], or headed embeddings of its views [V, 1 + D]."""
    sources = train.preprocess_multimodal(copy.deepcopy([example_turns]), data_args)
    tensors = train.preprocess(sources, tokenizer, has_image=True)
    return {
        "input_ids": tensors["input_ids"][0],
        "labels": tensors["labels"][0],
        "image": embedding,
    }


def _store_dataset(tokenizer, data_args):
    plain = conversation.default_conversation.sep_style == conversation.SeparatorStyle.PLAIN
    data = stored_texts(data_args.data_path, data_args, training.checks, reconstruct=plain)
    check_texts(data, data_args.image_processor.encoder.identity, training.tower)

    class TextOnlyDataset(Dataset):
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
    """LLaVA's own dataset, in which items without `image` take the embedding the text store has for their id, and items
    with one, where there is an image store, its embeddings.
    """
    check_aspect_ratio(data_args)
    texts, rows = None, dict[str, int]()
    if data_args.revision_store:
        texts = stored_texts(data_args.revision_store, data_args, training.checks, reconstruct=False)
        check_texts(texts, data_args.image_processor.encoder.identity, training.tower)

    class JoinedDataset(_lazy_dataset()):  # type: ignore[misc]
        def __init__(self, **keywords):
            super().__init__(**keywords)
            self.images = None
            if data_args.revision_image_store:
                self.images = stored_images(self.list_data_dict, data_args, training.checks)

        def __getitem__(self, index):
            record = self.list_data_dict[index]
            turns = record["conversations"]
            if self.images is not None and "image" in record:
                return _item(turns, self.images.embedding(record), tokenizer, data_args)
            if texts is not None and "image" not in record:
                return _item(mark_image(turns), texts.embedding(rows[str(record["id"])]), tokenizer, data_args)
            return super().__getitem__(index)

    dataset = JoinedDataset(tokenizer=tokenizer, data_path=data_args.data_path, data_args=data_args)
    records = dataset.list_data_dict
    if texts is not None:
        rows = texts.items_named({str(record.get("id")) for record in records})
        require_embeddings(records, rows, texts, data_args)
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
