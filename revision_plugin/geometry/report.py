"""Writes a `Geometry` as metrics.json, metrics.csv and report.md with its pictures."""

from __future__ import annotations

import csv
from pathlib import Path

from .._common.files import write_json, write_text
from .._common.folders import new_folder
from .._common.markdown import table
from .measured import SOURCE, TARGET, Geometry, not_measured
from .plots import plot_all
from .sweep import STATEMENTS, verdict
from .sweep_plot import plot_sweep

LABELS = {
    "Each cloud": {
        "centroid_norm": "norm of the mean",
        "trace": "trace T",
        "effective_rank": "effective rank (exp of spectral entropy)",
        "effective_dimension": "effective dimension d_eff",
        "anisotropy": "largest over mean eigenvalue",
        "condition_number": "condition number",
        "power_law_exponent": "power-law exponent of the spectrum",
    },
    "Against the target, unpaired": {
        "centroid_gap": "centroid gap G_mu",
        "covariance_gap": "relative covariance gap G_Sigma",
        "log_spectrum_correlation": "correlation of log spectra C_lambda",
        "js_divergence": "JS divergence of pairwise cosines (nats)",
        "mixing_rate": "share of the other modality among 20 neighbours",
        "mixing_entropy_source": "mixing entropy at the source rows, M_20^Z (1: as by chance)",
        "mixing_entropy_target": "mixing entropy at the target rows, M_20^X",
    },
    "What is kept of the source": {
        "source_cosine": "cosine to the raw source, Phi",
        "similarity_correlation": "correlation of pairwise similarities, Psi",
        "neighbourhood_overlap_10": "shared neighbours of 10",
        "neighbourhood_overlap_20": "shared neighbours of 20, Omega_20",
    },
    "Pairs": {
        "paired_cosine": "cosine of a text and its image",
        "PMB": "bias in U, squared (PMB)",
        "COB": "bias in V, squared (COB)",
        "residual_U": "residual variance in U",
        "residual_V": "residual variance in V",
        "residual_coverage_U": "share of the residual in U, eta_U",
        "energy_ratio": "squared distance left after matching centroids",
        "distance_ratio": "distance left after matching centroids",
        "residual_anisotropy": "residual: largest over mean eigenvalue, A_r",
        "residual_effective_dimension": "residual: effective dimension",
        "condition_U": "residual: condition number in U",
        "condition_V": "residual: condition number of Tyler's shape in V",
        "condition_V_isotropic": "the same of as many isotropic rows",
        "bias_angle": "angle of the bias in V to the noise's main direction (degrees)",
        "bias_angle_chance": "the same of a random direction, on average",
        "coupling_norm": "coupling of V to U, spectral norm of L",
        "coupling_R2": "coupling of V to U, R2",
    },
}

SWEEP_COLUMNS = {
    "rank": "rank of U",
    "PMB": "PMB",
    "COB": "COB",
    "COB_share": "COB's share of the squared bias",
    "residual_coverage_U": "eta_U",
    "condition_U": "kappa(U)",
    "condition_V": "kappa(V)",
    "condition_V_isotropic": "of isotropic rows",
    "bias_angle": "bias angle",
    "bias_angle_chance": "of a random direction",
    "coupling_R2": "coupling R2",
    "coupling_norm": "coupling norm",
}


def write_report(geometry: Geometry, out: Path) -> Path:
    """Write the folder `out`, whole or not at all, and return the path of report.md."""
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
    s = geometry.settings
    pairing = "paired by id" if s["pairs"] else "unpaired"
    exact = (
        "all rows"
        if max(s["source_rows"], s["target_rows"]) <= s["sample_rows"]
        else f"{s['sample_rows']} random rows a store"
    )
    view = f"view `{s['view']}`, " if "view" in s else ""
    parts = [
        "# Geometry of the modality gap",
        f"Source: `{s['source']}` ({s['source_rows']} rows). Target: `{s['target']}` ({s['target_rows']} rows). Encoder `{s['encoder']}`, "
        f"{s['dim']} dimensions, {view}{pairing}, seed {s['seed']}. Means and covariances over all rows; neighbours, densities and Tyler's "
        f"estimator on {exact}. Frame U: {s.get('frame_rank', 'none')} dimensions with {s['energy']:.0%} of the variance of both. "
        "Aligners map as they do in training, C3 with its noise.",
    ]
    clouds = [TARGET, *geometry.methods]
    for title, labels in LABELS.items():
        shown = clouds if title == "Each cloud" else clouds[1:]
        rows = []
        for metric, label in labels.items():
            cells = [geometry.cell(cloud, metric) for cloud in shown]
            if any(cells):
                rows.append([label, *cells])
        if rows:
            head = ["", *(name if name != SOURCE else "source (raw)" for name in shown)]
            parts += [f"## {title}", table(head, rows)]
    if geometry.sweep.metrics:
        parts += _sweep(geometry)
    at_energies = [(f"energy {energy}", metrics) for energy, metrics in geometry.sweep.skipped.items()]
    parts += not_measured([*geometry.skipped.items(), *at_energies])
    parts += [f"## {title}\n\n![{title}]({name})" for title, name in pictures.items()]
    return "\n\n".join(parts) + "\n"


def _sweep(geometry: Geometry) -> list[str]:
    """The raw pairs in frames of several energies, and what they say together."""
    sweep = geometry.sweep
    rows = [[energy, *(sweep.cell(energy, metric) for metric in SWEEP_COLUMNS)] for energy in sweep.metrics]
    statements = [[statement.words, verdict(sweep, statement)] for statement in STATEMENTS]
    return [
        "## The raw pairs in frames of several energies",
        "No paper gives the energy of U. A random direction is as far from a fixed one as its column says.",
        table(["energy of U", *SWEEP_COLUMNS.values()], rows),
        table(["statement", "over these energies"], statements),
    ]
