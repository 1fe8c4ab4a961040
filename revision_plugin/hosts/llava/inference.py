"""Asks a trained checkpoint about images, through LLaVA's own loader and generate."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from llava import conversation
from llava.constants import DEFAULT_IMAGE_TOKEN, IMAGE_TOKEN_INDEX
from llava.mm_utils import process_images, tokenizer_image_token
from llava.model import builder
from transformers import GenerationConfig
from transformers.generation import BaseStreamer

from ...corpora.texts import text_problem
from ...errors import RevisionError
from ...tower import PseudoVisionTower
from ..chat_template import USER, chat_template
from ..checkpoint_parts import CheckpointParts
from ..model_type import model_type
from ..named_templates import end_ids
from ..quantized import loading_keywords, on_cpu
from ..tokenizers import AUTO
from ..weight_files import opening_checkpoint, quiet_loading
from .exported_parts import checkpoint_parts
from .host import require_base, require_same_base
from .language_models import LLAMAS, PREFIX, class_for
from .tokenizers import prepare_tokenizer
from .weights import read_weights, require_weights

PLAIN = "plain"


def _loader_name(path: Path) -> str:
    """What LLaVA's loader, which goes by names, must hear; a checkpoint's own name is never passed on. Its class comes
    by its type. Raises RevisionError for a type that is no language model's.
    """
    kind = model_type(str(path))
    if kind not in LLAMAS:
        class_for(kind)
    return "llava_revision" + ("_lora" if (path / "adapter_config.json").is_file() else "")


def _require_same_type(path: Path, base: str) -> None:
    """Raise RevisionError where a checkpoint was trained over another type of language model than `base` is."""
    trained, there = (_own_type(model_type(each)) for each in (str(path), base))
    if trained != there:
        raise RevisionError(
            f"{path}: was trained over a language model of type '{trained}', --base {base} is a '{there}'"
        )


def _own_type(kind: str) -> str:
    return "llama" if kind in LLAMAS else kind.removeprefix(PREFIX)


def require_same_chat(name: str, tokenizer, conversation_name: str, record: dict) -> None:
    """Raise RevisionError where a checkpoint that was trained with its tokenizer's chat template finds another one."""
    trained = record.get("chat_template")
    if conversation_name == AUTO and trained is not None and chat_template(tokenizer).hash != trained:
        raise RevisionError(
            f"{name}: was trained with another chat template than its tokenizer has now; get the tokenizer's files "
            "again, or those of its language model"
        )


def _usual_template(name: str) -> str:
    """The conversation template of a plain LLaVA checkpoint, by the names LLaVA gives its releases."""
    name = name.lower()
    for mark, template in (
        ("llama-2", "llava_llama_2"),
        ("mistral", "mistral_instruct"),
        ("34b", "chatml_direct"),
        ("mpt", "mpt"),
    ):
        if mark in name:
            return template
    return "v1"


class _Float32Torch:
    """torch, for LLaVA's loader on a CPU: where that says half precision, it means float32."""

    float16 = torch.float32

    def __getattr__(self, name: str):
        return getattr(torch, name)


@contextlib.contextmanager
def loading_whole(device: str, bits: int | None) -> Iterator[None]:
    """Inside, LLaVA's loader rounds nothing to half precision that will be computed in float32 anyway."""
    before = builder.torch
    if device == "cpu" and bits is None:
        builder.torch = _Float32Torch()
    try:
        yield
    finally:
        builder.torch = before


