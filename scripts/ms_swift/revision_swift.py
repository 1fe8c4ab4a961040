"""ms-swift trains an exported folder: `swift sft --external_plugins scripts/ms_swift/revision_swift.py ...`.

Registers, as `revision`, the folder's model and a template that writes the folder's own prompt, and text stores as
datasets: `--dataset STORE/manifest.json`. A text's embedding, aligned, takes the place of pixels, so Stage 1 needs no
images. Images come with ms-swift's own datasets, LLaVA's JSON among them. docs/ms-swift.md has the commands.

What the plugin is told are ms-swift's model_kwargs: `--model_kwargs '{"revision_aligner": "aligner"}'`.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from datasets import Dataset
from swift.dataset import DatasetLoader, DatasetMeta, MessagesPreprocessor, register_dataset
from swift.model import ModelArch, ModelLoader, ModelMeta, register_model
from swift.template import Template, TemplateMeta, register_template
from swift.utils import get_env_args
from transformers import AutoModelForImageTextToText
from transformers.modeling_outputs import BaseModelOutputWithPooling

from revision_plugin import Aligner, PseudoVisionTower, RevisionError, Store, load_aligner
from revision_plugin._common.files import hash_json
from revision_plugin.aligners.domain import warn_if_far
from revision_plugin.corpora.texts import IMAGE_MARK
from revision_plugin.embeddings.item_views import PARTS, WHOLE, of_view
from revision_plugin.embeddings.manifest import MANIFEST
from revision_plugin.encoders import ImageProcessor, require_same
from revision_plugin.hosts.chat_template import ASSISTANT, USER, ChatTemplate
from revision_plugin.hosts.examples import TextOnlyData
from revision_plugin.visual_batch import pack

NAME = "revision"
EMBEDDING = "revision-embedding:"  # before STORE#NUMBER, where a row of images has a path
IGNORED = -100  # a label that is not learned
ALIGNERS = {WHOLE: "revision_aligner", PARTS: "revision_part_aligner"}
TRIAL = "QZ00000ZQ"


@functools.cache
def chosen_aligner(kind: str) -> Aligner | None:
    path = get_env_args(ALIGNERS[kind], str, None)
    return load_aligner(path) if path else None


class FolderEncoder:
    """What a pseudo-vision tower asks of its encoder, of an exported folder's tower. Where that lies is ms-swift's
    business.
    """

    spec, device, dtype = "of the folder", None, None

    def __init__(self, tower: torch.nn.Module, crop_size: dict[str, int]):
        self.tower, self.dim = tower, tower.config.hidden_size
        # for the size alone: images are preprocessed by the folder's processor
        self.image_processor = ImageProcessor(self, tower, **crop_size, mean=(), std=())

    def to(self, **_) -> FolderEncoder:
        return self

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Preprocessed pixels [N, 3, H, W] -> float32 unit-norm embeddings [N, D]."""
        self.tower.eval()  # frozen: no statistics of a batch, nor dropout
        return self.tower.embed(pixels.to(next(self.tower.parameters()).dtype))


def take_embeddings(model: torch.nn.Module, crop_size: dict[str, int]) -> None:
    """Let the model's tower take what `visual_batch.pack` makes of texts and images, in place of pixels. Its parameters
    and their names stay as they are, so what ms-swift saves is such a folder again.
    """
    folder_tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    tower = PseudoVisionTower(
        FolderEncoder(folder_tower, crop_size),
        tokens=folder_tower.config.tokens,
        aligner=chosen_aligner(WHOLE),
        part_aligner=chosen_aligner(PARTS),
    )

    def forward(pixel_values: torch.Tensor, **_) -> BaseModelOutputWithPooling:
        tower.train(model.training)  # for aligners with noise
        tokens = tower(pixel_values).to(next(projector.parameters()).dtype)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))

    folder_tower.forward = forward


class FolderLoader(ModelLoader):
    def get_model(self, model_dir, config, processor, model_kwargs):
        self.auto_model_cls = AutoModelForImageTextToText
        model = super().get_model(model_dir, config, processor, model_kwargs)
        if not self.return_dummy_model:
            take_embeddings(model, processor.image_processor.crop_size)
        return model


