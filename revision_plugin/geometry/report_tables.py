"""The words and the tables of a report on a `Geometry`, for markdown and for the page."""

from __future__ import annotations

from collections.abc import Iterator

from .measured import SOURCE, TARGET, Geometry
from .sweep import STATEMENTS, verdict

RAW = "source (raw)"
SWEPT = "No paper gives the energy of U. A random direction is as far from a fixed one as its column says."
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


def about(geometry: Geometry) -> str:
    """What was compared, on which rows, with which settings."""
    s = geometry.settings
    pairing = "paired by id" if s["pairs"] else "unpaired"
    exact = (
        "all rows"
        if max(s["source_rows"], s["target_rows"]) <= s["sample_rows"]
        else f"{s['sample_rows']} random rows a store"
    )
    view = f"view `{s['view']}`, " if "view" in s else ""
    return (
        f"Source: `{s['source']}` ({s['source_rows']} rows). Target: `{s['target']}` ({s['target_rows']} rows). "
        f"Encoder `{s['encoder']}`, {s['dim']} dimensions, {view}{pairing}, seed {s['seed']}. Means and covariances "
        f"over all rows; neighbours, densities and Tyler's estimator on {exact}. Frame U: "
        f"{s.get('frame_rank', 'none')} dimensions with {s['energy']:.0%} of the variance of both. Aligners map as "
        "they do in training, C3 with its noise."
    )


def cloud_tables(geometry: Geometry) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of each table of clouds: a row a metric, a column a cloud."""
    clouds = [TARGET, *geometry.methods]
    for title, labels in LABELS.items():
        shown = clouds if title == "Each cloud" else clouds[1:]
        cells = ([label, *(geometry.cell(cloud, metric) for cloud in shown)] for metric, label in labels.items())
        rows = [line for line in cells if any(line[1:])]
        if rows:
            yield title, ["", *(RAW if name == SOURCE else name for name in shown)], rows


def sweep_table(geometry: Geometry) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the raw pairs in frames of several energies."""
    sweep = geometry.sweep
    rows = [[energy, *(sweep.cell(energy, metric) for metric in SWEEP_COLUMNS)] for energy in sweep.metrics]
    return ["energy of U", *SWEEP_COLUMNS.values()], rows


def statement_table(geometry: Geometry) -> tuple[list[str], list[list[str]]]:
    """Head and rows of what these frames say together."""
    return ["statement", "over these energies"], [[each.words, verdict(geometry.sweep, each)] for each in STATEMENTS]


def all_skipped(geometry: Geometry) -> list[tuple[str, dict[str, str]]]:
    """Why numbers are missing: (cloud or energy, reason by metric)."""
    return [*geometry.skipped.items(), *((f"energy {name}", each) for name, each in geometry.sweep.skipped.items())]
