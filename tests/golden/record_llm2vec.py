"""A tiny random Llama, and what the real LLM2Vec makes of it: llm2vec.json.

To record it again, in an environment of its own (its transformers is older than ours):

    uv venv env && uv pip install --python env llm2vec==0.2.3 transformers==4.44.2 torch==2.8.0 "numpy<2"
    env/bin/python tests/golden/record_llm2vec.py
"""

import json
import tempfile
from pathlib import Path

HIDDEN = 32
TEXTS = [
    "a dog",
    "  A photo of two cats, beside a red boat. ",
    "Ein Löwe läuft über die Brücke — 狮子",
    "word " * 90 + "and the end of it",  # nearly the window of 512
    "a text far beyond the window " * 40,
]


def build(folder, *, chat=True):
    """Write the model, over bytes and, for `chat`, Llama 3's header tokens; the weights depend on numpy alone."""
    import numpy as np
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    special += ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"] if chat else []
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    begin = special[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=special[1],
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        rope_theta=500000.0,
    )
    model, random = LlamaModel(config), np.random.default_rng(0)
    state = model.state_dict()
    for name in sorted(state):
        scale = 0.3 if state[name].ndim == 2 else 1.0
        state[name] = torch.from_numpy(scale * random.normal(size=tuple(state[name].shape))).float()
    model.load_state_dict(state)
    model.save_pretrained(folder)


def record(out):
    from llm2vec import LLM2Vec

    embeddings = {}
    for name, known_as in (("chat", "meta-llama/Meta-Llama-3-8B-Instruct"), ("plain", "another model")):
        with tempfile.TemporaryDirectory() as folder:
            build(folder, chat=name == "chat")
            model = LLM2Vec.from_pretrained(folder, pooling_mode="mean", max_length=512, doc_max_length=512)
        model.model.config._name_or_path = known_as  # LLM2Vec goes by it, and LLM2CLIP sets it
        rows = model.encode(TEXTS, batch_size=3, convert_to_tensor=True, show_progress_bar=False)
        embeddings[name] = [[round(float(value), 7) for value in row] for row in rows]
    Path(out).write_text(json.dumps(embeddings) + "\n")


if __name__ == "__main__":
    record(Path(__file__).with_name("llm2vec.json"))