@functools.lru_cache(maxsize=16)
def text_examples(path: str, views: int) -> TextOnlyData:
    share = get_env_args("revision_whole_share", float, 0.0)
    reconstruct = get_env_args("revision_reconstruct", bool, False)
    return TextOnlyData(Store.open(path), reconstruct=reconstruct, views=views, whole_share=share)


class TextStoreLoader(DatasetLoader):
    """`--dataset STORE/manifest.json`: each text's conversation, with its row's number in place of an image's path."""

    def _load_dataset_path(self, dataset_path, dataset_meta):
        store = Store.open(Path(dataset_path).resolve().parent)
        self._check(store)
        data = text_examples(str(store.path), 1 if store.manifest.views is None else 2)  # any number: for turns alone
        rows = Dataset.from_generator(
            lambda: (
                {"conversations": data[index].conversations, "images": [f"{EMBEDDING}{store.path}#{index}"]}
                for index in range(len(data))
            ),
            fingerprint=hash_json([str(store.path), store.manifest.content_hash, data.reconstruct])[:32],
        )
        rows = dataset_meta.preprocess_func(
            rows,
            num_proc=self.num_proc,
            load_from_cache_file=self.load_from_cache_file,
            strict=True,
            enable_auto_mapping=True,
        )
        return rows.to_iterable_dataset() if self.streaming else rows

    def _check(self, store: Store) -> None:
        """Raise RevisionError where an aligner is missing or is another encoder's; warn of another domain."""
        for kind in (WHOLE,) if store.manifest.views is None else (WHOLE, PARTS):
            aligner = chosen_aligner(kind)
            if aligner is None:
                raise RevisionError(
                    f'{store.path}: text embeddings need an aligner; give --model_kwargs \'{{"{ALIGNERS[kind]}": '
                    '"DIR"}\' (for no alignment, one fitted with --method none)'
                )
            if aligner.report.encoder:
                require_same(
                    store.encoder,
                    aligner.report.encoder,
                    f"{store.path}: was made with another encoder than {ALIGNERS[kind]}",
                    "encode it again, or give the aligner of its encoder",
                )
            warn_if_far(aligner, of_view(store, kind), corpus=store.path, aligner_path=aligner.path or "ALIGNER")


class ProcessorPrompt:
    """The chat template of a processor, which takes images as parts of a turn, to whom gives turns as text."""

    def __init__(self, processor):
        self.processor, self.chat_template = processor, processor.chat_template
        tokenizer = processor.tokenizer
        self.bos_token, self.eos_token = tokenizer.bos_token, tokenizer.eos_token
        self.all_special_tokens, self.get_added_vocab = tokenizer.all_special_tokens, tokenizer.get_added_vocab
        plain, pictured = (self._render_user(*parts) for parts in ((), ({"type": "image"},)))
        begin = plain.index(TRIAL)
        self.image_mark = pictured[begin : pictured.index(TRIAL)]  # what it writes for an image before a text
        if IMAGE_MARK not in self.image_mark:
            raise RevisionError(
                f"the folder's chat template writes no {IMAGE_MARK} for an image; export the model again"
            )

    def apply_chat_template(self, messages, **keywords) -> str:
        parted = [{**message, "content": self._parts(message["content"])} for message in messages]
        return self.processor.apply_chat_template(parted, **keywords)

    def _parts(self, text: str) -> list[dict]:
        images = text.count(self.image_mark)
        return [{"type": "image"}] * images + [{"type": "text", "text": text.replace(self.image_mark, "")}]

    def _render_user(self, *images: dict) -> str:
        content = [*images, {"type": "text", "text": TRIAL}]
        return self.processor.apply_chat_template([{"role": USER, "content": content}], tokenize=False)

    def turn(self, role: str, text: str) -> tuple[str, str]:
        """A turn with its images before its text, where LLaVA puts them."""
        images = text.count(IMAGE_MARK)
        return (role, self.image_mark * images + text.replace(IMAGE_MARK, "").strip()) if images else (role, text)


