"""A task's own words around a question: lmms-eval's `pre_prompt` and `post_prompt`."""

from __future__ import annotations

from ..errors import RevisionError


def with_instruction(question: str, instruction: str, specific: dict | None) -> str:
    """`question` with its `instruction`. Of a task's `lmms_eval_specific_kwargs`, `pre_prompt` goes before the question
    and `post_prompt` stands in the instruction's place, both as they are written, with their own line ends.

    Raises RevisionError where one of them is no text.
    """
    given = {name: (specific or {}).get(name) for name in ("pre_prompt", "post_prompt")}
    for name, text in given.items():
        if not isinstance(text, (str, type(None))):
            raise RevisionError(f"lmms_eval_specific_kwargs: {name} must be a text, not {text!r}")
    after = instruction if given["post_prompt"] is None else given["post_prompt"]
    return f"{given['pre_prompt'] or ''}{question}{after}"
