"""Fits on sums alone: an aligner from the moments of parts that were summed elsewhere.

A fit asks for moments of its source, pass by pass: of the rows themselves, then, for ReAlign's step 3, of the rows as
mapped so far (ReVision, eq. (23)), once a centroid round. Here it is given those that are known. Where it asks for one
more pass it stops, and what was summed and the map become a file, from which `revision moments --through` makes the
next pass and the next merge goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._common.array_file import read_array_file, record_hash, write_array_file
from .._common.files import is_count, require_types
from ..embeddings.item_views import require_same_view
from ..embeddings.maps import IsotropicMap, LinearMap
from ..embeddings.moments import Moments
from ..embeddings.partial_moments import (
    CorpusSums,
    PartialMoments,
    Pass,
    combine,
    content_hash,
    of_arrays,
    require_combinable,
    require_free_file,
    to_arrays,
)
from ..embeddings.rows import Rows
from ..encoders import Identity
from ..errors import RevisionError
from .base import ALIGNERS, Aligner, create
from .fit_report import CorpusReport
from .fitting import Fit, require_rows

KIND, FORMAT_VERSION = "pass", 1
REMEDY = "write it again with 'revision fit --merge'"
MAP = "map."  # before the names of a map's arrays in a file
TYPES = {
    "method": lambda value: isinstance(value, str),
    "options": lambda value: isinstance(value, dict),
    "seed": is_count,
    "measure": lambda value: isinstance(value, bool),
    "dim": lambda value: is_count(value) and value > 0,
    "covariance": lambda value: isinstance(value, bool),
    "passes": lambda value: is_count(value) and value > 0,
    "source": lambda value: _is_corpus(value),
    "target": lambda value: _is_corpus(value),
}


class PassNeeded(Exception):
    """A fit asks for moments of its source that nobody has summed: mapped by `mapping`, with `covariance` or not."""

    def __init__(self, mapping: Any, covariance: bool):
        super().__init__("a further pass over the source")
        self.mapping, self.covariance = mapping, covariance


class SummedRows:
    """Rows of which moments alone are known: `passes` in the order in which a fit asks for them.

    Without `measured` a fit does not ask for the moments of the aligned rows, which serve its report.
    """

    def __init__(self, corpus: CorpusSums, passes: Sequence[Moments], *, measured: bool = True):
        self.dim, self.content_hash = len(corpus.moments.total), corpus.content_hash
        self.view, self.views, self.measured = corpus.view, corpus.views, measured
        self._passes, self._asked = passes, 0

    def __len__(self) -> int:
        return self._passes[0].count

    def blocks(self, rows: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        raise RevisionError("this method reads rows, which sums do not keep; encode both corpora and fit on them")

    def known_moments(self, mapping: Any, covariance: bool) -> Moments:
        """The moments that a fit asks for. Raises PassNeeded where these are not among the passes."""
        if isinstance(mapping, IsotropicMap) and mapping.scale == 1 and not mapping.constants.any():
            return self._passes[0]  # the rows themselves
        if self._asked == len(self._passes):
            raise PassNeeded(mapping, covariance)
        self._asked += 1
        return self._passes[self._asked - 1]


@dataclass(frozen=True)
class PartialFit:
    """A fit that needs a further pass over the source: all that was summed, and the map of that pass.

    `source` and `target` are of the rows as they are, `passes` of the source as mapped, in order.
    """

    aligner: Aligner  # its method and options
    seed: int
    measure: bool
    source: CorpusSums
    target: CorpusSums
    passes: tuple[Moments, ...]
    mapping: IsotropicMap | LinearMap | None = None
    covariance: bool = False

    @property
    def next_pass(self) -> Pass:
        """What `sum_part` takes as `through`."""
        assert self.mapping is not None
        record, arrays = self._content()
        return Pass(self.mapping, self.covariance, record_hash(record, arrays))

    def _content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        record: dict[str, Any] = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "method": self.aligner.method,
            "options": self.aligner.get_params(),
            "seed": self.seed,
            "measure": self.measure,
            "encoder": None if self.source.encoder is None else self.source.encoder.to_json(),
            "dim": len(self.source.moments.total),
            "covariance": self.covariance,
            "passes": len(self.passes) + 1,
        }
        arrays: dict[str, np.ndarray] = {}
        for role, corpus in (("source", self.source), ("target", self.target)):
            record[role] = {
                "count": corpus.moments.count,
                "contents": corpus.contents,
                "view": corpus.view,
                "views": corpus.views,
            }
            arrays |= to_arrays(corpus.moments, f"{role}.")
        for number, moments in enumerate(self.passes):
            arrays |= to_arrays(moments, f"{number}.")
        values = {name: np.asarray(value, np.float64) for name, value in vars(self.mapping).items()}
        return record, {**arrays, **{f"{MAP}{name}": value for name, value in values.items()}}

    def require_source(self, rows: Rows, where: str) -> None:
        """Raise RevisionError, naming `where`, unless `rows` are a source of this fit: others would be mapped in
        vain.
        """
        dim = len(self.source.moments.total)
        if rows.dim != dim:
            raise RevisionError(f"{where}: has {rows.dim} dimensions, the map {dim}; give the source of the first pass")
        if content_hash(rows) not in self.source.contents:
            raise RevisionError(f"{where}: is no source that the map was fitted on; give the store of the first pass")
        require_same_view(where, getattr(rows, "view", None), "the map", self.source.view)

    def save(self, path: str | Path) -> None:
        """Write the file `path`, whole or not at all. Raises RevisionError where it exists or cannot be written."""
        require_free_file(Path(path))
        write_array_file(Path(path), *self._content())

    @classmethod
    def load(cls, path: str | Path) -> PartialFit:
        """Read what `save` wrote. Raises RevisionError for anything else."""
        return cls.of_record(Path(path), *read_array_file(Path(path), REMEDY))

    @classmethod
    def of_record(cls, path: Path, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> PartialFit:
        """A fit from its file's record and arrays. Raises RevisionError for those of something else."""
        if record.get("kind") != KIND or record.get("format_version") != FORMAT_VERSION:
            raise RevisionError(f"{path}: not the map of a further pass, format version {FORMAT_VERSION}; {REMEDY}")
        require_types(record, TYPES, str(path), REMEDY)
        dim, encoder = record["dim"], record.get("encoder")
        identity = None if encoder is None else Identity.from_json(encoder, str(path))
        source, target = (
            CorpusSums(
                of_arrays(record[role]["count"], dim, arrays, path, REMEDY, f"{role}."),
                identity,
                record[role]["contents"],
                record[role]["view"],
                record[role]["views"],
            )
            for role in ("source", "target")
        )
        passes = tuple(
            of_arrays(source.moments.count, dim, arrays, path, REMEDY, f"{number}.")
            for number in range(min(record["passes"], len(arrays)) - 1)
        )
        aligner = create(ALIGNERS.get(record["method"]), record["options"])
        mapping = _map_of(path, {name[len(MAP) :]: a for name, a in arrays.items() if name.startswith(MAP)}, dim)
        return cls(aligner, record["seed"], record["measure"], source, target, passes, mapping, record["covariance"])


