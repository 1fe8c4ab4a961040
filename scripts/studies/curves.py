"""One picture a study."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

import matplotlib
import numpy as np

from revision_plugin.geometry.plots import COLORS, new_figure, save
from revision_plugin.geometry.spectrum import ZERO

OTHERS = [COLORS[name] for name in ("realign", "none", "aniso", "mean_shift", "c3", "bc", "monge")]
BEFORE_PROJECTION = "#E8BFD6"  # a paler C3


def sample_sizes(record: dict, folder: Path) -> str:
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    rows = [point["rows"] for point in record["curve"]]
    mean, spread = (np.array([point[key] for point in record["curve"]]) for key in ("gap_mean", "gap_std"))
    axes.errorbar(
        rows, mean, spread, color=COLORS["realign"], capsize=3, label=f"{record['method']}, mean and std of the trials"
    )
    axes.axhline(
        record["floor"], color="#555555", linestyle=":", linewidth=1, label="sampling error of unpaired held-out means"
    )
    axes.set(
        xscale="log",
        yscale="log",
        title="Statistics from N rows a modality",
        xlabel="N",
        ylabel="held-out centroid gap",
    )
    axes.grid(alpha=0.25, which="both")
    figure.legend(loc="outside lower center", frameon=False)
    return save(figure, folder, "sample_sizes")


def precision(record: dict, folder: Path) -> str:
    figure = new_figure(7, 4)
    axes = figure.subplots()
    for name, color in (("float32", COLORS["none"]), ("float64", COLORS["realign"])):
        gaps = record[name]["gap_by_round"]
        axes.plot(range(1, len(gaps) + 1), gaps, marker="o", color=color, label=f"{name} accumulators")
    axes.set(yscale="log", title="Fitted centroid gap by accumulator", xlabel="centroid rounds", ylabel="centroid gap")
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, folder, "precision")


def fit_times(record: dict, folder: Path) -> str:
    figure = new_figure(8.5, 3.8)
    for axes, key, scale in zip(figure.subplots(1, 2), ("seconds", "megabytes"), ("log", "linear")):
        for method, values in record[key].items():
            axes.plot(
                record["rows"], values, marker="o", color=COLORS[method], label=method if key == "seconds" else None
            )
        axes.set(xscale="log", yscale=scale, title=f"{key} of a fit", xlabel="rows a modality", ylabel=key)
        axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, folder, "fit_times")


def domain_transfer(record: dict, folder: Path) -> str:
    names = list(record["gap"])
    lines = [("no alignment", [record["gap_before"][name] for name in names])]
    lines += [(f"statistics of {fitted}", [record["gap"][fitted][name] for name in names]) for fitted in names]
    return _bars(
        lines,
        [f"{name} texts" for name in names],
        "Statistics of one domain on the texts of another",
        "held-out centroid gap",
        folder,
        "domain_transfer",
    )


def caption_lengths(record: dict, folder: Path) -> str:
    clouds = [("images", record["target"]), *record["texts"].items()]
    colors = [COLORS["target"], *islice(cycle(OTHERS), len(record["texts"]))]
    figure = new_figure(12, 3.8)
    ranks, spectra, gaps = figure.subplots(1, 3)
    for place, ((name, each), color) in enumerate(zip(clouds, colors)):
        ranks.bar(place, each["effective_rank"], color=color, width=0.6)
        shares = np.array(each["eigenvalues"]) / each["trace"]
        _spectrum(spectra, record["ranks"], shares, color=color, label=name)
        if "gap_before" in each:
            gaps.bar(place, each["gap_before"], color=color, width=0.6)
    names = [name for name, _ in clouds]
    ranks.set_xticks(range(len(names)), names)
    gaps.set_xticks(range(1, len(names)), names[1:])
    ranks.set(title="(a) effective rank")
    spectra.set(title="(b) spectrum (ours)", xlabel="rank", ylabel="share of the variance", xscale="log", yscale="log")
    gaps.set(title="(c) raw centroid gap")
    for axes in (ranks, spectra, gaps):
        axes.grid(axis="y", alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, folder, "caption_lengths")


def blockwise_failure(record: dict, folder: Path) -> str:
    figure = new_figure(8.5, 0.4 * len(record) + 1.5)
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"neighbourhood_overlap_10": "kept neighbours of 10", "gap_held_out": "held-out centroid gap"}
    for axes, (key, title) in zip(panels, titles.items()):
        colors = [COLORS["realign"] if name == "realign" else COLORS["bc"] for name in record]
        axes.barh(list(record), [values[key] for values in record.values()], color=colors)
        axes.set(title=title)
        axes.grid(axis="x", alpha=0.25)
    panels[0].invert_yaxis()
    return save(figure, folder, "blockwise_failure")


def spectrum_decay(record: dict, folder: Path) -> str:
    clouds = {"images": record["target"], "text": record["text"], **record["aligned"]}
    styles = {
        "images": {"color": COLORS["target"], "linewidth": 2},
        "text": {"color": COLORS["none"], "linewidth": 2},
        "realign": {"color": COLORS["realign"], "linewidth": 2, "linestyle": (0, (3, 3)), "zorder": 3},
    }
    blockwise = [name for name in clouds if name not in styles]
    shades = matplotlib.colormaps["viridis"](np.linspace(0.15, 0.95, len(blockwise)))
    styles |= {name: {"color": shade, "linewidth": 1, "linestyle": "-."} for name, shade in zip(blockwise, shades)}
    figure = new_figure(11.5, 4.4)
    spectra, conditions = figure.subplots(1, 2)
    for name, each in clouds.items():
        values = np.array(each["eigenvalues"])
        _spectrum(spectra, record["ranks"], values, label=name, **styles[name])
        _spectrum(conditions, record["ranks"], values, over=True, **styles[name])
    title = f"Spectrum decay, {record['rows'][0]} texts and {record['rows'][1]} images held out"
    spectra.set(title=title, xlabel="rank k", ylabel="eigenvalue", xscale="log", yscale="log")
    title = "Condition number of the first k directions"
    conditions.set(title=title, xlabel="rank k", ylabel="largest / k-th eigenvalue", xscale="log", yscale="log")
    for axes in (spectra, conditions):
        axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, folder, "spectrum_decay")


def _spectrum(axes, ranks: list[int], values: np.ndarray, *, over: bool = False, **style) -> None:
    """Eigenvalues by rank, or the largest `over` each; where rounding alone is left, nothing."""
    seen = values > ZERO * values[0]
    axes.plot(np.array(ranks)[seen], values[0] / values[seen] if over else values[seen], **style)


def aligned_centroids(record: dict, folder: Path) -> str:
    corpora = record["corpora"]
    figure = new_figure(11.5, 4.4)
    bars, sweep = figure.subplots(1, 2, width_ratios=(max(2, len(corpora)), 2.5))
    first = next(iter(corpora.values()))["c3"]["sigma"]
    shown = {
        "no alignment": (COLORS["none"], lambda c: c["none"]),
        f"C3, sigma {first:g}": (COLORS["c3"], lambda c: c["c3"]["gap"]),
        "C3 before its projection": (BEFORE_PROJECTION, lambda c: c["c3"]["gap_before_projection"]),
        "ReAlign": (COLORS["realign"], lambda c: c["realign"]),
    }
    places, width = np.arange(len(corpora)), 0.8 / len(shown)
    for number, (label, (color, value)) in enumerate(shown.items()):
        heights = [value(each) for each in corpora.values()]
        bar = bars.bar(places + number * width, heights, width * 0.92, color=color, label=label)
        bars.bar_label(bar, fmt="%.2g", fontsize=7)
    expected = [each["c3"]["noise_mean_expected"] for each in corpora.values()]
    label = r"$\sigma\sqrt{d/N}$, expected size of the mean of C3's noise"
    ends = places + 2 * width
    bars.hlines(expected, ends - width / 2, ends + width / 2, color="black", linestyle=":", label=label)
    names = [
        f"{name}\nN = {each['rows'][0]}, d = {each['dim']}\n$\\sigma\\sqrt{{d/N}}$ = {noise:.2g}"
        for (name, each), noise in zip(corpora.items(), expected)
    ]
    bars.set_xticks(places + 1.5 * width, names)
    bars.set(yscale="log", title="Aligned centroids", ylabel="centroid gap, rows fitted on")
    for (name, each), dashes in zip(corpora.items(), cycle(("-", "--", ":", "-."))):
        sigmas = [point["sigma"] for point in each["sweep"]]
        for key, color in (("gap", COLORS["c3"]), ("gap_before_projection", BEFORE_PROJECTION)):
            sweep.plot(sigmas, [point[key] for point in each["sweep"]], dashes, marker="o", color=color)
        sweep.plot(sigmas, [point["noise_mean_expected"] for point in each["sweep"]], color="black", linestyle=":")
        sweep.plot([], [], dashes, color="#555555", label=f"right: {name}")
        sweep.axhline(each["realign"], linestyle=dashes, color=COLORS["realign"], linewidth=1)
    sweep.set(xscale="log", yscale="log", title="By sigma", xlabel="sigma", ylabel="centroid gap")
    for axes in (bars, sweep):
        axes.grid(axis="y", alpha=0.25)
    figure.legend(loc="outside lower center", frameon=False, ncols=3)
    return save(figure, folder, "aligned_centroids")


def mean_error(record: dict, folder: Path) -> str:
    figure = new_figure(11.5, 4.4)
    colors = {"float32": COLORS["none"], "float64": COLORS["realign"]}
    for axes, (name, each) in zip(figure.subplots(1, 2, sharey=True), record.items()):
        labelled = name == "texts"
        for (label, errors), dashes in zip(each["errors"].items(), cycle(("-", "--", ":"))):
            dtype = label.partition(",")[0]
            fit = dtype not in colors
            style = {"color": COLORS["aniso"] if fit else colors[dtype], "linestyle": "-" if fit else dashes}
            axes.plot(each["rows"], errors, marker="o", markersize=3, label=label if labelled else None, **style)
        axes.set(xscale="log", yscale="log", title=f"{name}: error of the mean by accumulator", xlabel="N")
        axes.set(ylabel="distance from the exact mean")
        axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, folder, "mean_error")


def _bars(lines, groups, title, label, folder, name) -> str:
    figure = new_figure(7.5, 4)
    axes = figure.subplots()
    palette = [COLORS["none"], COLORS["realign"], COLORS["aniso"], COLORS["mean_shift"], COLORS["c3"]]
    width = 0.8 / len(lines)
    for number, ((caption, values), color) in enumerate(zip(lines, cycle(palette))):
        axes.bar(np.arange(len(groups)) + number * width, values, width * 0.92, label=caption, color=color)
    axes.set_xticks(np.arange(len(groups)) + 0.4 - width / 2, groups)
    axes.set(title=title, ylabel=label)
    axes.grid(axis="y", alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, folder, name)