class FolderTemplate(Template):
    """The folder's own prompt; with `--use_chat_template false` LLaVA's `plain`, an image and its text. An image has as
    many tokens as the folder's processor gives it.
    """

    placeholder_tokens = [IMAGE_MARK]

    def init_processor(self, processor) -> None:
        first = processor is not None and not self._processor_inited
        super().init_processor(processor)
        if first:
            vision = self.config.vision_config
            self.views, self.image_tokens = vision.views, IMAGE_MARK * (vision.views * vision.tokens)
            self.prompt = ProcessorPrompt(processor)
            self.template = ChatTemplate(self.prompt, (), None)

    def _load_image(self, image, load_images):
        path = image.get("path") if isinstance(image, dict) else image
        if isinstance(path, str) and path.startswith(EMBEDDING):
            store, _, number = path.removeprefix(EMBEDDING).rpartition("#")
            return text_examples(store, self.views).embedding(int(number))
        return super()._load_image(image, load_images)

    def _encode(self, inputs):
        vision = self.config.vision_config
        encoded = self._encode_pieces(self._pieces(inputs))
        if encoded["input_ids"].count(self.config.image_token_id) != len(inputs.images) * vision.views * vision.tokens:
            raise RevisionError(
                f"a conversation has not one {IMAGE_MARK} for each of its {len(inputs.images)} image(s)"
            )
        if inputs.images:
            encoded["pixel_values"] = [self._pixels(image) for image in inputs.images]
        return encoded

    def _pieces(self, inputs) -> list[tuple[str, bool]]:
        """The text in pieces between which labels change, each with whether it is learned; without BOS."""
        turns = [("system", inputs.system)] if inputs.system else []
        turns += [
            (message["role"], message["content"]) for message in inputs.messages if message["content"] is not None
        ]
        if not self.use_chat_template:
            reply = [(f"{turns[-1][1]}\n", True)] if turns[-1][0] == ASSISTANT else []
            return [(IMAGE_MARK * len(inputs.images), False), *reply]
        turns = [self.prompt.turn(*turn) for turn in turns]
        return self.template.pieces(turns) if self.is_training else [(self.template.prompt(turns), False)]

    def _encode_pieces(self, pieces: list[tuple[str, bool]]) -> dict:
        begin = self.tokenizer.bos_token if self.template.begins_with_bos else ""
        text, replies = begin, []
        for piece, learned in pieces:
            piece = piece.replace(IMAGE_MARK, self.image_tokens)
            replies += [range(len(text), len(text) + len(piece))] if learned else []
            text += piece
        tokens = self.tokenizer(text, add_special_tokens=not begin, return_offsets_mapping=True)
        labels = [
            token if first < last and any(first in reply for reply in replies) else IGNORED
            for token, (first, last) in zip(tokens["input_ids"], tokens["offset_mapping"])
        ]
        return {"input_ids": tokens["input_ids"], "labels": labels if self.is_training else None, "loss_scale": None}

    def _pixels(self, image) -> torch.Tensor:
        if isinstance(image, torch.Tensor):  # a text's embedding
            return image
        return self.processor.image_processor(image, return_tensors="pt")["pixel_values"][0]

    def _data_collator_mm_data(self, batch):
        items = [each for row in batch for each in row.get("pixel_values") or ()]
        if not items:
            return {}
        packed = pack(items)
        return {"pixel_values": packed if isinstance(packed, torch.Tensor) else torch.cat(packed)}


register_model(
    ModelMeta(
        NAME,
        [],
        FolderLoader,
        template=NAME,
        model_arch=ModelArch.llava_hf,
        additional_saved_files=["modeling_revision.py"],
        is_multimodal=True,
        tags=["vision"],
    )
)
register_template(TemplateMeta(NAME, prefix=[], prompt=["{{QUERY}}"], chat_sep=[], template_cls=FolderTemplate))
# ms-swift finds a dataset by the last part of its path
register_dataset(
    DatasetMeta(
        dataset_path=MANIFEST, loader=TextStoreLoader, preprocess_func=MessagesPreprocessor(columns={}), tags=["vision"]
    )
)