def merge_fit(
    files: Sequence[str | Path],
    aligner: Aligner | None = None,
    *,
    seed: int = 0,
    measure: bool = False,
) -> Aligner | PartialFit:
    """Fit on the sums in `files`, which may come in any order: of both modalities as they are; or the file of a
    `PartialFit` and the source's sums through its map, and then method, options and seed are those of that fit.

    Returns the fitted aligner, or where its method needs a further pass over the source a `PartialFit`. The report's
    gap after alignment needs a pass, too: it is left out (None), unless `measure` asks for it. No rows are held out.
    Raises RevisionError for files that do not belong together, rows that are missing or given twice, and methods that
    read rows.
    """
    states, parts = read_sums(files)
    if len(states) > 1:
        raise RevisionError(f"{states[1][0]}: is the map of a further pass, and so is {states[0][0]}; give one of them")
    if states:
        if aligner is not None:
            raise RevisionError(f"{states[0][0]}: says method and options itself; leave out yours")
        fit = _with_pass(*states[0], parts)
    else:
        fit = _of_parts(parts, create(ALIGNERS.get("realign"), {}) if aligner is None else aligner, seed, measure)
    measured = fit.measure or not fit.aligner.uses_statistics  # whose map is the rows themselves
    source = SummedRows(fit.source, [fit.source.moments, *fit.passes], measured=measured)
    target = SummedRows(fit.target, [fit.target.moments])
    about, place = CorpusReport.of(target, fit.target.moments), torch.device("cpu")
    task = Fit(fit.aligner, target, fit.target.moments, about, fit.source.encoder, fit.seed, 0.0, place)
    try:
        return task.run(source)
    except PassNeeded as needed:
        if not isinstance(needed.mapping, (IsotropicMap, LinearMap)):
            raise RevisionError(
                f"'{fit.aligner.method}' maps rows in no form that a file holds; encode both corpora and fit on them"
            ) from None
        return replace(fit, mapping=needed.mapping, covariance=needed.covariance)


