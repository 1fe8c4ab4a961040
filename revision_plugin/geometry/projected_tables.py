"""The tables and sentences that the report and the page of the gap inside the model share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .measured import SOURCE, TARGET, Geometry, shown
from .projected import ALIGNED, TOKENS, VISUAL, ProjectedGeometry

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


def summary(geometry: ProjectedGeometry) -> str:
    """What was measured, on what."""
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


def tables(checkpoints: list[Geometry]) -> Iterator[tuple[str, Sequence[str], list[list]]]:
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


def skipped(checkpoints: list[Geometry]) -> list[tuple[str, dict[str, str]]]:
    """Where what is missing, and why."""
    return [
        (f"{each.settings['name']}, {NAMES[cloud]}", metrics)
        for each in checkpoints
        for cloud, metrics in each.skipped.items()
    ]


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
