"""Asks an HF-native folder, as any software of transformers does: its processor, its chat template, `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LlavaProcessor
from transformers.generation import BaseStreamer

from ..._common.files import read_object
from ...corpora.texts import IMAGE_MARK, text_problem
from ...errors import RevisionError, library_failures
from ...tower import PseudoVisionTower
from ..chat_template import ASSISTANT, USER
from ..checkpoint_parts import CheckpointParts
from ..named_templates import CAPTION_END, IGNORED, PLAIN, conversation_pieces, encode_pieces, with_visual_tokens
from ..prompt_form import CaptionPrompt, KeptPrompt, PromptForm
from ..quantized import loading_keywords, on_cpu
from ..tokenizers import begin_texts
from .native_folder import PREPROCESSOR, PROCESSOR
from .native_parts import native_parts, with_one_place
from .opened_folder import OpenedFolder, open_folder, prompt_template, saved_dtype
from .training_model import NativeModel, opened, without_token


class NativeAssistant:
    """An HF-native folder, ready to answer."""

    def __init__(self, folder: OpenedFolder, made: NativeModel, processor: LlavaProcessor):
        self._path, self._record, self._made, self.processor = folder.path, folder.record, made, processor
        self.tokenizer, self.model, self.image_processor = folder.tokenizer, made.model, made.tower.image_processor
        self.template_name = str(folder.record["conversation"])

    @classmethod
    def load(
        cls, path: Path, *, device: str = "cpu", template: str | None = None, bits: int | None = None
    ) -> NativeAssistant:
        """Open the folder in float32 on a CPU and in float16 elsewhere, its language model in `bits` where they are
        given. Raises RevisionError for a folder that is not whole, and for another `template` than its own.
        """
        keywords = loading_keywords(bits, device)
        if keywords:
            keywords["device_map"] = {"": device}
        folder = open_folder(path, dtype=torch.float32 if device == "cpu" else torch.float16, **keywords)
        if template not in (None, folder.record["conversation"]):
            own = folder.record["conversation"]
            raise RevisionError(f"{path}: is asked as it was trained, by '{own}' and not by '{template}'")
        made = opened(folder.model, folder.tower(), path)
        if device == "cpu":
            on_cpu(made.model, bits)
        else:
            made.projector.to(device=device, dtype=torch.float16)
            if bits is None:  # otherwise it is there already, and refuses to be moved
                made.model.to(device)
        made.tower.to(device=device, dtype=torch.float32 if device == "cpu" else torch.float16)
        begin_texts(folder.tokenizer, str(folder.record["conversation"]))
        made.model.eval()
        made.model.config.use_cache = True
        return cls(folder, made, _processor(folder))

    @property
    def tower(self) -> PseudoVisionTower:
        return self._made.tower

    def _text(self, question: str | None, *, with_image: bool = True) -> str:
        """The prompt of one question, as the folder's chat template writes it."""
        problem = text_problem(question) if question else None
        if problem:
            raise RevisionError(f"the question '{str(question)[:60]}' {problem}")
        if self.template_name == PLAIN and question:
            raise RevisionError(
                "this checkpoint is pretrained only and writes captions; ask no question, or finish Stage 2"
            )
        if self.template_name != PLAIN and not question:
            raise RevisionError("this checkpoint answers questions; give one")
        if question and IMAGE_MARK in question:
            raise RevisionError(f"the question '{question[:60]}' holds {IMAGE_MARK}, which stands for an image")
        content: list[dict] = [{"type": "image"}] if with_image else []
        if question:
            content.append({"type": "text", "text": question})
        turns: Any = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))

    def _inputs(self, images: Sequence[Image.Image] | None, questions: Sequence[str | None]) -> dict[str, torch.Tensor]:
        texts = [self._text(question, with_image=images is not None) for question in questions]
        given = self.processor(
            images=list(images) if images is not None else None, text=texts, padding=True, return_tensors="pt"
        )
        place = self.model.device
        inputs = {name: given[name].to(place) for name in ("input_ids", "attention_mask")}
        if images is not None:
            inputs["pixel_values"] = given["pixel_values"].to(place, self.model.dtype)
        return inputs

    def ask(
        self,
        images: Sequence[Image.Image] | None,
        questions: Sequence[str | None],
        *,
        max_new_tokens: int = 64,
        streamer: BaseStreamer | None = None,
    ) -> list[str]:
        """Greedy answers to `questions`, one about each RGB image (or without image where `images` is None).

        A pretrained-only checkpoint takes None for each question and answers with a caption. A `streamer` is given the
        tokens of a single question as they are made.
        """
        inputs = self._inputs(images, questions)
        ends = self.end_ids()
        own = self.model.generation_config
        greedy = GenerationConfig(
            do_sample=False,
            bos_token_id=own.bos_token_id,
            eos_token_id=ends,
            pad_token_id=own.pad_token_id,
            suppress_tokens=own.suppress_tokens,
            max_new_tokens=max_new_tokens,
        )
        with library_failures(f"{self._path}: does not answer"), torch.inference_mode():
            output = self.model.generate(**inputs, generation_config=greedy, streamer=streamer)
        rows = output[:, inputs["input_ids"].shape[1] :].tolist()
        answers = [row[: next((place for place, token in enumerate(row) if token in ends), len(row))] for row in rows]
        return [self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in answers]

    def end_ids(self) -> list[int]:
        """Token ids that end an answer."""
        ends = self.model.generation_config.eos_token_id
        return list(ends) if isinstance(ends, list) else [ends]

    def likelihood(self, inputs: torch.Tensor, texts: Sequence[str]) -> np.ndarray:
        """Negative log-likelihood per token, numpy [N] in nats, of each text and its end mark under the `plain` prompt.

        `inputs` are pixels [N, 3, H, W], of V views [N, V, 3, H, W], or text embeddings [N, D] for a tower that has an
        aligner.
        """
        visual = self.tower.num_patches * (inputs.shape[1] if inputs.ndim == 5 else 1)
        image_id = self.model.config.image_token_index
        rows, targets = [], []
        for text in texts:
            pieces = conversation_pieces(PLAIN, self.tokenizer, [(USER, IMAGE_MARK), (ASSISTANT, text)])
            encoded = encode_pieces(pieces, self.tokenizer)
            ids, labels = with_visual_tokens(*encoded, count=visual, image_id=image_id)
            rows.append(ids)
            targets.append(labels)
        device = self.model.device
        batch = pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id).to(device)
        labels = pad_sequence(targets, batch_first=True, padding_value=IGNORED).to(device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = torch.arange(batch.shape[1], device=device) < lengths[:, None]
        with torch.inference_mode():
            logits = self.model(input_ids=batch, attention_mask=mask, pixel_values=inputs.to(device)).logits
        logits = without_token(logits, image_id)[:, :-1]
        losses = F.cross_entropy(logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none")
        return (losses.sum(1) / (labels[:, 1:] != IGNORED).sum(1)).cpu().numpy()

    def parts(self, model: str, base: str | None) -> CheckpointParts:
        """The checkpoint taken apart, for those who write it in another form."""
        prompt: PromptForm = (
            CaptionPrompt(CAPTION_END) if self.template_name == PLAIN else KeptPrompt(prompt_template(self._path))
        )
        return native_parts(
            model,
            self._made,
            tokenizer=self.tokenizer,
            prompt=prompt,
            prompt_ids=self._prompt_ids,
            ends=self.end_ids(),
            square=bool(read_object(self._path / PREPROCESSOR).get("square", False)),
            dtype=saved_dtype(self._path),
            record=dict(self._record),
            logits=self._logits,
            pixels=lambda image: self.processor.image_processor(image)["pixel_values"][0],
            ask=lambda images, questions, most: self.ask(images, questions, max_new_tokens=most),
        )

    def _prompt_ids(self, question: str | None) -> list[int]:
        ids = self.processor.tokenizer(self._text(question), add_special_tokens=False).input_ids
        return with_one_place(ids, self.model.config.image_token_index)

    def _logits(self, image: Image.Image, question: str | None) -> torch.Tensor:
        with torch.inference_mode():
            return self.model(**self._inputs([image], [question])).logits[0].float().cpu()


def _processor(folder: OpenedFolder) -> LlavaProcessor:
    """The folder's processor, made of the package's own classes."""
    settings = read_object(folder.path / PROCESSOR)
    tokenizer = type(folder.tokenizer).from_pretrained(folder.path)  # as the folder has it: no first token, padded left
    names = ("patch_size", "vision_feature_select_strategy", "image_token", "num_additional_image_tokens")
    return LlavaProcessor(
        image_processor=folder.image_processor,
        tokenizer=tokenizer,
        chat_template=prompt_template(folder.path),
        **{name: settings[name] for name in names},
    )
