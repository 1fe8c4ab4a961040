"""Encoders: one file a library, each registered by an entry point (setup.py) and imported when its scheme is asked for.

This door is lazy, too: most of the package needs only an encoder's `Identity`, and no model library for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .identity import Identity, require_same

if TYPE_CHECKING:
    from .base import ENCODERS, Encoder, ImageProcessor, Scheme, Tokens, load_encoder
    from .remote_code import allow_remote_code

__all__ = [
    "ENCODERS",
    "Encoder",
    "Identity",
    "ImageProcessor",
    "Scheme",
    "Tokens",
    "allow_remote_code",
    "load_encoder",
    "require_same",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(".remote_code" if name == "allow_remote_code" else ".base", __name__), name)
