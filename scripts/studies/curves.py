"""One picture a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from revision_plugin.geometry.plots import COLORS, new_figure, save


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
    figure = new_figure(8, 3.8)
    for axes, key, title in zip(
        figure.subplots(1, 2), ("effective_rank", "gap_before"), ("effective rank", "raw centroid gap")
    ):
        shown = {name: values[key] for name, values in record.items() if key in values}
        colors = [COLORS["target"] if name == "target" else COLORS["realign"] for name in shown]
        axes.bar(list(shown), list(shown.values()), color=colors, width=0.6)
        axes.set(title=title)
        axes.grid(axis="y", alpha=0.25)
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


def _bars(lines, groups, title, label, folder, name) -> str:
    figure = new_figure(7.5, 4)
    axes = figure.subplots()
    palette = [COLORS["none"], COLORS["realign"], COLORS["aniso"], COLORS["mean_shift"], COLORS["c3"]]
    width = 0.8 / len(lines)
    for number, ((caption, values), color) in enumerate(zip(lines, palette)):
        axes.bar(np.arange(len(groups)) + number * width, values, width * 0.92, label=caption, color=color)
    axes.set_xticks(np.arange(len(groups)) + 0.4 - width / 2, groups)
    axes.set(title=title, ylabel=label)
    axes.grid(axis="y", alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False)
    return save(figure, folder, name)
