"""Imported by the process that trainings and evaluations are forked from: what each of them would load is loaded there
once, LLaVA with its hooks included. That is what the import is for, so it does what `Host.install` does.
"""

from __future__ import annotations

import contextlib

from ..hosts import find_host
from . import jobs  # noqa: F401

with contextlib.suppress(Exception):  # each task says itself what is wrong
    find_host().install()
