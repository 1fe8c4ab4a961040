"""The aligner contract: fitted on unpaired rows, maps source embeddings into the target distribution."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np
import torch
from safetensors.numpy import save

from .._common.devices import choose_device
from .._common.files import hash_json, write_json
from .._common.folders import new_folder
from .._common.validation import check_options, option
from ..embeddings.item_views import require_same_view
from ..embeddings.maps import IsotropicMap, LinearMap
from ..embeddings.moments import Moments, stream_moments
from ..embeddings.rows import Rows, as_rows, float_array
from ..embeddings.store import Store
from ..embeddings.verification import verified
from ..encoders import Identity, require_same
from ..errors import RevisionError
from ..registry import Registry
from .fit_report import MATCHED, CorpusReport, FitReport
from .fitting import Fit, common_encoder, require_role

ALIGNERS: Registry[type[Aligner]] = Registry("aligner")
WEIGHTS, RECORD = "aligner.safetensors", "aligner.json"
FORMAT_VERSION = 1
Array = TypeVar("Array", np.ndarray, torch.Tensor)
Self = TypeVar("Self", bound="Aligner")


def unit(x: torch.Tensor) -> torch.Tensor:
    """Rows of `x` [N, D] scaled to unit norm (the `n(z)` of the papers)."""
    return x / x.norm(dim=-1, keepdim=True)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(option,))
class Aligner(ABC):
    """A map e_y [N, D] -> [N, D] on the unit sphere, computed in float32 or better on any device.

    A subclass is a dataclass of its options, each declared with `option`: they are the keywords of its constructor,
    checked there by type and range. It registers under its `method`, computes float64 `parameters` in `compute` and
    maps in `align`. `get_params`, `set_params`, `repr` and `sklearn.base.clone` work as on scikit-learn's estimators.

        aligner = ReAlign(centroid_rounds=1).fit("texts", "images")
        aligned = aligner.transform(embeddings)

    After `fit`: `dim` (D), `parameters` (name -> float64 array) and `report` (a `FitReport`).
    """

    method: ClassVar[str]
    needs_target_rows: ClassVar[bool] = False  # whether `compute` reads the target beyond its mean and trace
    noise_in_training: ClassVar[bool] = False  # whether `training=True` gives other embeddings
    uses_statistics: ClassVar[bool] = True  # whether another source corpus would give another map
    final_shifts: ClassVar[Any] = None  # [k, d], of step 3: what it moves projected rows by; None without that step

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        dataclass(kw_only=True, eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        self._check()
        self._forget()

    def _check(self) -> None:
        check_options(self, f"aligner '{self.method}'")

    def _forget(self) -> None:
        self.dim = 0  # not fitted
        self.parameters: dict[str, np.ndarray] = {}
        self._report: FitReport | None = None
        self.path: Path | None = None  # where it was loaded from or saved to
        self._placed: dict[tuple[torch.device, torch.dtype], dict[str, torch.Tensor]] = {}

    # options

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]

    def __repr__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(changed)})"

    def set_params(self: Self, **options: Any) -> Self:
        """Change options; a fit is forgotten. Raises RevisionError for an unknown one or an unusable value."""
        self._copy(**{**self.get_params(), **options})  # which checks
        for name, value in options.items():
            setattr(self, name, value)
        self._forget()
        return self

    @classmethod
    def saved_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a saved aligner as the constructor takes them now, where a method dropped or added some."""
        return options

    def _copy(self: Self, **options: Any) -> Self:
        return create(type(self), options or self.get_params())

    # fitting

    def fit(
        self: Self,
        source: Any,
        target: Any,
        *,
        encoder: Identity | str | None = None,
        seed: int = 0,
        held_out: float = 0.1,
        device: torch.device | str | None = None,
    ) -> Self:
        """Fit on unpaired rows of texts and images, and return self.

        `source` and `target` are each a store, the path of one, or an array or tensor [N, D] of raw or unit-norm
        embeddings. Arrays name no encoder: give `encoder`, a spec or an identity, to use the aligner in training.
        Statistics are float64. `device` is where they are computed; by default the GPU that is there.

        The aligner is fitted on all rows. The share `held_out` of both corpora serves the report alone: a second
        aligner is fitted on the other rows, and its centroid gap measured on these. 0 leaves that out.
        Raises RevisionError for rows of different encoders or dimensions, unusable rows, too few rows, or the same
        store twice.
        """
        rows, targets = as_rows(source), as_rows(target)
        identity = common_encoder(rows, targets, encoder)
        place = choose_device(device)
        with verified(rows, targets):
            moments = stream_moments(targets, covariance=self.reads_covariances, device=place)
            task = Fit(self, targets, moments, CorpusReport.of(targets, moments), identity, seed, held_out, place)
            fitted = task.run(rows)
        self._forget()
        self.dim, self.parameters, self._report = fitted.dim, fitted.parameters, fitted._report
        return self

    def refit_source(
        self: Self, source: Any, *, seed: int = 0, held_out: float = 0.1, device: torch.device | str | None = None
    ) -> Self:
        """A new aligner of the same method and options, fitted on another source and this one's target statistics.

        For a text domain without images of its own. Raises RevisionError where the method needs the target's rows.
        """
        rows, report = as_rows(source), self.report
        if self.needs_target_rows:
            raise RevisionError(
                f"'{self.method}' needs the target's rows, not only its mean and trace; fit it again with both stores"
            )
        if MATCHED in report.details:
            raise RevisionError("it was fitted on the rows that the encoder matches; fit it again with both stores")
        require_role("source", rows)
        if rows.dim != self.dim:
            raise RevisionError(f"the source has {rows.dim} dimensions, the aligner {self.dim}")
        if isinstance(rows, Store):
            self.check_encoder(rows.encoder, str(rows.path))
            require_same_view(str(rows.path), rows.view, "the aligner", report.target.view)
        moments = Moments(report.target.count, self.parameters["target_mean"] * report.target.count)
        task = Fit(self, None, moments, report.target, report.encoder, seed, held_out, choose_device(device))
        with verified(rows):
            return task.run(rows)

    def with_parameters(self: Self, dim: int, parameters: dict[str, Any]) -> Self:
        """A copy with these parameters: the map so far, while `compute` is still measuring."""
        copy = self._copy()
        copy.dim = dim
        copy.parameters = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
        return copy

    @abstractmethod
    def compute(
        self,
        source: Rows,
        source_moments: Moments,
        target: Rows | None,
        target_moments: Moments,
        *,
        seed: int,
        device: torch.device,
    ) -> dict[str, Any]:
        """The map's float64 parameters; `target` is None where a method does not need its rows."""

    @property
    def reads_covariances(self) -> bool:
        """Whether `compute` is given moments with covariances, which come of the pass that the means come of."""
        return False

    @property
    def report(self) -> FitReport:
        """What the fit did. Raises RevisionError before it."""
        if self._report is None:
            raise RevisionError(f"{type(self).__name__} is not fitted; call fit(source, target) first")
        return self._report

    @property
    def details(self) -> dict[str, Any]:
        """What a method adds to the report, such as bounds of its correction."""
        return {}

    def remarks(self) -> list[str]:
        """What a user should know of the fit, a line each; `fit` logs them as warnings."""
        return []

    def summary(self) -> str:
        """What the fit did, in one line."""
        return f"{self.method} {self.report}"

    # mapping

    @abstractmethod
    def align(self, x: torch.Tensor, parameters: dict[str, torch.Tensor], *, training: bool = False) -> torch.Tensor:
        """Map unit-norm rows `x` [N, D]; `parameters` are tensors of x's dtype and device."""

    def isotropic(self) -> IsotropicMap | None:
        """This map as an `IsotropicMap`, where it is one: its statistics then stream without mapped rows."""
        return None

    def linear_map(self) -> LinearMap | None:
        """This map as a `LinearMap`, where it is one."""
        return None

    @property
    def mapping(self) -> IsotropicMap | LinearMap | Aligner:
        """What `stream_moments` takes as this aligner's transform."""
        return self.isotropic() or self.linear_map() or self

    def transform(self, x: Array, *, training: bool = False) -> Array:
        """Align embeddings [N, D], raw or unit-norm, of any float dtype.

        Gives back what it got, a numpy array or a torch tensor on the same device: unit-norm rows [N, D], in float64
        for float64 input, else in float32. `x` is never changed. `training` turns on what a method does only then (C3's
        noise). Raises RevisionError before `fit`, for another shape, and for rows that are zero or not finite.
        """
        if isinstance(x, torch.Tensor):
            return self._checked(x, training)
        array = float_array(x)
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
        return self._checked(tensor, training).numpy()

    def _checked(self, x: torch.Tensor, training: bool) -> torch.Tensor:
        if not x.is_floating_point():
            raise RevisionError(f"embeddings must be floats, not {x.dtype}")
        aligned = self(x, training=training)
        usable = aligned.isfinite().all(1)
        if not usable.all():
            raise RevisionError(
                f"embedding row {int((~usable).int().argmax())} is zero or not finite; it has no direction"
            )
        return aligned

    def __call__(self, x: torch.Tensor, *, training: bool = False) -> torch.Tensor:
        """`transform` of a tensor without its check of every row, for the tower."""
        if not self.dim:
            raise RevisionError(f"{type(self).__name__} is not fitted; call fit(source, target) first")
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise RevisionError(
                f"this aligner maps [N, {self.dim}], got {list(x.shape)}; use the encoder it was fitted for"
            )
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        with torch.autocast(x.device.type, enabled=False):
            return self.align(unit(x.to(dtype)), self._parameters_on(x.device, dtype), training=training)

    def _parameters_on(self, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        if (device, dtype) not in self._placed:
            placed = {name: torch.from_numpy(value).to(device, dtype) for name, value in self.parameters.items()}
            self._placed[device, dtype] = placed
        return self._placed[device, dtype]

    # identity and files

    def check_encoder(self, encoder: Identity, where: str) -> None:
        """Raise RevisionError unless `encoder` is the one this aligner was fitted for."""
        if self.report.encoder is None:
            raise RevisionError(
                f"{where}: the aligner was fitted on arrays, which name no encoder; fit it on stores, "
                f"or name theirs: fit(..., encoder='{encoder.spec}')"
            )
        problem = f"{where}: the aligner was fitted for another encoder"
        require_same(self.report.encoder, encoder, problem, "fit it again with this one")

    def _weights(self) -> bytes:
        return save({name: np.ascontiguousarray(value) for name, value in self.parameters.items()})

    @property
    def identity(self) -> dict[str, Any]:
        """What names this aligner elsewhere: its method, options and the hash of its parameters."""
        options, digest = self.get_params(), hashlib.sha256(self._weights())
        return {"method": self.method, "options": options, "hash": digest.hexdigest()}

    def save(self, out: str | Path) -> None:
        """Write the folder `out` (safetensors and JSON), whole or not at all. Raises RevisionError where it exists."""
        record = {
            "kind": "aligner",
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "dim": self.dim,
            "options": self.get_params(),
            **self.report.to_json(),
        }
        weights = self._weights()
        with new_folder(Path(out)) as folder:
            (folder / WEIGHTS).write_bytes(weights)
            record["parameters_hash"] = hashlib.sha256(weights).hexdigest()
            write_json(folder / RECORD, {**record, "record_hash": hash_json(record)})
        self.path = Path(out)


def create(aligner_class: type[Self], options: dict[str, Any]) -> Self:
    """An aligner with these options. Raises RevisionError for an unknown one or an unusable value."""
    option_names = [each.name for each in fields(aligner_class)]  # type: ignore[arg-type]
    unknown = sorted(set(options) - set(option_names))
    if unknown:
        raise RevisionError(
            f"aligner '{aligner_class.method}' has no option '{unknown[0]}'; its options: "
            f"{', '.join(option_names) or 'none'}"
        )
    return aligner_class(**options)
