"""Checkpoints that answer one question at a time, word by word."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from transformers import TextIteratorStreamer

from ..errors import RevisionError
from ..hosts import Assistant, find_host
from ..hosts.named_templates import PLAIN
from ..hosts.projected_checkpoint import lacks_language_model
from ..hosts.trained_with import language_model, trained_record

MOST_NEW_TOKENS = 1024
MOST_CHARACTERS = 4000  # of a question


class AnswerStream(TextIteratorStreamer):
    """The text of one answer, in pieces, as `generate` makes it."""

    def __init__(self, tokenizer):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.stopped = threading.Event()

    def put(self, value) -> None:
        """Take the next token. Raises RevisionError, which ends the generation, once the answer is `stopped`."""
        if self.stopped.is_set():
            raise RevisionError("the answer was stopped")
        super().put(value)

    def finish(self) -> None:
        """End the iteration, whatever `generate` came to."""
        self.text_queue.put(self.stop_signal)


class Respondent:
    """A checkpoint under a `name`. Several threads may ask it: it answers one after another."""

    def __init__(self, name: str, assistant: Assistant):
        self.name, self._assistant, self._turn = name, assistant, threading.Lock()

    @property
    def captions(self) -> bool:
        """Whether it is pretrained only: it writes captions and takes no question."""
        return self._assistant.template_name == PLAIN

    def answer(self, image: Image.Image, question: str, *, max_new_tokens: int) -> Iterator[str]:
        """The answer about an RGB image as far as it is written; the last one is whole, what `revision ask` prints.

        One that is pretrained only leaves the question aside. Closing the iterator stops the generation. Raises
        RevisionError for a question that is no text for a model, or too long, and for a number of tokens out of bounds.
        """
        if len(question) > MOST_CHARACTERS:
            raise RevisionError(f"the question has {len(question)} characters; at most {MOST_CHARACTERS} are taken")
        if not 1 <= max_new_tokens <= MOST_NEW_TOKENS:
            raise RevisionError(f"an answer may have 1 to {MOST_NEW_TOKENS} new tokens, not {max_new_tokens}")
        asked = None if self.captions else question.strip() or None
        stream = AnswerStream(self._assistant.tokenizer)
        answers: list[str] = []
        errors: list[Exception] = []

        def generate() -> None:
            try:
                with self._turn:
                    if not stream.stopped.is_set():
                        answers.extend(
                            self._assistant.ask([image], [asked], max_new_tokens=max_new_tokens, streamer=stream)
                        )
            except Exception as error:  # raised below, in the thread that asked
                errors.append(error)
            finally:
                stream.finish()

        thread = threading.Thread(target=generate, daemon=True)
        thread.start()
        try:
            text = ""
            for piece in stream:
                text += piece
                yield text.strip()
            thread.join()
            if errors:
                raise errors[0]
            yield from answers
        finally:
            stream.stopped.set()


def load_respondents(models: Sequence[tuple[str, str]], *, base: str | None, device: str) -> list[Respondent]:
    """The checkpoints (name, path), in their order; `base` is the language model of those that have none in their
    folder, else what their run.json says. Raises RevisionError where one does not load, and for a `base` that none
    needs.
    """
    bases = [_base(path, base) for _, path in models]
    if base is not None and all(each is None for each in bases):
        raise RevisionError(f"--base {base}: every checkpoint has its language model; leave out --base")
    return [
        Respondent(name, find_host(model=path).load(path, base=own, device=device))
        for (name, path), own in zip(models, bases, strict=True)
    ]


def _base(path: str, base: str | None) -> str | None:
    """The language model that a checkpoint's folder lacks; None where it has its own, or is a name in the hub."""
    folder = Path(path)
    if not folder.is_dir() or not lacks_language_model(folder):
        return None
    return base or str(language_model(folder, trained_record(folder), None))


def folder_name(path: str) -> str:
    """What a checkpoint's folder is called, where it is a link by the link's own name."""
    return os.path.basename(os.path.abspath(path))


def named_models(given: Sequence[str]) -> list[tuple[str, str]]:
    """(name, path) of each `PATH`, called by its folder's name, or `NAME=PATH`. Raises RevisionError where two have one
    name.
    """
    models: list[tuple[str, str]] = []
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = folder_name(text), text
        if not name.strip() or not path:
            raise RevisionError(f"--model {text}: write PATH or NAME=PATH")
        if name in [other for other, _ in models]:
            raise RevisionError(f"--model {text}: another one is called '{name}' too; write NAME=PATH")
        models.append((name, path))
    return models