def decode_greedily(model) -> None:
    """Set the model's generation to greedy decoding of whole batches, one answer a question: of the checkpoint's own
    generation config only the marks of beginning, end and padding are kept.
    """
    model.config.tokenizer_padding_side = "left"  # batched generation continues from the right end
    own = model.generation_config
    marks = {name: getattr(own, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(do_sample=False, num_beams=1, **marks)


@contextlib.contextmanager
def padded_on(model, side: str) -> Iterator[None]:
    """Inside, LLaVA pads batches on this side, whatever happens there."""
    before, model.config.tokenizer_padding_side = model.config.tokenizer_padding_side, side
    try:
        yield
    finally:
        model.config.tokenizer_padding_side = before


class LlavaAssistant:
    """A loaded checkpoint with its tokenizer, image processor and conversation template."""

    def __init__(self, tokenizer, model, image_processor, template_name: str):
        self.tokenizer, self.model, self.image_processor = tokenizer, model, image_processor
        self.template_name = template_name

    @classmethod
    def load(
        cls,
        model: str,
        *,
        base: str | None = None,
        device: str = "cpu",
        template: str | None = None,
        bits: int | None = None,
        device_map: str | None = None,
    ) -> LlavaAssistant:
        """Load a Stage-2 checkpoint, a Stage-1 or LoRA checkpoint over its language model `base`, or any plain LLaVA
        checkpoint.

        A name that is no folder goes to the hub, as LLaVA's own loader does. Runs in float32 on a CPU, in float16 as
        LLaVA loads elsewhere, its language model in `bits` (4 or 8) where they are given, on all GPUs where
        `device_map` is "auto". Raises RevisionError for a folder that is no checkpoint, needs a `base`, or whose
        encoder is missing.
        """
        path = Path(model)
        needs_base = require_base(path, base) if path.is_dir() or len(path.parts) != 2 else False
        name = _loader_name(path)
        if needs_base:
            _require_same_type(path, str(base))
            require_same_base(path, str(base))
        saved = read_weights(path, base if needs_base else None) if path.is_dir() else None
        # LLaVA prints while it loads
        quiet = contextlib.redirect_stdout(io.StringIO())
        with opening_checkpoint(model), quiet_loading(), quiet, loading_whole(device, bits):
            tokenizer, loaded, processor, _ = builder.load_pretrained_model(
                str(model),
                base if needs_base else None,
                name,
                device=device if device_map is None else "cuda",  # for another one LLaVA drops the map
                **({} if device_map is None else {"device_map": device_map}),
                **loading_keywords(bits, device),
            )
        if saved:
            require_weights(saved, loaded)
        if device == "cpu":
            loaded = on_cpu(loaded, bits)
        record = getattr(loaded.config, "revision", None) or {}
        if tokenizer.pad_token_id is None:  # LLaVA sets it only while training
            tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
        conversation_name = template or record.get("conversation") or _usual_template(path.name)
        require_same_chat(model, tokenizer, conversation_name, record)
        prepare_tokenizer(
            tokenizer, begin=isinstance(loaded.get_vision_tower(), PseudoVisionTower), version=conversation_name
        )
        decode_greedily(loaded)
        return cls(tokenizer, loaded.eval(), processor, conversation_name)

    @property
    def tower(self):
        return self.model.get_vision_tower()

    def parts(self, model: str, base: str | None) -> CheckpointParts:
        """This checkpoint, which was loaded from `model` over `base`, taken apart. Raises RevisionError for what no
        other form holds.
        """
        return checkpoint_parts(self, model, base)

    def conversation(self):
        if self.template_name not in conversation.conv_templates:
            raise RevisionError(f"no conversation template '{self.template_name}'; the checkpoint's config was edited")
        return conversation.conv_templates[self.template_name].copy()

    def pixels(self, images: Sequence) -> torch.Tensor | list[torch.Tensor]:
        """What the model is given for RGB PIL images."""
        pixels = process_images(list(images), self.image_processor, self.model.config)
        place = dict(device=self.model.device, dtype=self.model.dtype)
        return [each.to(**place) for each in pixels] if isinstance(pixels, list) else pixels.to(**place)

    def image_keywords(self, count: int) -> dict:
        """What `generate` takes beside the pixels of `count` images."""
        return {}

    def prompt(self, question: str | None, *, with_image: bool = True) -> tuple[str, str]:
        """The prompt of one question and the mark that ends its answer."""
        problem = text_problem(question) if question else None
        if problem:
            raise RevisionError(f"the question '{str(question)[:60]}' {problem}")
        if self.template_name == AUTO:
            if not question:
                raise RevisionError("this checkpoint answers questions; give one")
            chat = chat_template(self.tokenizer)
            return chat.prompt([(USER, f"{DEFAULT_IMAGE_TOKEN}\n{question}" if with_image else question)]), chat.end
        template = self.conversation()
        if template.sep_style == conversation.SeparatorStyle.PLAIN:
            if question:
                raise RevisionError(
                    "this checkpoint is pretrained only and writes captions; ask no question, or finish Stage 2"
                )
            return DEFAULT_IMAGE_TOKEN, template.sep
        if not question:
            raise RevisionError("this checkpoint answers questions; give one")
        template.append_message(template.roles[0], f"{DEFAULT_IMAGE_TOKEN}\n{question}" if with_image else question)
        template.append_message(template.roles[1], None)
        two = template.sep_style in (conversation.SeparatorStyle.TWO, conversation.SeparatorStyle.LLAMA_2)
        return template.get_prompt(), (template.sep2 if two else template.sep)

    def end_ids(self) -> list[int]:
        """Token ids that end an answer: the model's own end token and the template's end mark."""
        return self._end_ids(self.prompt("?" if self.template_name != PLAIN else None)[1])

    def _end_ids(self, mark: str) -> list[int]:
        return end_ids(self.model.generation_config.eos_token_id, mark, self.tokenizer)

    def ask(
        self,
        images: Sequence | None,
        questions: Sequence[str | None],
        *,
        max_new_tokens: int = 64,
        streamer: BaseStreamer | None = None,
    ) -> list[str]:
        """Greedy answers to `questions`, one about each RGB PIL image (or without image where `images` is None).

        A pretrained-only checkpoint takes None for each question and answers with a caption. A `streamer` is given the
        tokens of a single question as they are made. Raises RevisionError where the checkpoint's own settings keep it
        from answering.
        """
        with opening_checkpoint(getattr(self.model.config, "_name_or_path", "the checkpoint")):
            return self._ask(images, questions, max_new_tokens, streamer)

    def _ask(
        self,
        images: Sequence | None,
        questions: Sequence[str | None],
        max_new_tokens: int,
        streamer: BaseStreamer | None,
    ) -> list[str]:
        prompts = [self.prompt(question, with_image=images is not None) for question in questions]
        ids = [tokenizer_image_token(p, self.tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt") for p, _ in prompts]
        width = max(len(row) for row in ids)
        batch = torch.full((len(ids), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(batch)
        for row, tokens in enumerate(ids):
            batch[row, width - len(tokens) :], mask[row, width - len(tokens) :] = tokens, 1
        pixels = None
        if images is not None:
            pixels = self.pixels(images)
        stop = prompts[0][1]
        with torch.inference_mode():
            output = self.model.generate(
                batch.to(self.model.device),
                images=pixels,
                **(self.image_keywords(len(images)) if images is not None else {}),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self._end_ids(stop),
                streamer=streamer,
            )
        texts = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        return [text.split(stop)[0].strip() for text in texts]

    def likelihood(self, inputs: torch.Tensor, texts: Sequence[str]) -> np.ndarray:
        """Negative log-likelihood per token, numpy [N] in nats, of each text and its end mark under the `plain` prompt.

        `inputs` are pixels [N, 3, H, W], of V views [N, V, 3, H, W], or text embeddings [N, D] for a tower that has an
        aligner.
        """
        end = conversation.conv_templates[PLAIN].sep
        prompts = [f"{DEFAULT_IMAGE_TOKEN}{text}{end}" for text in texts]
        ids = [tokenizer_image_token(p, self.tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt") for p in prompts]
        batch = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self.tokenizer.pad_token_id)
        lengths = torch.tensor([len(row) for row in ids])
        mask = torch.arange(batch.shape[1]) < lengths[:, None]
        batch, mask, device = batch.to(self.model.device), mask.to(self.model.device), self.model.device
        with padded_on(self.model, "right"), torch.inference_mode():
            logits = self.model(input_ids=batch, attention_mask=mask, images=inputs.to(device)).logits
        # BOS and one mark, which became the visual tokens, precede the text; each position predicts the next.
        first = self.tower.num_patches * (inputs.shape[1] if inputs.ndim == 5 else 1)
        predicted, targets, learned = logits[:, first:-1].float(), batch[:, 2:], mask[:, 2:].float()
        losses = F.cross_entropy(predicted.transpose(1, 2), targets, reduction="none") * learned
        return (losses.sum(1) / learned.sum(1)).cpu().numpy()
