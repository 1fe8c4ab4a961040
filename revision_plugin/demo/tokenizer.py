"""The world's word-level tokenizer, shared by the demo encoder and the demo language model.

It splits as SentencePiece does (a word carries its leading space), because LLaVA's label masking counts
the trailing space of `ASSISTANT: ` as one token. The end token has the highest id: open_clip pools the
text at the largest id.
"""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from .world import BACKGROUNDS, NUMBERS, QUADRANTS, object_names, with_article

SYSTEM_PROMPT = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
UNKNOWN, BEGIN, PAD, END = "<unk>", "<s>", "<pad>", "</s>"
_GRAMMAR = (
    "and at the on background ? . yes no is there where which what color how many objects object are above below "
    "left of right describe image user: assistant:"
)


def vocabulary() -> list[str]:
    """All tokens in id order; words carry the SentencePiece space mark."""
    prompt = SYSTEM_PROMPT.lower().replace(".", " ")
    words = set(_GRAMMAR.split()) | set(prompt.split()) | set(BACKGROUNDS) | set(NUMBERS)
    for name in object_names():
        words.update(with_article(name).split())
    words.update(QUADRANTS)
    return tokens_of(words)


def tokens_of(words: set[str]) -> list[str]:
    """The tokens of a vocabulary of `words`, in id order."""
    return [UNKNOWN, BEGIN, PAD, "▁", "▁\n"] + [f"▁{word}" for word in sorted(words)] + [END]


def build_tokenizer(words: set[str] | None = None):
    """A `transformers.PreTrainedTokenizerFast` that begins every text with BEGIN, over `vocabulary()` or that of other
    `words`.
    """
    ids = {token: index for index, token in enumerate(vocabulary() if words is None else tokens_of(words))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n|\?|\.(?=\s|$)"), behavior="isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="always"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B", special_tokens=[(BEGIN, ids[BEGIN])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=PAD,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def build_encoder_tokenizer(words: set[str] | None = None):
    """The same vocabulary for the contrastive text tower: BEGIN before and END after the caption."""
    tokenizer = build_tokenizer(words)
    ids = tokenizer.convert_tokens_to_ids
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}",
        pair=f"{BEGIN} $A {END} $B {END}",
        special_tokens=[(BEGIN, ids(BEGIN)), (END, ids(END))],
    )
    return tokenizer
