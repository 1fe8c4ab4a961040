"""What the trainings of the small shipped models share: their command, learning rate, resumed state and last files."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig

from revision_plugin._common.devices import choose_device
from revision_plugin.cli.arguments import add_device


def training_command(
    description: str, recipe: type, train: Callable[..., dict], *, script: str, figures: str, with_device: bool = False
) -> None:
    """The whole command: a flag for every field of the dataclass `recipe`, then `train(out, recipe, log=...)`, whose
    record it writes as PROVENANCE.json, naming `script`, and of which it prints `figures`. `with_device` adds --device
    and the keyword `device`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True)
    for name, value in recipe().__dict__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    if with_device:
        add_device(parser)
    given = vars(parser.parse_args())
    out, keywords = given.pop("out"), {"device": choose_device(given.pop("device"))} if with_device else {}
    record = train(out, recipe(**given), log=lambda line: print(line, flush=True), **keywords)
    record["script"] = script
    (out / "PROVENANCE.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record[figures]))


def set_rate(optimizer: torch.optim.Optimizer, recipe: Any, step: int, *, floor: float) -> None:
    """The recipe's `learning_rate`, warmed up, on a cosine over its `steps` down to the share `floor`."""
    rate = recipe.learning_rate * min(1, (step + 1) / recipe.warmup)
    for group in optimizer.param_groups:
        group["lr"] = rate * (floor + (1 - floor) * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps)))


class SavedState:
    """The state of a training in one file, from which the same call goes on after a stop."""

    def __init__(self, path: Path, **parts: Any):
        """`parts` are modules and optimizers, by the names that the file has them under."""
        self._path, self._parts = path, parts

    def load(self, device: torch.device, log: Callable[[str], None]) -> int:
        """Give every part its saved state; returns the step to go on with, 0 where nothing was saved."""
        if not self._path.exists():
            return 0
        state = torch.load(self._path, map_location=device, weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        log(f"resumed at step {state['step']}")
        return state["step"]

    def save(self, step: int) -> None:
        """Whole or not at all."""
        temporary = self._path.with_suffix(".tmp")
        torch.save({**{name: part.state_dict() for name, part in self._parts.items()}, "step": step}, temporary)
        temporary.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def small_llama(tokenizer: Any, recipe: Any) -> LlamaConfig:
    """A Llama of the recipe's `hidden_size`, `layers` and `heads` over the tokenizer's vocabulary."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.hidden_size * 8 // 3 // 32 * 32,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def write_language_model(out: Path, model: Any, tokenizer: Any) -> None:
    """A `transformers` folder with float16 weights."""
    config = model.config
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
