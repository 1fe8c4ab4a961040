"""Conversation templates by name, and token ids with labels that are exact to the token.

`llama_3` is the papers' Stage-2 prompt; `smollm2` is ChatML as SmolLM2 was trained on it; `v1` is Vicuna's, `plain` an
image and its caption. `auto`, the chat template of the language model's own tokenizer, is in `chat_template`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..corpora.texts import IMAGE_MARK
from ..errors import RevisionError
from .chat_template import ASSISTANT, SYSTEM, USER, Piece, Turn, chat_template
from .checkpoint_parts import IMAGE_PLACE
from .prompt_form import CaptionPrompt, NamedPrompt, OwnPrompt, PromptForm
from .tokenizers import AUTO

IGNORED = -100  # the label of a token that is not learned
PLAIN, VICUNA = "plain", "v1"
CAPTION_END = "\n"


@dataclass(frozen=True)
class NamedTemplate:
    """A conversation template as text: what stands before the first turn, before a question, between a question and its
    reply (with the space that a reply begins with), and behind a reply.
    """

    name: str
    system: str
    question: str
    reply: str
    end: str
    between: str = ""  # what ends a question

    def pieces(self, turns: Sequence[Turn]) -> list[Piece]:
        """The text of a whole conversation, in the pieces between which labels change."""
        pieces: list[list] = [[self.system, False]]
        for role, text in turns:
            if role == ASSISTANT:
                # a reply's first space is learned, as it is a part of its first token
                asked = self.reply.rstrip(" ")
                pieces[-1][0] += asked
                pieces += [[self.reply[len(asked) :] + text + self.end, True], ["", False]]
            else:
                pieces[-1][0] += self.question + text + self.between
        return [(text, learned) for text, learned in pieces if text]

    def prompt(self, turns: Sequence[Turn]) -> str:
        """The text that asks for the next reply; `turns` end with the user's."""
        return "".join(text for text, _ in self.pieces(turns)) + self.reply.rstrip(" ")

    @property
    def form(self) -> PromptForm:
        """The template as a chat template's text."""
        between = self.between + self.reply
        return NamedPrompt(
            self.system + self.question, between, between.rstrip(" "), self.end + self.question, self.end
        )


NAMED = {
    each.name: each
    for each in (
        NamedTemplate(
            VICUNA,
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the user's questions. ",
            question="USER: ",
            between=" ",
            reply="ASSISTANT: ",
            end="</s>",
        ),
        NamedTemplate(
            "llama_3",
            f"<|start_header_id|>system<|end_header_id|>\n\n{SYSTEM}<|eot_id|>",
            question="<|start_header_id|>user<|end_header_id|>\n\n",
            between="<|eot_id|>",
            reply="<|start_header_id|>assistant<|end_header_id|>\n\n",
            end="<|eot_id|>",
        ),
        NamedTemplate(
            "smollm2",
            f"<|im_start|>system\n{SYSTEM}<|im_end|>\n",
            question="<|im_start|>user\n",
            between="<|im_end|>\n",
            reply="<|im_start|>assistant\n",
            end="<|im_end|>\n",
        ),
    )
}
VERSIONS = (PLAIN, *NAMED, AUTO)


def prompt_form(version: str, tokenizer: Any) -> PromptForm:
    """How a checkpoint that was trained with the template `version` is asked."""
    if version == PLAIN:
        return CaptionPrompt(CAPTION_END)
    return OwnPrompt(chat_template(tokenizer)) if version == AUTO else NAMED[version].form


def end_mark(version: str, tokenizer: Any) -> str:
    """What ends a reply in the template `version`."""
    if version == PLAIN:
        return CAPTION_END
    return chat_template(tokenizer).end if version == AUTO else NAMED[version].end


