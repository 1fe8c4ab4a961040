"""What the cards (README.md) of all that is exported share: the head, values from data, the papers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from .._common.markdown import table
from ..errors import shown

CARD = "README.md"
LIBRARY = "revision-plugin"
PLACEHOLDER = "OWNER/NAME"
NO_LICENCE = (
    "No licence is named here. Before you publish, look at the terms of the corpora and of the encoder, and add a "
    "`license:` line to this card's head."
)
COMMIT_NOTE = (
    "COMMIT stands for the 40 digits of a commit of this repository, which its history shows; no branch is taken."
)
_PAPERS = {
    "2602.07026": "ReVision, ReAlign and blockwise covariance: [arXiv 2602.07026](https://arxiv.org/abs/2602.07026)",
    "2605.07825": "AnisoAlign: [arXiv 2605.07825](https://arxiv.org/abs/2605.07825)",
    "2503.22655": "mean shift (Unicorn): [arXiv 2503.22655](https://arxiv.org/abs/2503.22655)",
    "2401.08567": "C3, Connect-Collapse-Corrupt: [arXiv 2401.08567](https://arxiv.org/abs/2401.08567)",
    "1803.00567": "Gaussian optimal transport: [arXiv 1803.00567](https://arxiv.org/abs/1803.00567), section 2.6",
}
ALWAYS = ("2602.07026", "2605.07825")  # whose code this is
OF_METHOD = {"mean_shift": "2503.22655", "c3": "2401.08567", "monge": "1803.00567"}


def head(**values: Any) -> str:
    """The YAML that the hub reads, which opens the card."""
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def code(value: object) -> str:
    """A value from data as markdown code on one line, also in a table's cell."""
    text = shown(value).replace("`", "'").replace("|", "\\|")
    return f"`{text}`"


def in_shell(spec: str) -> str:
    """An encoder's spec for a command within double quotes; where it holds what a shell acts on, a word in its
    place.
    """
    return spec if re.fullmatch(r"[\w:./@+,= -]+", spec) else "ENCODER"


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """A table of what is known, a line each."""
    return table(["", ""], rows)


def citation(method: str | None = None) -> str:
    """The papers to cite, those of an aligner's method among them."""
    numbers = [*ALWAYS, *filter(None, [OF_METHOD.get(method or "")])]
    return "## Citation\n\n" + "\n".join(f"- {_PAPERS[number]}" for number in numbers) + "\n"
