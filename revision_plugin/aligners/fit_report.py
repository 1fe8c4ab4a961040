"""What a fit did: the statistics it read, and the gap before and after."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field

import numpy as np

from .._common.files import is_count
from .._common.validation import is_number
from ..embeddings.moments import Moments
from ..embeddings.rows import Rows
from ..encoders.identity import Identity
from ..errors import RevisionError

MATCHED = "matched"  # what `details` call the rows that a fit on matches chose from
HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CorpusReport:
    """One modality's rows: how many, the content hash of their store or corpus, the norm of their mean, their trace;
    where their store holds several views of an item, which kind of view they are and its spec.
    """

    count: int
    content_hash: str | None
    mean_norm: float
    trace: float
    view: str | None = None
    views: str | None = None

    @property
    def is_sound(self) -> bool:
        """Whether its values, read from a file, are such as a fit writes."""
        numbers = is_count(self.count) and self.count and is_number(self.mean_norm) and is_number(self.trace)
        known = self.content_hash is None or isinstance(self.content_hash, str) and HASH.fullmatch(self.content_hash)
        return bool(numbers and known and all(isinstance(each, (str, type(None))) for each in (self.view, self.views)))

    @classmethod
    def of(cls, rows: Rows, moments: Moments) -> CorpusReport:
        manifest = getattr(rows, "manifest", None)
        content = manifest.content_hash if manifest else getattr(rows, "content_hash", None)
        views = manifest.views if manifest else getattr(rows, "views", None)
        view = getattr(rows, "view", None)
        return cls(moments.count, content, float(np.linalg.norm(moments.mean)), moments.trace, view, views)


@dataclass(frozen=True)
class HeldOutReport:
    """The same aligner fitted without these rows, and measured on them."""

    source_rows: int
    target_rows: int
    centroid_gap: float
    trace: float
    target_trace: float


@dataclass(frozen=True)
class SamplingReport:
    """What drawing rows leaves open: from how many they were drawn, and standard errors of what was estimated from them
    (`sampled_fit` derives them). `centroid_error` is the expected distance (root mean square) between the sample's
    difference of means and the corpora's, which is what a fit on the sample leaves of the gap on all rows.
    """

    source_rows: int
    target_rows: int
    gap_error: float
    centroid_error: float
    source_trace_error: float
    target_trace_error: float

    @property
    def is_sound(self) -> bool:
        """Whether its values, read from a file, are such as a fit writes."""
        errors = self.gap_error, self.centroid_error, self.source_trace_error, self.target_trace_error
        return is_count(self.source_rows) and is_count(self.target_rows) and all(map(is_number, errors))


@dataclass(frozen=True)
class FitReport:
    """The result of a fit. Gaps are norms between centroids of unit-norm rows, traces E||e - mu||^2, both in float64.

    `phantom_drift` is ||mu' - mu_x||, how far the projection leaves the texts' centroid from the images' before step 3
    moves it back (ReVision, eqs. (22) to (24)); None for methods without that step and in files of old. Methods that
    add noise in training (C3) are measured with it. `encoder` is None where the rows came as arrays and no encoder was
    named. `sampled` is of a fit on rows drawn from both. A fit on sums alone need not know the gap and the trace
    after alignment: they are None then. `details` is what a method adds.
    """

    seed: int
    encoder: Identity | None
    source: CorpusReport
    target: CorpusReport
    centroid_gap_before: float
    centroid_gap: float | None
    held_out: HeldOutReport | None
    aligned_trace: float | None
    phantom_drift: float | None = None
    sampled: SamplingReport | None = None
    details: dict = field(default_factory=dict)

    def to_json(self) -> dict:
        """Plain values, as aligner.json keeps them."""
        values = asdict(self)
        details = values.pop("details")
        for name in ("phantom_drift", "sampled"):
            if values[name] is None:
                del values[name]
        for corpus in (values["source"], values["target"]):
            for name in ("view", "views"):
                if corpus[name] is None:
                    del corpus[name]
        return {**values, "encoder": self.encoder.to_json() if self.encoder else None, **details}

    @classmethod
    def from_json(cls, value: dict, where: str) -> FitReport:
        """Read what `to_json` gave. Raises RevisionError, naming `where`, for anything else."""
        value = dict(value)
        try:
            encoder, held_out = value.pop("encoder"), value.pop("held_out")
            source, target = (CorpusReport(**value.pop(name)) for name in ("source", "target"))
            seed, before = value.pop("seed"), value.pop("centroid_gap_before")
            gap, trace = value.pop("centroid_gap"), value.pop("aligned_trace")
            drift = value.pop("phantom_drift", None)
            sampled = None if value.get("sampled") is None else SamplingReport(**value["sampled"])
            value.pop("sampled", None)
            numbers = [before, *(0 if each is None else each for each in (gap, trace, drift))]
            sound = source.is_sound and target.is_sound and (sampled is None or sampled.is_sound)
            if not is_count(seed) or not all(map(is_number, numbers)) or (gap is None) != (trace is None) or not sound:
                raise TypeError("a number in it is none")
            return cls(
                seed=seed,
                encoder=None if encoder is None else Identity.from_json(encoder, where),
                source=source,
                target=target,
                centroid_gap_before=before,
                centroid_gap=gap,
                held_out=None if held_out is None else HeldOutReport(**held_out),
                aligned_trace=trace,
                phantom_drift=drift,
                sampled=sampled,
                details=value,
            )
        except (KeyError, TypeError) as error:
            raise RevisionError(f"{where}: not the report of a fit ({error}); fit the aligner again") from None

    @property
    def scalars(self) -> dict[str, float]:
        """What trackers draw of it: gaps and traces, as far as they were measured."""
        values: dict[str, float | None] = {
            "centroid_gap_before": self.centroid_gap_before,
            "centroid_gap": self.centroid_gap,
            "source_trace": self.source.trace,
            "target_trace": self.target.trace,
            "aligned_trace": self.aligned_trace,
            "phantom_drift": self.phantom_drift,
        }
        if self.held_out is not None:
            values["held_out_centroid_gap"] = self.held_out.centroid_gap
            values["held_out_trace"] = self.held_out.trace
            values["held_out_target_trace"] = self.held_out.target_trace
        return {f"fit/{name}": float(value) for name, value in values.items() if value is not None}

    @property
    def gap_after(self) -> str:
        """The gap after alignment in words and digits."""
        return "not measured" if self.centroid_gap is None else f"{self.centroid_gap:.4g}"

    @property
    def trace_after(self) -> str:
        """The trace of the aligned rows in words and digits."""
        return "not measured" if self.aligned_trace is None else f"{self.aligned_trace:.4f}"

    def __str__(self) -> str:
        unseen = f" (held out {self.held_out.centroid_gap:.4g})" if self.held_out else ""
        drift = "" if self.phantom_drift is None else f"phantom drift before step 3 {self.phantom_drift:.4g}, "
        s = self.sampled
        of_all = "" if s is None else f", drawn from {s.source_rows} and {s.target_rows}"
        errors = (
            ""
            if s is None
            else f"; standard errors of the draw: gap before {s.gap_error:.2g}, traces {s.source_trace_error:.2g} and "
            f"{s.target_trace_error:.2g}; of all rows' gap about {s.centroid_error:.2g} stays"
        )
        return (
            f"fitted on {self.source.count} source and {self.target.count} target rows{of_all}; "
            f"centroid gap {self.centroid_gap_before:.4g} -> {self.gap_after}{unseen}, "
            f"{drift}trace {self.source.trace:.4f} -> {self.trace_after} (target {self.target.trace:.4f}){errors}"
        )
