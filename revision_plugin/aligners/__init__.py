"""Aligners: one file a method. A new one is a file and an import line here, or an entry point of another package."""

from .aniso import AnisoAlign
from .base import ALIGNERS, Aligner, create, option, unit
from .bc import BlockwiseCovariance
from .c3 import ConnectCollapseCorrupt
from .fit_report import FitReport
from .mean_shift import MeanShift
from .monge import Monge
from .none import NoAlignment
from .realign import ReAlign
from .saved import load_aligner

__all__ = [
    "ALIGNERS",
    "Aligner",
    "AnisoAlign",
    "BlockwiseCovariance",
    "ConnectCollapseCorrupt",
    "FitReport",
    "MeanShift",
    "Monge",
    "NoAlignment",
    "ReAlign",
    "create",
    "load_aligner",
    "option",
    "unit",
]
