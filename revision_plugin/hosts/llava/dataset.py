"""LLaVA's data module over an embedding store."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from llava import conversation
from llava.constants import IGNORE_INDEX
from llava.model.llava_arch import LlavaMetaForCausalLM
from llava.train import train
from torch.utils.data import Dataset

from ..._common.distributed import launched_rank
from ...aligners.domain import warn_if_far
from ...corpora.image_views import ImageViews
from ...embeddings.item_views import PARTS, WHOLE, of_view
from ...embeddings.store import Store, is_store
from ...encoders import Identity, ImageProcessor, require_same
from ...errors import RevisionError
from ...visual_batch import pack
from ..chat_template import chat_template
from ..examples import StoredImages, TextOnlyData, mark_image
from .tokenizers import AUTO, prepare_tokenizer, require_own_marks, require_same_vocabulary
from .training import training
from .training_records import check_records

logger = logging.getLogger(__name__)
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
            if from_store or data_args.revision_store or data_args.revision_image_store:
                raise RevisionError("training from an embedding store needs --vision_tower revision")
            return original(tokenizer=tokenizer, data_args=data_args)
        _check_language_model(tokenizer)
        training.several_rows = _views(data_args).count > 1 or bool(data_args.revision_image_store)
        if data_args.image_folder:
            training.image_folder = Path(data_args.image_folder).resolve()
        if not from_store and launched_rank() == 0:
            check_records(data_args)
        if from_store:
            _refuse_joined_stores(data_args)
            dataset = _store_dataset(tokenizer, data_args)
        elif data_args.revision_store or data_args.revision_image_store:
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


def check_store(store: Store, encoder: Identity) -> None:
    """Raise RevisionError unless `store` was made with `encoder`."""
    require_same(
        store.encoder, encoder, f"{store.path}: was made with another encoder", "encode it again with this one"
    )


def _check_texts(data: TextOnlyData, data_args) -> None:
    """The store's encoder must be the tower's. Statistics of another domain get a warning, from one process, as do
    texts with more parts than the tower has views.
    """
    store, tower = data.store, training.tower
    check_store(store, data_args.image_processor.encoder.identity)
    if tower is None:
        return
    kinds = {WHOLE: tower.aligner}
    if store.manifest.views is None and (tower.part_aligner or data.whole_share):
        flag = "--revision_part_aligner" if tower.part_aligner else "--revision_whole_share"
        raise RevisionError(f"{flag}: is for views of texts, and {store.path} holds none; leave it out")
    if store.manifest.views is not None:
        if data.most_parts and tower.part_aligner is None:
            raise RevisionError(
                f"{store.path}: holds parts of texts; give --revision_part_aligner, fitted with --view {PARTS}"
            )
        kinds[PARTS] = tower.part_aligner
        if data.most_parts >= data.views and launched_rank() == 0:
            logger.warning(
                "warning: %s: some texts have %d parts; --revision_views %s has room for the first %d of them",
                *(store.path, data.most_parts, tower.views, data.views - 1),
            )
    for kind, aligner in kinds.items():
        if aligner is not None and launched_rank() == 0 and (kind == WHOLE or data.most_parts):
            rows = of_view(store, kind)
            warn_if_far(aligner, rows, corpus=store.path, aligner_path=aligner.path or "ALIGNER")


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
    data = _texts(data_args.data_path, data_args, reconstruct=plain)
    _check_texts(data, data_args)

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
    _check_aspect_ratio(data_args)
    texts, rows = None, {}
    if data_args.revision_store:
        texts = _texts(data_args.revision_store, data_args, reconstruct=False)
        _check_texts(texts, data_args)
        rows = {identity: row for row, identity in enumerate(texts.ids())}

    class JoinedDataset(_lazy_dataset()):  # type: ignore[misc]
        def __init__(self, **keywords):
            super().__init__(**keywords)
            self.images = _stored_images(self.list_data_dict, data_args) if data_args.revision_image_store else None

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
        missing = [
            record.get("id") for record in records if "image" not in record and str(record.get("id")) not in rows
        ]
        if missing:
            raise RevisionError(
                f"{data_args.data_path}: {len(missing)} item(s) have neither an image nor an embedding in "
                f"{texts.store.path}, first '{missing[0]}'"
            )
    return dataset


def _refuse_joined_stores(data_args) -> None:
    for flag in ("revision_store", "revision_image_store"):
        if getattr(data_args, flag):
            raise RevisionError(
                f"--{flag}: is joined to a LLaVA JSON, and --data_path is a store itself; leave one out"
            )


def _stored_images(records: list[dict], data_args) -> StoredImages:
    """The embeddings of --revision_image_store. The images were encoded as they are, so they are asked about so."""
    if getattr(data_args, "image_aspect_ratio", None) == "pad":
        raise RevisionError(
            "--image_aspect_ratio pad: the images of --revision_image_store were encoded without padding; leave it out"
        )
    store = Store.open(data_args.revision_image_store)
    check_store(store, data_args.image_processor.encoder.identity)
    return StoredImages(store, _views(data_args), records, str(data_args.data_path))


def _texts(path: str, data_args, *, reconstruct: bool) -> TextOnlyData:
    views, whole_share = _views(data_args).count, data_args.revision_whole_share
    return TextOnlyData(Store.open(path), reconstruct=reconstruct, views=views, whole_share=whole_share)


def _views(data_args) -> ImageViews:
    return data_args.image_processor.views


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
