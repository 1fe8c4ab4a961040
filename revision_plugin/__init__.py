"""Text-only pretraining for LLaVA through modality-gap alignment (ReAlign, ReVision)."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aligners import (
        Aligner,
        AnisoAlign,
        BlockwiseCovariance,
        ConnectCollapseCorrupt,
        MeanShift,
        Monge,
        NoAlignment,
        ReAlign,
        load_aligner,
    )
    from .corpora.image_views import ImageViews
    from .corpora.text_views import TextViews
    from .embeddings.encode import encode_images, encode_texts
    from .embeddings.item_views import of_view
    from .embeddings.store import Store
    from .encoders import Encoder, load_encoder
    from .errors import RevisionError
    from .geometry.monitor import GapMonitor
    from .hosts.launch import install
    from .tower import PseudoVisionTower

try:
    __version__ = version("revision-plugin")
except PackageNotFoundError:
    raise ImportError(
        "revision_plugin is on the path but not installed; 'pip install --no-deps -e' its checkout"
    ) from None
__all__ = [
    "Aligner",
    "AnisoAlign",
    "BlockwiseCovariance",
    "ConnectCollapseCorrupt",
    "Encoder",
    "GapMonitor",
    "ImageViews",
    "MeanShift",
    "Monge",
    "NoAlignment",
    "PseudoVisionTower",
    "ReAlign",
    "RevisionError",
    "Store",
    "TextViews",
    "encode_images",
    "encode_texts",
    "install",
    "load_aligner",
    "load_encoder",
    "of_view",
]

# where each name lives; imported when it is first asked for, so that `import revision_plugin` is light
_MODULES = {
    **dict.fromkeys(
        [
            "Aligner",
            "AnisoAlign",
            "BlockwiseCovariance",
            "ConnectCollapseCorrupt",
            "MeanShift",
            "Monge",
            "NoAlignment",
            "ReAlign",
        ],
        "aligners",
    ),
    "Encoder": "encoders",
    "GapMonitor": "geometry.monitor",
    "ImageViews": "corpora.image_views",
    "PseudoVisionTower": "tower",
    "RevisionError": "errors",
    "Store": "embeddings.store",
    "TextViews": "corpora.text_views",
    "encode_images": "embeddings.encode",
    "encode_texts": "embeddings.encode",
    "install": "hosts.launch",
    "load_aligner": "aligners",
    "load_encoder": "encoders",
    "of_view": "embeddings.item_views",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