def read_sums(files: Sequence[str | Path]) -> tuple[list[tuple[Path, PartialFit]], list[PartialMoments]]:
    """The fits that wait for a pass, and the moments, that are in these files. Raises RevisionError for any other."""
    states, parts = [], []
    for name in files:
        path = Path(name)
        record, arrays = read_array_file(path, "give files that 'revision moments' and 'revision fit --merge' wrote")
        if record.get("kind") == KIND:
            states.append((path, PartialFit.of_record(path, record, arrays)))
        else:
            parts.append(PartialMoments.of_record(path, record, arrays))
    return states, parts


def _of_parts(parts: list[PartialMoments], aligner: Aligner, seed: int, measure: bool) -> PartialFit:
    mapped = [part for part in parts if part.through is not None]
    if mapped:
        raise RevisionError(f"{mapped[0]}: was summed through a map; give the file of that map with it")
    corpora = []
    for modality in ("text", "image"):
        chosen = [part for part in parts if part.modality == modality]
        if not chosen:
            raise RevisionError(f"no file holds moments of {modality}s; sum them with 'revision moments'")
        require_combinable(parts[0], chosen[0])
        corpora.append(combine(chosen, covariance=aligner.reads_covariances))
    for role, corpus in zip(("source", "target"), corpora):
        require_rows(role, corpus.moments.count)
    return PartialFit(aligner, seed, measure, corpora[0], corpora[1], ())


def _with_pass(path: Path, fit: PartialFit, parts: list[PartialMoments]) -> PartialFit:
    if not parts:
        raise RevisionError(f"{path}: is the map of a further pass; give the moments through it, too: {command(path)}")
    other = next((part for part in parts if part.through != fit.next_pass.hash), None)
    if other is not None:
        how = "without a map" if other.through is None else "through another map"
        raise RevisionError(f"{other}: was summed {how}, not through {path}; give the moments of that pass alone")
    corpus = combine(parts, covariance=fit.covariance)
    if corpus.contents != fit.source.contents or (corpus.view or "whole") != (fit.source.view or "whole"):
        raise RevisionError(f"{path}: these moments are not of all the rows that the map was fitted on; sum those")
    return replace(fit, passes=(*fit.passes, corpus.moments))


def command(path: Path | str) -> str:
    """The command that makes the pass of a `PartialFit`'s file."""
    return f"revision moments SOURCE --through {path} --out FILE"


def _is_corpus(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"count", "contents", "view", "views"}
        and is_count(value["count"])
        and value["count"] > 1
        and isinstance(value["contents"], dict)
        and bool(value["contents"])
        and all(is_count(each) for each in value["contents"].values())
        and all(isinstance(value[name], (str, type(None))) for name in ("view", "views"))
    )


def _map_of(path: Path, values: dict[str, np.ndarray], dim: int) -> IsotropicMap | LinearMap:
    shapes: dict[str, list[Any]] = {"offset": [dim], "shifts": [None, dim]}
    isotropic, linear = {**shapes, "scale": []}, {**shapes, "before": [dim], "linear": [dim, dim], "anchored": []}
    shapes = isotropic if "scale" in values else linear
    fits = values.keys() == shapes.keys() and all(
        value.dtype == np.float64
        and value.ndim == len(shapes[name])
        and all(expected in (None, size) for size, expected in zip(value.shape, shapes[name]))
        and np.isfinite(value).all()
        for name, value in values.items()
    )
    if not fits:
        raise RevisionError(f"{path}: holds no map of {dim} dimensions; {REMEDY}")
    if "scale" in values:
        return IsotropicMap(float(values["scale"]), values["offset"], values["shifts"])
    anchored = bool(values["anchored"])
    return LinearMap(values["before"], anchored, values["linear"], values["offset"], values["shifts"])