def end_ids(own: int | list[int] | None, mark: str, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: the model's `own`, and the last one of a template's end `mark`."""
    ends = own if isinstance(own, list) else [own]
    return [
        *(end for end in ends if end is not None),
        *tokenizer(mark.strip() or mark, add_special_tokens=False).input_ids[-1:],
    ]


def prompt_text(version: str, tokenizer: Any, question: str | None) -> str:
    """The prompt of one question about an image, or of its caption, without the first token."""
    if version == PLAIN:
        return IMAGE_MARK
    turns = [(USER, f"{IMAGE_MARK}\n{question}")]
    return chat_template(tokenizer).prompt(turns) if version == AUTO else NAMED[version].prompt(turns)


def turns_of(records: Sequence[dict[str, str]]) -> list[Turn]:
    """A conversation in LLaVA's form as turns, from its first question on."""
    if records and records[0]["from"] != "human":
        records = records[1:]
    return [(ASSISTANT if record["from"] == "gpt" else USER, record["value"]) for record in records]


def conversation_pieces(version: str, tokenizer: Any, turns: Sequence[Turn]) -> list[Piece]:
    """The text of a conversation in the template `version`, in the pieces between which labels change: only replies and
    their end marks are learned. Raises RevisionError where `plain` is given anything but an image and its caption.
    """
    if version == AUTO:
        return chat_template(tokenizer).pieces(turns)
    if version != PLAIN:
        return NAMED[version].pieces(turns)
    if [role for role, _ in turns] != [USER, ASSISTANT] or IMAGE_MARK not in turns[0][1]:
        raise RevisionError("--version plain learns captions: a conversation of an image and one reply")
    return [(IMAGE_MARK, False), (turns[1][1] + CAPTION_END, True)]


def encode_pieces(pieces: Sequence[Piece], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels (long [L]) of a text in pieces; the tokenizer's first token stands before it.

    As LLaVA does, what stands between images is tokenized by itself.
    """
    stretches: list[list[Piece]] = [[]]
    for text, learned in pieces:
        for index, part in enumerate(text.split(IMAGE_MARK)):
            if index:
                stretches.append([])
            if part:
                stretches[-1].append((part, learned))
    ids: list[int] = []
    labels: list[int] = []
    for index, stretch in enumerate(stretches):
        if index:
            ids.append(IMAGE_PLACE)
            labels.append(IGNORED)
        for tokens, learned in _tokens(stretch, tokenizer, first=not index):
            ids += tokens
            labels += tokens if learned else [IGNORED] * len(tokens)
    return torch.tensor(ids), torch.tensor(labels)


def with_visual_tokens(
    ids: torch.Tensor, labels: torch.Tensor, *, count: int, image_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels [L] in which an image's place is `count` tokens `image_id`."""
    place = ids == IMAGE_PLACE
    repeats = torch.where(place, count, 1)
    return torch.where(place, image_id, ids).repeat_interleave(repeats), labels.repeat_interleave(repeats)


def _tokens(stretch: list[Piece], tokenizer: Any, *, first: bool) -> list[tuple[list[int], bool]]:
    """The tokens of each piece of a text without images.

    A prompt must have the tokens in training that it has when the model is asked, where it is tokenized without its
    reply. Mostly the tokens of the whole text begin with those; where one would reach over the border (a reply that
    begins with a blank line), the pieces are tokenized one by one.
    """
    whole = "".join(text for text, _ in stretch)
    tokens = tokenizer(whole, add_special_tokens=first).input_ids
    known, found, end = 0, [], 0
    for text, learned in stretch:
        end += len(text)
        until = tokens if end == len(whole) else tokenizer(whole[:end], add_special_tokens=first).input_ids
        if tokens[: len(until)] != until:
            return [
                (tokenizer(text, add_special_tokens=first and not index).input_ids, learned)
                for index, (text, learned) in enumerate(stretch)
            ]
        found.append((tokens[known : len(until)], learned))
        known = len(until)
    return found if stretch else [(tokens, False)]  # a first token may stand before an image that comes first
