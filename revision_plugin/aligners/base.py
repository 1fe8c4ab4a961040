"""The aligner contract: fitted on unpaired rows, maps source embeddings into the target distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from .._common.files import hash_file, new_folder, read_json, write_json
from ..embeddings.moments import IsotropicMap, Moments, stream_moments
from ..embeddings.rows import EveryNth, Rows, as_rows
from ..errors import RevisionError
from ..registry import Registry

ALIGNERS: Registry[type[Aligner]] = Registry("aligner")
WEIGHTS, RECORD = "aligner.safetensors", "aligner.json"
FORMAT_VERSION = 1
MINIMUM_ROWS = 2


def unit(x):
    """Rows of `x` [N, D] scaled to unit norm (the `n(z)` of the papers)."""
    return x / x.norm(dim=-1, keepdim=True)


def dominant_directions(covariance: np.ndarray, energy: float) -> tuple[np.ndarray, int]:
    """Eigenvectors [d, d] by falling eigenvalue, and how many of the first hold the share `energy` of the trace."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].clip(0), np.ascontiguousarray(vectors[:, ::-1])
    return vectors, int(np.searchsorted(np.cumsum(values) / values.sum(), energy)) + 1


class Aligner(ABC):
    """A fitted map e_y [N, D] -> [N, D] on the unit sphere, computed in float32 or better on any device.

    Subclasses register a `method`, compute their float64 `parameters` in `compute` and map in `align`.
    """

    method: ClassVar[str]
    needs_target_rows: ClassVar[bool] = False  # whether `compute` reads the target beyond its mean and trace
    noise_in_training: ClassVar[bool] = False  # whether `training=True` gives other embeddings
    uses_statistics: ClassVar[bool] = True  # whether another source corpus would give another map

    def __init__(self, dim: int, parameters: dict[str, np.ndarray], options: dict, record: dict | None = None):
        self.dim = dim
        self.parameters = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
        self.options = options
        self.record = record or {}
        self.path: Path | None = None  # where it was loaded from
        self._placed: dict = {}

    @classmethod
    def fit(cls, source, target, *, seed: int = 0, held_out: float = 0.1, device="cpu", **options) -> Aligner:
        """Fit on unpaired rows: stores, or arrays [N, D] and [M, D] of raw or unit-norm embeddings.

        The aligner is fitted on all rows. The share `held_out` of both corpora serves the report alone: a second
        aligner is fitted on the other rows, and its centroid gap measured on these. 0 leaves that out.
        Raises RevisionError for rows of different encoders or dimensions, unusable rows, too few rows, the same
        store twice, or an unknown option.
        """
        source, target = as_rows(source), as_rows(target)
        _check_pair(source, target)
        target_moments = stream_moments(target, device=device)
        return cls._fit(source, target, target_moments, _describe(target, target_moments), seed, held_out, device,
                        cls.complete(options))  # fmt: skip

    def refit_source(self, source, *, seed: int = 0, held_out: float = 0.1, device="cpu") -> Aligner:
        """The same method and options fitted on another source corpus, with the target statistics this one has.

        For a text domain without images of its own. Raises RevisionError where the method needs the target's rows.
        """
        source = as_rows(source)
        if self.needs_target_rows:
            raise RevisionError(
                f"'{self.method}' needs the target's rows, not only its mean and trace; fit it again with both stores"
            )
        _check_count("source", source)
        if source.dim != self.dim:
            raise RevisionError(f"the source has {source.dim} dimensions, the aligner {self.dim}")
        if hasattr(source, "encoder"):
            self.check_encoder(source.encoder, str(source.path))
        about = self.record["target"]
        moments = Moments(about["count"], self.parameters["target_mean"] * about["count"])
        return self._fit(source, None, moments, about, seed, held_out, device, self.options)

    @classmethod
    def _fit(cls, source, target, target_moments, about_target, seed, held_out, device, options) -> Aligner:
        if not 0 <= held_out <= 0.5:
            raise RevisionError(f"the held-out share must be between 0 and 0.5, not {held_out}")
        source_moments = stream_moments(source, device=device)
        aligner = cls._fit_rows(source, source_moments, target, target_moments, seed, device, options)
        aligned = stream_moments(source, transform=aligner.mapping, device=device)
        held = cls._held_out(source, source_moments, target, target_moments, seed, held_out, device, options)
        aligner.record = {
            "seed": seed,
            "encoder": getattr(source, "encoder", None),
            "source": _describe(source, source_moments),
            "target": about_target,
            "centroid_gap_before": float(np.linalg.norm(source_moments.mean - target_moments.mean)),
            "centroid_gap": float(np.linalg.norm(aligned.mean - target_moments.mean)),
            "held_out": held,
            "aligned_trace": aligned.trace,
            **aligner.details,
        }
        return aligner

    @classmethod
    def _fit_rows(cls, source, source_moments, target, target_moments, seed, device, options) -> Aligner:
        parameters = cls.compute(source, source_moments, target, target_moments, seed=seed, device=device, **options)
        means = {"source_mean": source_moments.mean, "target_mean": target_moments.mean}
        return cls(source.dim, {**means, **parameters}, options)

    @classmethod
    def _held_out(cls, source, source_moments, target, target_moments, seed, share, device, options) -> dict | None:
        """The centroid gap on rows that a fit has not seen; None where that was not asked for or has too few rows."""
        period = round(1 / share) if share else 0
        corpora = [rows for rows in (source, target) if rows is not None]
        if not period or min(len(rows) for rows in corpora) < MINIMUM_ROWS * period:
            return None
        fitted, unseen = ([EveryNth(rows, period, chosen=chosen) for rows in corpora] for chosen in (False, True))
        own = source_moments.minus(stream_moments(unseen[0], device=device))
        if target is None:
            fitted.append(None)
            others = seen = target_moments
        else:
            others = stream_moments(unseen[1], device=device)
            seen = target_moments.minus(others)
        aligner = cls._fit_rows(fitted[0], own, fitted[1], seen, seed, device, options)
        aligned = stream_moments(unseen[0], transform=aligner.mapping, device=device)
        return {
            "source_rows": len(unseen[0]),
            "target_rows": others.count,
            "centroid_gap": float(np.linalg.norm(aligned.mean - others.mean)),
            "trace": aligned.trace,
            "target_trace": others.trace,
        }

    @classmethod
    def complete(cls, options: dict) -> dict:
        """`options` with the defaults of those not given. Raises RevisionError for an unknown one."""
        unknown = sorted(set(options) - set(cls.default_options()))
        if unknown:
            known = ", ".join(cls.default_options()) or "none"
            raise RevisionError(f"aligner '{cls.method}' has no option '{unknown[0]}'; its options: {known}")
        return {**cls.default_options(), **options}

    @classmethod
    def default_options(cls) -> dict:
        """Names and defaults of this method's options."""
        return {}

    @classmethod
    @abstractmethod
    def compute(cls, source: Rows, source_moments: Moments, target: Rows | None, target_moments: Moments, *, seed: int,
                device, **options) -> dict[str, np.ndarray]:  # fmt: skip
        """The map's float64 parameters; `target` is None where a method does not need its rows."""

    @abstractmethod
    def align(self, x, parameters: dict, *, training: bool = False):
        """Map unit-norm rows `x` [N, D]; `parameters` are tensors of x's dtype and device."""

    def isotropic(self) -> IsotropicMap | None:
        """This map as an `IsotropicMap`, where it is one: its statistics then stream without mapped rows."""
        return None

    @property
    def mapping(self):
        """What `stream_moments` takes as this aligner's transform."""
        return self.isotropic() or self

    def __call__(self, x, *, training: bool = False):
        """Align a tensor [N, D] of any float dtype; returns unit-norm rows in float64 for float64 input, else float32.

        `x` is never changed. `training` turns on what a method does only then (C3's noise). Raises RevisionError for another dimension.
        """
        import torch

        if x.ndim != 2 or x.shape[1] != self.dim:
            raise RevisionError(
                f"this aligner maps [N, {self.dim}], got {list(x.shape)}; use the encoder it was fitted for"
            )
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        with torch.autocast(x.device.type, enabled=False):
            return self.align(unit(x.to(dtype)), self._parameters_on(x.device, dtype), training=training)

    def align_array(self, block: np.ndarray) -> np.ndarray:
        """Align a numpy block [N, D] in float64."""
        import torch

        return self(torch.from_numpy(block.astype(np.float64))).numpy()

    def _parameters_on(self, device, dtype) -> dict:
        import torch

        if (device, dtype) not in self._placed:
            placed = {name: torch.from_numpy(value).to(device, dtype) for name, value in self.parameters.items()}
            self._placed[device, dtype] = placed
        return self._placed[device, dtype]

    @property
    def details(self) -> dict:
        """What a method adds to aligner.json, such as bounds of its correction."""
        return {}

    def summary(self) -> str:
        """What the fit did, in one line."""
        r, unseen = self.record, self.record["held_out"]
        after = f"{r['centroid_gap']:.4g}" + (f" (held out {unseen['centroid_gap']:.4g})" if unseen else "")
        return (
            f"{self.method} fitted on {r['source']['count']} source and {r['target']['count']} target rows; "
            f"centroid gap {r['centroid_gap_before']:.4g} -> {after}, "
            f"trace {r['source']['trace']:.4f} -> {r['aligned_trace']:.4f} (target {r['target']['trace']:.4f})"
        )

    def check_encoder(self, encoder: dict, where: str) -> None:
        """Raise RevisionError unless `encoder` is the one this aligner was fitted for."""
        own = self.record.get("encoder")
        if own and own["fingerprint"] != encoder["fingerprint"]:
            raise RevisionError(
                f"{where}: its encoder '{encoder['spec']}' ({encoder['fingerprint'][:12]}) is not the aligner's "
                f"'{own['spec']}' ({own['fingerprint'][:12]}); fit the aligner again with this encoder"
            )

    @property
    def identity(self) -> dict:
        """What names this aligner elsewhere: its method and the hash of its parameters."""
        return {"method": self.method, "options": self.options, "hash": self.record.get("parameters_hash")}

    def save(self, out: str | Path) -> None:
        """Write the folder `out` (safetensors and JSON), whole or not at all."""
        import torch
        from safetensors.torch import save_file

        with new_folder(Path(out)) as folder:
            tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in self.parameters.items()}
            save_file(tensors, folder / WEIGHTS)
            self.record["parameters_hash"] = hash_file(folder / WEIGHTS)
            write_json(
                folder / RECORD,
                {
                    "kind": "aligner",
                    "format_version": FORMAT_VERSION,
                    "method": self.method,
                    "dim": self.dim,
                    "options": self.options,
                    **self.record,
                },
            )


