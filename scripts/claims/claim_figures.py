"""One picture a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from revision_plugin.geometry.plots import COLORS, DPI, new_figure
from scripts.claims.comparison import Results, bootstrap
from scripts.claims.plan import ALIGNED, BY_NAME
from scripts.claims.verdicts import TUNED_ON, benefits

NLL = "caption NLL given real images, zero-shot (nats per token)"
FLOOR = "black"


def _color(name: str) -> str:
    if name in ("paired", "shuffled"):
        return COLORS["paired"] if name == "paired" else FLOOR
    return COLORS[BY_NAME[name].method]


def _dots(axes, names: Sequence[str], values: Sequence[np.ndarray], label: str) -> None:
    """A line a variant: each seed's mean, and their mean as a bar across."""
    for row, (name, seeds) in enumerate(zip(names, values)):
        axes.plot(seeds, np.full(len(seeds), row), "o", color=_color(name), alpha=0.55, markersize=5)
        axes.plot([seeds.mean()] * 2, [row - 0.3, row + 0.3], color=_color(name), linewidth=2)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.25)


def _present(r: Results, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in r]


def _figure_of_nll(r: Results, names: Sequence[str], title: str):
    names = _present(r, names)
    figure = new_figure(7, 1 + 0.35 * len(names))
    axes = figure.subplots()
    _dots(axes, names, [r.nll(name).mean(1) for name in names], NLL)
    axes.set_title(title)
    return figure


def _order(r: Results):
    names, tuned = _present(r, (*ALIGNED, "paired", "shuffled")), r.tuning_images("shuffled")
    figure = new_figure(11, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    _dots(left, names, [r.nll(name).mean(1) for name in names], NLL)
    left.set(title="after Stage 1, one dot a seed", xscale="log")
    left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    left.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    left.xaxis.set_minor_formatter(NullFormatter())
    for name in names:
        images = r.tuning_images(name)
        if len(images) > 1:
            means = [r.accuracy(name, n).mean(1) for n in images]
            beside = 0.03 * (names.index(name) - len(names) / 2)
            places = np.array([tuned.index(n) for n in images]) + beside
            line = ":" if name == "c3 0.05" else "-"  # its colour is c3's
            right.plot(places, [m.mean() for m in means], line, marker="o", color=_color(name), label=name)
            right.vlines(places, [m.min() for m in means], [m.max() for m in means], color=_color(name), alpha=0.5)
    right.set_xticks(range(len(tuned)), [str(n) for n in tuned])
    right.set(
        xlabel="real images of Stage 2", ylabel="questions answered", title="after Stage 2, lines: range of the seeds"
    )
    right.grid(alpha=0.25)
    if right.lines:
        figure.legend(loc="outside lower center", ncols=6, frameon=False)
    return figure


def _curve(r: Results, names: Sequence[str], places: Sequence[float], label: str, title: str, *, pairs: bool):
    figure = new_figure(7, 4)
    axes = figure.subplots()
    shown = [(place, r.nll(name)) for name, place in zip(names, places) if name in r]
    where = [place for place, _ in shown]
    intervals = [bootstrap(values, rounds=2000) for _, values in shown]
    color = _color(names[-1])
    axes.plot(where, [i.mean for i in intervals], marker="o", color=color, label="mean and 95 % interval")
    axes.fill_between(
        where, [i.low for i in intervals], [i.high for i in intervals], color=color, alpha=0.15, linewidth=0
    )
    for place, values in shown:
        axes.plot([place] * len(values), values.mean(1), ".", color=color, alpha=0.5)
    if pairs and "paired" in r:
        axes.axhline(r.nll("paired").mean(), color=COLORS["paired"], linestyle="--", label="paired images, once")
    axes.set(title=title, xlabel=label, ylabel="caption NLL given real images\n(nats per token)")
    axes.set_xticks(where, [f"{place:g}" for place in where])
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _scaling(r: Results):
    return _curve(
        r,
        ("realign", "2x text", "4x text"),
        (1, 2, 4),
        "texts, in multiples of the pairs' number",
        "More text at equal steps",
        pairs=True,
    )


def _noise(r: Results):
    names = ("mean_shift", "c3", "c3 0.05", "c3 0.1")
    return _curve(r, names, (0, 0.02, 0.05, 0.1), "sigma of C3's noise", "C3's noise", pairs=False)


def _captions(r: Results):
    names = _present(r, ("short captions", "realign", "long captions"))
    figure = new_figure(9, 3)
    left, right = figure.subplots(1, 2, sharey=True)
    _dots(left, names, [r.nll(name).mean(1) for name in names], "caption NLL given real images, zero-shot")
    tuned = [r.accuracy(name, TUNED_ON) for name in names]
    if all(values is not None for values in tuned):
        _dots(right, names, [v.mean(1) for v in tuned], f"questions right after {TUNED_ON} images (share)")
        right.invert_yaxis()  # shared with the left one, which is inverted already
    left.set_yticks(range(len(names)), [name.replace("realign", "concise captions") for name in names])
    return figure


def _domain(r: Results):
    return _figure_of_nll(r, ("none", "realign", "other images", "other world", "paired"), "Whose statistics")


def _tokens(r: Results):
    names = _present(r, ("realign", "16 tokens", "64 tokens"))
    counts = [BY_NAME[name].tokens for name in names]
    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    for count, name in zip(counts, names):
        left.plot([count] * len(r.of(name)), r.nll(name).mean(1), "o", color=COLORS["realign"], alpha=0.5)
    left.plot(counts, [r.nll(name).mean() for name in names], color=COLORS["realign"])
    left.set(xscale="log", xlabel="visual tokens", ylabel="caption NLL (nats per token)", title="given real images")
    right.plot(counts, [r.seconds(name, "stage 1") for name in names], marker="o", color="#555555")
    right.set(xscale="log", ylim=(0, None), xlabel="visual tokens", ylabel="seconds", title="time of Stage 1")
    for axes in (left, right):
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    return figure


def _statistics(r: Results):
    names = ("realign", "5 rounds", "100 rows", "24000 rows")
    return _figure_of_nll(r, names, "ReAlign: one round and 10000 rows, and other choices")


def _gaps(r: Results):
    figure = new_figure(6.5, 4)
    axes = figure.subplots()
    for encoder, gap, gain in benefits(r):
        error = [[gain.mean - gain.low], [gain.high - gain.mean]]
        axes.errorbar([gap], [gain.mean], error, marker="o", color=COLORS["realign"], capsize=3)
        axes.annotate(f" {encoder}", (gap, gain.mean), va="bottom")
    axes.set(
        title="What alignment wins, by encoder",
        xlabel="raw centroid gap on held-out pairs",
        ylabel="NLL of none minus ReAlign\n(nats per token)",
    )
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.margins(x=0.25)
    axes.grid(alpha=0.25)
    return figure


PICTURES: list[Callable] = [_order, _scaling, _noise, _captions, _domain, _tokens, _statistics, _gaps]


def draw(results: Results, number: int, folder: Path) -> str:
    """Write the picture of question `number`, counted from 1; returns its name."""
    name = f"claim-{number}.png"
    PICTURES[number - 1](results).savefig(folder / name, dpi=DPI)
    return name
