"""Writes a `ProjectedGeometry` as metrics.json, metrics.csv, report.html, and report.md with its picture."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .._common.files import write_json, write_text
from .._common.folders import new_folder
from .._common.markdown import table
from .measured import SOURCE, TARGET, Geometry, missing, not_measured, shown
from .projected import ALIGNED, TOKENS, VISUAL, ProjectedGeometry
from .projected_page import end_page, projected_page
from .projected_plot import plot_projected

NAMES = {TARGET: "images", ALIGNED: "aligned texts", SOURCE: "raw texts", TOKENS: "token embeddings"}
# title, the clouds that are its rows, its columns
TABLES = [
    (
        "Text-made against image-made visual tokens",
        (ALIGNED, SOURCE),
        {
            "gap_at_encoder": "relative centroid gap before the projector",
            "relative_centroid_gap": "relative centroid gap",
            "centroid_gap": "centroid gap",
            "centroid_cosine": "cosine of the centroids",
            "covariance_gap": "relative covariance gap",
            "js_divergence": "JS divergence of cosines (nats)",
            "mixing_rate": "images among 20 neighbours",
            "mixing_entropy_source": "mixing entropy at the texts",
            "mixing_entropy_target": "at the images",
            "norm_ratio": "norm, over the images'",
            "paired_cosine": "cosine of a pair",
        },
    ),
    (
        "Visual tokens against token embeddings",
        VISUAL,
        {
            "token_norm_ratio": "norm, over the tokens'",
            "token_distance": "distance of the centroids",
            "relative_token_distance": "relative distance",
            "token_centroid_cosine": "cosine of the centroids",
            "nearest_token_cosine": "cosine to the nearest token",
            "token_neighbours": "tokens among 20 neighbours",
            "token_neighbours_by_chance": "by chance",
        },
    ),
    (
        "Each cloud",
        (*VISUAL, TOKENS),
        {
            "norm_mean": "norm, mean",
            "norm_sd": "norm, sd",
            "centroid_norm": "norm of the centroid",
            "trace": "trace",
            "effective_rank": "effective rank",
            "effective_dimension": "effective dimension",
        },
    ),
]
TERMS = (
    "Visual tokens are not unit-norm. A relative distance of centroids is over the root of the images' trace (or, for "
    "tokens, of the token embeddings'), a relative covariance gap over the norm of the images' covariance, so neither "
    "depends on the scale of the projector's outputs. Cosines and neighbours see directions alone."
)


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
        about = _summary(geometry)
        page = projected_page(about, geometry.checkpoints)
        page.section("All numbers", TERMS)
        for title, head, body in _tables(geometry.checkpoints):
            page.table(head, body, caption=title)
        end_page(page, missing(_skipped(geometry.checkpoints)), facts or {})
        page.write(folder / "report.html")
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


def _summary(geometry: ProjectedGeometry) -> str:
    s = geometry.settings
    most = max(s["source_rows"], s["target_rows"])
    rows = "all rows" if most <= s["sample_rows"] else f"{s['sample_rows']} random rows a store, seed {s['seed']}"
    view = f"view `{s['view']}`, " if "view" in s else ""
    pairing = "paired by id" if s["pairs"] else "unpaired"
    return (
        f"Source: `{s['source']}` ({s['source_rows']} rows). Target: `{s['target']}` ({s['target_rows']} rows). "
        f"Encoder `{s['encoder']}`, {s['dim']} dimensions, {view}{pairing}. Measured where the projector hands its "
        f"outputs to the language model, on {rows}, each embedding once however many visual tokens repeat it. Texts "
        "are aligned as in training."
    )


def _tables(checkpoints: list[Geometry]) -> Iterator[tuple[str, Sequence[str], list[list]]]:
    """Title, head and rows of each table."""
    head = ["checkpoint", "training", "step", "aligner", "width", "token embeddings"]
    yield "The checkpoints", head, [_about(each) for each in checkpoints]
    for title, clouds, columns in TABLES:
        columns_shown = {
            metric: label
            for metric, label in columns.items()
            if any(each.cell(cloud, metric) for each in checkpoints for cloud in clouds)
        }
        body = [
            [*_place(each), NAMES[cloud], *(each.cell(cloud, metric) for metric in columns_shown)]
            for each in checkpoints
            for cloud in clouds
        ]
        yield title, ["checkpoint", "step", "of", *columns_shown.values()], body
    yield from _overlap_table(checkpoints)


def _skipped(checkpoints: list[Geometry]) -> list[tuple[str, dict[str, str]]]:
    return [
        (f"{each.settings['name']}, {NAMES[cloud]}", metrics)
        for each in checkpoints
        for cloud, metrics in each.skipped.items()
    ]


def _markdown(geometry: ProjectedGeometry, picture: str | None) -> str:
    checkpoints = geometry.checkpoints
    parts = ["# The gap inside the model", _summary(geometry), TERMS]
    for title, head, body in _tables(checkpoints):
        parts += [f"## {title}", table(head, body)]
    parts += not_measured(_skipped(checkpoints), separator="; ")
    if picture:
        parts.append(f"## Over the steps\n\n![Over the steps]({picture})")
    return "\n\n".join(parts) + "\n"


def _about(one: Geometry) -> list:
    s = one.settings
    whose = "the training's" if s["own_aligner"] else "given, not known as the training's"
    zero = f" ({s['zero_tokens']} rows of zeros left out)" if s["zero_tokens"] else ""
    sampled = f", neighbours and rank of {s['token_sample']}" if s["token_sample"] < s["tokens"] else ""
    return [
        s["name"],
        s["training"],
        _place(one)[1],
        f"{s['aligner']}, {whose}",
        s["width"],
        f"{s['tokens']}{zero}{sampled}",
    ]


def _place(one: Geometry) -> list[str]:
    step = one.settings["step"]
    return [one.settings["name"], "" if step is None else str(step)]


def _overlap_table(checkpoints: list[Geometry]) -> Iterator[tuple[str, Sequence[str], list[list]]]:
    counts = sorted({q for each in checkpoints for overlaps in each.overlaps.values() for q in overlaps})
    if not counts:
        return
    head = ["checkpoint", "step", "of", *(f"O_{q}" for q in counts)]
    body = [
        [*_place(each), NAMES[cloud], *(shown(each.overlaps.get(cloud, {}).get(q)) for q in counts)]
        for each in checkpoints
        for cloud in (ALIGNED, SOURCE)
    ]
    yield "Subspaces shared with the image-made visual tokens", head, body