def _check_count(role: str, rows: Rows) -> None:
    if len(rows) < MINIMUM_ROWS:
        raise RevisionError(f"the {role} has {len(rows)} row(s); fitting needs at least {MINIMUM_ROWS}")


def _check_pair(source: Rows, target: Rows) -> None:
    _check_count("source", source)
    _check_count("target", target)
    if source.dim != target.dim:
        raise RevisionError(
            f"source and target differ in dimension: {source.dim} and {target.dim}; encode both with one encoder"
        )
    fingerprints = [getattr(rows, "encoder", {}).get("fingerprint") for rows in (source, target)]
    if None not in fingerprints and fingerprints[0] != fingerprints[1]:
        specs = [rows.encoder["spec"] for rows in (source, target)]
        raise RevisionError(
            f"source and target come from different encoders ('{specs[0]}' and '{specs[1]}'); encode both with one"
        )
    contents = [rows.manifest.content_hash if hasattr(rows, "manifest") else None for rows in (source, target)]
    if contents[0] is not None and contents[0] == contents[1]:
        raise RevisionError("source and target are the same embeddings; give the text store and the image store")


def _describe(rows: Rows, moments: Moments) -> dict:
    manifest = getattr(rows, "manifest", None)
    return {
        "count": moments.count,
        "content_hash": manifest.content_hash if manifest else None,
        "mean_norm": float(np.linalg.norm(moments.mean)),
        "trace": moments.trace,
    }


