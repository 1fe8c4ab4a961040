"""Writes a `Geometry` as metrics.json, metrics.csv, report.html, and report.md with its pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from .._common.files import write_json, write_text
from .._common.folders import new_folder
from .._common.markdown import table
from .geometry_page import geometry_page
from .measured import SOURCE, TARGET, Geometry, not_measured
from .plots import plot_all
from .points import Points
from .report_tables import SWEPT, about, all_skipped, cloud_tables, statement_table, sweep_table
from .sweep import STATEMENTS, verdict
from .sweep_plot import plot_sweep


def write_report(
    geometry: Geometry, out: Path, points: Points | None = None, facts: Mapping[str, str] | None = None
) -> Path:
    """Write the folder `out`, whole or not at all, and return the path of report.md.

    report.html shows `points` under the pointer, and `facts` of the run, such as its command.
    """
    with new_folder(out) as folder:
        pictures = plot_all(geometry, folder)
        if geometry.sweep.metrics:
            pictures["Frames of several energies"] = plot_sweep(geometry.sweep, folder)
        write_json(
            folder / "metrics.json",
            {
                "settings": geometry.settings,
                "methods": geometry.methods,
                "metrics": geometry.metrics,
                "skipped": geometry.skipped,
                **({"sweep": _sweep_record(geometry)} if geometry.sweep.metrics else {}),
                "subspace_overlap": geometry.overlaps,
                "spectra": {cloud: values.tolist() for cloud, values in geometry.spectra.items()},
                "residual_energy": {cloud: values.tolist() for cloud, values in geometry.residual_energy.items()},
            },
        )
        with open(folder / "metrics.csv", "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["cloud", "method", "metric", "value", "skipped"])
            for cloud, metric, value, reason in _entries(geometry):
                rows.writerow([cloud, geometry.methods.get(cloud, ""), metric, value, reason])
        write_text(folder / "report.md", _markdown(geometry, pictures))
        geometry_page(geometry, points or Points(), facts or {}).write(folder / "report.html")
    return out / "report.md"


def _entries(geometry: Geometry):
    for cloud in [TARGET, *geometry.methods]:
        for metric, value in geometry.metrics.get(cloud, {}).items():
            yield cloud, metric, repr(value), ""
        for metric, reason in geometry.skipped.get(cloud, {}).items():
            yield cloud, metric, "", reason
    for energy, metrics in geometry.sweep.metrics.items():
        for metric, value in metrics.items():
            yield SOURCE, f"{metric}@{energy}", repr(value), ""
        for metric, reason in geometry.sweep.skipped.get(energy, {}).items():
            yield SOURCE, f"{metric}@{energy}", "", reason


def _sweep_record(geometry: Geometry) -> dict:
    """The sweep for metrics.json: a list by energy, and what follows from all of them."""
    sweep = geometry.sweep
    frames = [
        {"energy": float(energy), **metrics, "skipped": sweep.skipped.get(energy, {})}
        for energy, metrics in sweep.metrics.items()
    ]
    return {"frames": frames, "statements": {each.words: verdict(sweep, each) for each in STATEMENTS}}


def _markdown(geometry: Geometry, pictures: dict[str, str]) -> str:
    parts = ["# Geometry of the modality gap", about(geometry)]
    for title, head, rows in cloud_tables(geometry):
        parts += [f"## {title}", table(head, rows)]
    if geometry.sweep.metrics:
        parts += ["## The raw pairs in frames of several energies", SWEPT]
        parts += [table(*sweep_table(geometry)), table(*statement_table(geometry))]
    parts += not_measured(all_skipped(geometry))
    parts += [f"## {title}\n\n![{title}]({name})" for title, name in pictures.items()]
    return "\n\n".join(parts) + "\n"
