"""The encoder spec `demo`: the shipped dual encoder of the embedded world. Registered by an entry point (setup.py)."""

from __future__ import annotations

from ..encoders import Encoder
from ..encoders.base import Scheme
from ..encoders.open_clip import OpenClipEncoder
from .world import ASSETS


def _load(spec: str, name: str) -> Encoder:
    return OpenClipEncoder(spec, str(ASSETS / "encoder"))


DEMO = Scheme(_load, needs_name=False)
