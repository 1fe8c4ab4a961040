"""`llava_revision` for tasks that give chat messages (`doc_to_messages`): one user's turn, with one image at most."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from PIL import Image

from ..errors import RevisionError
from .model import LlavaRevision


class LlavaRevisionChat(LlavaRevision):
    """Takes messages where `LlavaRevision` takes a text and images; what it answers to the same is the same."""

    is_simple = False

    def generate_until(self, requests) -> list[str]:
        """Greedy replies, in the order of `requests`. Raises RevisionError for messages that are no single question."""
        return super().generate_until([self._as_question(request) for request in requests])

    def _as_question(self, request) -> SimpleNamespace:
        """The request as the simple model takes it: text, settings, what gives a row's images, and the row's place."""
        _, to_messages, settings, doc_id, task, split = request.args
        where = f"{task}, row {doc_id}"
        text, _ = read_messages(to_messages(self.task_dict[task][split][doc_id]), where)
        return SimpleNamespace(args=(text, settings, _images_of(to_messages, where), doc_id, task, split))


def _images_of(to_messages: Callable[[Any], Any], where: str) -> Callable[[Any], list[Image.Image]]:
    return lambda doc: read_messages(to_messages(doc), where)[1]


def read_messages(messages: Any, where: str) -> tuple[str, list[Image.Image]]:
    """The text and the images of one user's turn; several texts on lines of their own. Raises RevisionError, which
    `where` begins, for more turns, other roles, and anything but texts and decoded images.
    """
    roles = [message["role"] for message in messages]
    if roles != ["user"]:
        raise RevisionError(f"{where}: has turns of {', '.join(roles) or 'nobody'}; llava_revision answers one user's")
    content = messages[0]["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    texts, images = [], []
    for part in parts:
        if part["type"] == "text":
            texts.append(part["text"])
        elif part["type"] == "image" and isinstance(part["url"], Image.Image):
            images.append(part["url"])
        else:
            kind = part["type"] if part["type"] != "image" else type(part.get("url")).__name__
            raise RevisionError(f"{where}: has a part of type {kind}; llava_revision takes texts and decoded images")
    return "\n".join(texts), images