def load_aligner(path: str | Path) -> Aligner:
    """Open a saved aligner. Raises RevisionError for anything missing, cut, edited or of another version."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    if not (path / RECORD).is_file():
        raise RevisionError(f"{path}: no {RECORD}, so not an aligner; make one with 'revision fit'")
    record = read_json(path / RECORD)
    if record.get("kind") != "aligner" or record.get("format_version") != FORMAT_VERSION:
        raise RevisionError(f"{path / RECORD}: not an aligner of format version {FORMAT_VERSION}; fit it again")
    missing = sorted({"method", "dim", "options", "parameters_hash"} - set(record))
    if missing:
        raise RevisionError(f"{path / RECORD}: lacks {', '.join(missing)}; fit the aligner again")
    weights = path / WEIGHTS
    if not weights.is_file() or hash_file(weights) != record["parameters_hash"]:
        raise RevisionError(f"{weights}: missing, cut or edited; fit the aligner again")
    try:
        parameters = load_file(weights)
    except SafetensorError as error:
        raise RevisionError(f"{weights}: {error}; fit the aligner again") from None
    details = {k: v for k, v in record.items() if k not in ("kind", "format_version", "method", "dim", "options")}
    aligner = ALIGNERS.get(record["method"])(record["dim"], parameters, record["options"], details)
    aligner.path = path
    return aligner
