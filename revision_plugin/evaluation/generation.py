"""How a task wants its replies decoded (`generation_kwargs`, `--gen_kwargs`): greedily, or it is refused."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

from ..errors import RevisionError

NEW_TOKENS = 64  # of a task that says nothing
# what each of these may be under greedy decoding; everything else would sample, search or punish
GREEDY: dict[str, tuple] = {
    "do_sample": (False,),
    "temperature": (0,),
    "num_beams": (1,),
    "top_p": (0, 1),
    "top_k": (0, 1),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "num_return_sequences": (1,),
    "use_cache": (True,),
}
KNOWN = ("max_new_tokens", "until", *GREEDY)


def require_greedy(settings: Mapping[str, Any], where: str) -> None:
    """Raise RevisionError, which `where` begins, for settings that are not known or would not decode greedily."""
    for name, value in settings.items():
        if name not in KNOWN:
            raise RevisionError(f"{where}: llava_revision knows no {name}; there are {', '.join(KNOWN)}")
        if name in GREEDY and not _none(value) and value not in GREEDY[name]:
            allowed = " or ".join(map(str, GREEDY[name]))
            raise RevisionError(
                f"{where}: llava_revision decodes greedily, with {name} {allowed}, not {value}; leave it out"
            )
    limit = settings.get("max_new_tokens", NEW_TOKENS)
    if type(limit) is not int or limit < 1:
        raise RevisionError(f"{where}: max_new_tokens must be a whole number of at least 1, not {limit}")
    stop_strings(settings, where)


def stop_strings(settings: Mapping[str, Any], where: str) -> list[str]:
    """The texts at which a reply ends: one, or a list, which the command line takes as JSON. Raises RevisionError for
    anything else.
    """
    until = settings.get("until")
    if _none(until):
        return []
    if isinstance(until, str) and until.startswith("[") and until.endswith("]"):
        try:
            until = json.loads(until)
        except ValueError:
            raise RevisionError(f"{where}: until {until} is no JSON list of texts") from None
    stops = [until] if isinstance(until, str) else until
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise RevisionError(
            f'{where}: until must be a text or a list of texts, not {until}; a number goes as until=["7"]'
        )
    return [stop for stop in stops if stop]


def cut(reply: str, stops: list[str]) -> str:
    """`reply` up to the first of `stops`."""
    for stop in stops:
        reply = reply.split(stop)[0]
    return reply


def require_greedy_text(text: str) -> None:
    """`require_greedy` of a `--gen_kwargs`, read as lmms-eval reads it."""
    try:
        settings = importlib.import_module("lmms_eval.utils").simple_parse_args_string(text)
    except ValueError:
        raise RevisionError(f"--gen_kwargs {text}: give NAME=VALUE with commas between them") from None
    require_greedy(settings, "--gen_kwargs")


def _none(value: Any) -> bool:
    return value is None or value == "None"
