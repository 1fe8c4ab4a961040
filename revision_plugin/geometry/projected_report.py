"""Writes a `ProjectedGeometry` as metrics.json, metrics.csv, report.html, and report.md with its picture."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from .._common.files import write_json, write_text
from .._common.folders import new_folder
from .._common.markdown import table
from .measured import Geometry, not_measured
from .projected import TOKENS, VISUAL, ProjectedGeometry
from .projected_page import projected_page
from .projected_plot import plot_projected
from .projected_tables import TERMS, skipped, summary, tables


def write_projected(geometry: ProjectedGeometry, out: Path, facts: Mapping[str, str] | None = None) -> Path:
    """Write the folder `out`, whole or not at all, and return the path of report.md. report.html has the `facts` of the
    run, such as its command.
    """
    with new_folder(out) as folder:
        picture = plot_projected(geometry.checkpoints, folder)
        checkpoints = [
            {
                **each.settings,
                "metrics": each.metrics,
                "skipped": each.skipped,
                "subspace_overlap": each.overlaps,
                "spectra": {cloud: values.tolist() for cloud, values in each.spectra.items()},
            }
            for each in geometry.checkpoints
        ]
        write_json(folder / "metrics.json", {"settings": geometry.settings, "checkpoints": checkpoints})
        with open(folder / "metrics.csv", "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["checkpoint", "training", "step", "cloud", "method", "metric", "value", "skipped"])
            rows.writerows(row for each in geometry.checkpoints for row in _entries(each))
        write_text(folder / "report.md", _markdown(geometry, picture))
        projected_page(geometry, facts or {}).write(folder / "report.html")
    return out / "report.md"


def _entries(one: Geometry) -> Iterator[list]:
    step = "" if one.settings["step"] is None else one.settings["step"]
    for cloud in (*VISUAL, TOKENS):
        place = [one.settings["name"], one.settings["training"], step, cloud, one.methods.get(cloud, "")]
        for metric, value in one.metrics.get(cloud, {}).items():
            yield [*place, metric, repr(value), ""]
        for q, value in one.overlaps.get(cloud, {}).items():
            yield [*place, f"subspace_overlap_{q}", repr(value), ""]
        for metric, reason in one.skipped.get(cloud, {}).items():
            yield [*place, metric, "", reason]


def _markdown(geometry: ProjectedGeometry, picture: str | None) -> str:
    checkpoints = geometry.checkpoints
    parts = ["# The gap inside the model", summary(geometry), TERMS]
    for title, head, body in tables(checkpoints):
        parts += [f"## {title}", table(head, body)]
    parts += not_measured(skipped(checkpoints), separator="; ")
    if picture:
        parts.append(f"## Over the steps\n\n![Over the steps]({picture})")
    return "\n\n".join(parts) + "\n"
