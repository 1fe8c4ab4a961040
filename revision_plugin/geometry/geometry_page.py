"""The page of `revision geometry`: report.html."""

from __future__ import annotations

from collections.abc import Mapping

from ..pages import Page, version_facts
from .geometry_figures import (
    cloud_figure,
    cosine_figure,
    decomposition_figure,
    label,
    overlap_figure,
    residual_figure,
    spectra_figure,
    sweep_figure,
)
from .measured import SOURCE, TARGET, Geometry, missing
from .plots import ACROSS, BESIDE, gap_view, principal_view
from .points import Points
from .report_tables import SWEPT, about, all_skipped, cloud_tables, statement_table, sweep_table

SUMMARY = (
    "Texts and images of one encoder lie in two places of one space, which is the modality gap. This page shows how "
    "far apart two stores lie, how their shapes differ, and what each aligner makes of it."
)
LIMITS = (
    "Whether a model trained behind an aligner answers better. Geometry is a reason, scores are the test.",
    "How these numbers would vary with another sample or seed; this is one measurement.",
)
# what the sweep draws: caption, title of the axis, logarithmic, curves (metric, name, colour, dash)
SWEEPS = (
    (
        "Where the bias and the residual lie. COB is the part of the squared bias in V, eta_U the part of the residual "
        "in U.",
        "share",
        False,
        (
            ("COB_share", "COB's share of the squared bias", "blue", "solid"),
            ("residual_coverage_U", "eta_U", "orange", "solid"),
        ),
    ),
    (
        "How stretched the residual is. Isotropic rows of the same number are not round either.",
        "condition number",
        True,
        (
            ("condition_U", "kappa(U)", "orange", "solid"),
            ("condition_V", "kappa(V)", "blue", "solid"),
            ("condition_V_isotropic", "kappa(V) of isotropic rows", "grey", "dot"),
        ),
    ),
)


def geometry_page(geometry: Geometry, points: Points, facts: Mapping[str, str]) -> Page:
    """All that was measured, as a page; `points` are shown under the pointer, `facts` say what was run."""
    page = Page("Geometry of the modality gap", SUMMARY)
    page.key_figures(_gaps(geometry))
    _clouds(page, geometry, points)
    if geometry.spectra:
        page.section("Shape of each cloud")
        page.figure(
            spectra_figure(geometry),
            caption="Eigenvalues of the covariances, each cloud scaled to the target's trace. Lines that fall together "
            "are clouds of one shape.",
            alt="A line a cloud: eigenvalue against rank, both logarithmic.",
        )
    if geometry.cosines:
        page.figure(
            cosine_figure(geometry),
            caption="How alike two random rows of one cloud are. An aligner should bring the texts' curve to the "
            "images'.",
            alt="A density a cloud of the cosines of random pairs.",
        )
    if geometry.overlaps:
        page.figure(
            overlap_figure(geometry),
            caption="How much of the top q directions a cloud has in common with the target; dotted, what chance "
            "gives.",
            alt="A line a cloud: overlap with the target's subspace against q.",
        )
    _pairs(page, geometry)
    if geometry.sweep.metrics:
        page.section("The raw pairs in frames of several energies", SWEPT)
        for caption, title, log, curves in SWEEPS:
            alt = f"Lines of {title} against the energy of U."
            page.figure(sweep_figure(geometry, curves, title, log), caption=caption, alt=alt, height=340)
        page.table(*sweep_table(geometry))
        page.table(*statement_table(geometry))
    page.section("All numbers")
    for title, head, rows in cloud_tables(geometry):
        page.table(head, rows, caption=title)
    lines = missing(all_skipped(geometry))
    if lines:
        page.section("Not measured")
        page.bullets(lines)
    page.facts("What was run", {**facts, "data": about(geometry), **version_facts()})
    page.limits([*LIMITS, *([] if geometry.settings["pairs"] else ["What only pairs can tell: give --pairs."])])
    return page


def _gaps(geometry: Geometry) -> list[tuple[str, str]]:
    """Each source cloud's centroid gap, the raw one first."""
    return [
        (geometry.cell(cloud, "centroid_gap"), f"centroid gap, {label(cloud)}")
        for cloud in geometry.methods
        if geometry.cell(cloud, "centroid_gap")
    ]


def _clouds(page: Page, geometry: Geometry, points: Points) -> None:
    target, source = geometry.samples[TARGET], geometry.samples[SOURCE]
    under = "Under the pointer is the caption of a text, or an image." if points.cards else ""
    page.section(
        "The clouds",
        f"Each point is a text or an image; the buttons switch clouds on and off. {under} {points.pictures}".strip(),
    )
    shown = max(len(points.of(cloud, len(rows))) for cloud, rows in geometry.samples.items())
    figure, cards = cloud_figure(geometry, points, *gap_view(target, source), (ACROSS, BESIDE))
    page.figure(
        figure,
        caption="Seen across the gap: to the right is the way from the images' mean to the texts'. "
        f"At most {shown} rows a cloud are shown.",
        alt="Clouds of points, images to the left, raw texts to the right, aligned texts on the images.",
        cards=cards,
        height=480,
    )
    centre, directions, shares = principal_view(target, source)
    first, second = (
        f"principal component {number} ({share:.0%} of the variance)" for number, share in enumerate(shares, 1)
    )
    figure, cards = cloud_figure(geometry, points, centre, directions, (first, second))
    page.figure(
        figure,
        caption="Principal components of the target and the raw source together; aligned texts are drawn in their "
        "plane.",
        alt="Clouds of points: images, raw texts, and texts as each aligner maps them.",
        cards=cards,
        height=480,
    )


def _pairs(page: Page, geometry: Geometry) -> None:
    measured = any("PMB" in metrics for metrics in geometry.metrics.values())
    if measured or geometry.residual_energy:
        page.section("What is between a text and its own image")
    if measured:
        page.figure(
            decomposition_figure(geometry),
            caption="What the mean squared distance of a pair is made of: a bias, which is the same for all pairs, and "
            "a residual, which is not; each inside the frame U and outside it, in V.",
            alt="A stacked bar a cloud with the four parts.",
            height=120 + 46 * len(geometry.methods),
        )
    if geometry.residual_energy:
        page.figure(
            residual_figure(geometry),
            caption="How much of the residual's variance its top K directions hold; dotted, if it were isotropic.",
            alt="A line a cloud: share of variance against K.",
        )
