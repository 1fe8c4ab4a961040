"""Tiny random language models of today's families: real architectures, small tokenizers made here, and chat templates
that write what those of the families write (their turns, marks and quirks, in words of our own).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

SIZES = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=1024,
)
TURN = "{% for m in messages %}"
END = "{% endfor %}"
ASK = "{% if add_generation_prompt %}"


def chatml(after="", thoughts=""):
    """Turns between <|im_start|> and <|im_end|>, with `thoughts` before the last reply."""
    reply = thoughts and "{% if m.role == 'assistant' and loop.last %}" + thoughts + "{% endif %}"
    return (
        after
        + TURN
        + "<|im_start|>{{ m.role }}\n"
        + reply
        + "{{ m.content }}<|im_end|>\n"
        + END
        + ASK
        + "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
        + thoughts
        + "{% endif %}{% endif %}"
    )


NO_THOUGHT = "<think>\n\n</think>\n\n"
GEMMA = (
    "{{ bos_token }}{% set talk = messages %}{% set lead = '' %}{% if messages[0].role == 'system' %}"
    "{% set lead = messages[0].content + '\n\n' %}{% set talk = messages[1:] %}{% endif %}"
    "{% for m in talk %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and model must take turns') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else 'user' }}\n"
    "{{ lead if loop.first }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    + ASK
    + "<start_of_turn>model\n{% endif %}"
)
LLAMA3 = (
    TURN + "{{ bos_token if loop.first }}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
    "<|eot_id|>" + END + ASK + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# the day stands in the prompt, as in Llama 3.1
DATED = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nToday: {{ strftime_now('%d %b %Y') }}\n\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set messages = messages[1:] %}{% endif %}"
    "<|eot_id|>" + LLAMA3.replace("{{ bos_token if loop.first }}", "")
)
# the system message stands before the last question, and only while that has no reply
MISTRAL = (
    "{{ bos_token }}{% set ns = namespace(system='') %}" + TURN + "{% if m.role == 'system' %}"
    "{% set ns.system = m.content + '\n\n' %}{% elif m.role == 'user' %}[INST] "
    "{% if loop.last %}{{ ns.system }}{% endif %}{{ m.content }}[/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}" + END
)
PHI4 = (
    TURN
    + "<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>"
    + END
    + ASK
    + "<|im_start|>assistant<|im_sep|>{% endif %}"
)
PHI3 = (
    TURN
    + "<|{{ m.role }}|>\n{{ m.content }}<|end|>\n"
    + END
    + "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
OLMO2 = (
    "{{ bos_token }}" + TURN + "{% if m.role == 'assistant' %}<|assistant|>\n{{ m.content }}{{ eos_token }}"
    "{{ '\n' if not loop.last }}{% else %}<|{{ m.role }}|>\n{{ m.content }}\n{% endif %}"
    + END
    + ASK
    + "<|assistant|>\n{% endif %}"
)
GRANITE = (
    TURN
    + "<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>\n"
    + END
    + ASK
    + "<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
SMOLLM3 = (
    "<|im_start|>system\nToday: {{ strftime_now('%d %B %Y') }}\nReasoning: "
    "{{ '/no_think' if enable_thinking is defined and not enable_thinking else '/think' }}\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set messages = messages[1:] %}{% endif %}"
    "<|im_end|>\n"
    + TURN
    + "<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and enable_thinking is defined and not "
    "enable_thinking %}<think>\n\n</think>\n{% endif %}{{ m.content }}<|im_end|>\n"
    + END
    + ASK
    + "<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n"
    "{% endif %}{% endif %}"
)
QWEN2 = chatml("{% if messages[0].role != 'system' %}<|im_start|>system\nYou are of the family.<|im_end|>\n{% endif %}")


@dataclass(frozen=True)
class Family:
    """A family of language models: config class, what it sets, special tokens by their use, chat template."""

    config: str
    template: str
    special: tuple[str, ...]
    uses: dict
    sets: dict = field(default_factory=dict)
    pieces: bool = False  # words in the way of SentencePiece, with ▁ before each

    @property
    def end(self) -> str:
        return self.uses["end"]


IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN = dict(eos_token="<|im_end|>", pad_token="<|endoftext|>", end="<|im_end|>")
FAMILIES = {
    "llama3": Family(
        "LlamaConfig",
        DATED,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        dict(bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", end="<|eot_id|>"),
    ),
    "mistral": Family(
        "MistralConfig",
        MISTRAL,
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", end="</s>"),
        dict(sliding_window=16),
        pieces=True,
    ),
    "qwen2": Family("Qwen2Config", QWEN2, IM, QWEN, dict(tie_word_embeddings=True)),
    "qwen3": Family("Qwen3Config", chatml(thoughts=NO_THOUGHT), IM, QWEN, dict(head_dim=8)),
    "gemma3": Family(
        "Gemma3TextConfig",
        GEMMA,
        ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        dict(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>", end="<end_of_turn>"),
        dict(head_dim=8, sliding_window=16, layer_types=["sliding_attention", "full_attention"]),
    ),
    "phi3": Family(
        "Phi3Config",
        PHI3,
        ("<unk>", "<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
        dict(bos_token="<s>", eos_token="<|endoftext|>", unk_token="<unk>", end="<|end|>"),
        pieces=True,
    ),
    "phi4": Family(
        "Phi3Config",
        PHI4,
        ("<|endoftext|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>"),
        dict(bos_token="<|endoftext|>", eos_token="<|im_end|>", pad_token="<|endoftext|>", end="<|im_end|>"),
    ),
    "olmo2": Family(
        "Olmo2Config",
        OLMO2,
        ("<|endoftext|>", "<|pad|>"),
        dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|pad|>", end="<|endoftext|>"),
    ),
    "smollm3": Family(
        "SmolLM3Config", SMOLLM3, IM, dict(eos_token="<|im_end|>", pad_token="<|im_end|>", end="<|im_end|>")
    ),
    "granite": Family(
        "GraniteConfig",
        GRANITE,
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
        dict(
            bos_token="<|end_of_text|>", eos_token="<|end_of_text|>", pad_token="<|end_of_text|>", end="<|end_of_text|>"
        ),
        dict(embedding_multiplier=12.0, logits_scaling=8.0),
    ),
}


def tokenizer(family: Family):
    """The family's tokenizer: bytes, or words and letters with a mark for the space before them."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if family.pieces:
        letters = [chr(code) for code in range(32, 127)]
        symbols = [*family.special, "<0x0A>", "▁", *letters]
        backend = Tokenizer(
            models.BPE({s: i for i, s in enumerate(symbols)}, [], unk_token="<unk>", byte_fallback=True)
        )
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        symbols = [*family.special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
        backend = Tokenizer(models.BPE({s: i for i, s in enumerate(symbols)}, []))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    named = {name: token for name, token in family.uses.items() if name != "end"}
    made = PreTrainedTokenizerFast(tokenizer_object=backend, **named)
    made.add_special_tokens({"additional_special_tokens": list(family.special)})
    made.chat_template = family.template
    return made


def write(folder: Path, family: Family, *, seed: int = 0) -> Path:
    """The folder of a random language model of the family with its tokenizer."""
    import torch
    import transformers

    words = tokenizer(family)
    ids = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    settings = {**SIZES, **ids, **family.sets}
    config = getattr(transformers, family.config)(vocab_size=len(words), **settings)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # larger than usual, so that logits differ clearly
        torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.1)
    model.tie_weights()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


# types of another build: names of parts, learned positions, scaled embeddings, experts, parallel layers
OTHERS = {
    "gpt2": dict(n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "opt": dict(ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64),
    "gemma2": dict(head_dim=8, sliding_window=16),
    "mixtral": dict(num_local_experts=4),
    "cohere": {},
    "gpt_neox": {},
}


def write_model(path, config, seed=0):
    """The folder of a random language model, without a tokenizer."""
    import torch
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.2)
    model.tie_weights()
    model.save_pretrained(path)
    return path
