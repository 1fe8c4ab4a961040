"""How well quantities that need no pair agree with the captions' likelihood after Stage 1, over all cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from scripts.claims.comparison import Results
from scripts.claims.plan import ENCODERS, METHODS, OTHER, WITH_OTHER_CONTENT, cell

TIE = 0.01  # nats a token: a choice so near the best is as good
LEFT_OUT = ("bc",)  # a control that collapses: every criterion sees it


@dataclass(frozen=True)
class Agreement:
    """Of one criterion: rank correlation with the likelihood (1: larger is better), how often its choice ties with the
    best, what its choice loses on the mean and at most, nats a token.
    """

    criterion: str
    correlation: float
    ties: float
    loss: float
    largest_loss: float


def aligner_cells(r: Results) -> list[list[str]]:
    """The variants that are alternatives to each other: an encoder's aligners, with the same and with other content."""
    groups = [[cell(m, e) for m in METHODS if m not in LEFT_OUT] for e in ENCODERS]
    for encoder in ENCODERS:
        names = [cell(m, encoder, content=OTHER) for m in WITH_OTHER_CONTENT]
        groups.append([cell("none", encoder), *names])
    return [[name for name in group if name in r] for group in groups]


def agreements(r: Results) -> list[Agreement]:
    """Every criterion, the best first; each cell and seed counts once, signs are taken so that more is better."""
    cells = [names for names in aligner_cells(r) if len(names) > 2]
    if not cells:
        return []
    criteria = list(r.of(cells[0][0])[0]["criteria"])
    found = [_agreement(r, cells, criterion) for criterion in criteria]
    return sorted((each for each in found if each), key=lambda each: each.loss)


def _agreement(r: Results, cells: list[list[str]], criterion: str) -> Agreement | None:
    rows = []
    for names in cells:
        nll = np.array([r.nll(name).mean(1) for name in names])
        values = np.array([[record["criteria"][criterion] for record in r.of(name)] for name in names])
        if np.ptp(values, axis=0).max() == 0:
            return None  # of the corpora, not of the aligner
        rows += [(nll[:, seed], values[:, seed]) for seed in range(nll.shape[1])]
    correlations = [spearmanr(values, -nll).statistic for nll, values in rows if np.ptp(values) > 0]
    sign = np.sign(np.mean(correlations)) or 1.0
    losses = np.array([nll[np.argmax(sign * values)] - nll.min() for nll, values in rows])
    return Agreement(
        criterion, float(np.mean(correlations)), float((losses < TIE).mean()), float(losses.mean()), float(losses.max())
    )


def of_choices(r: Results, choices: list[dict]) -> Agreement | None:
    """What the choices of `fit --method auto` cost."""
    losses = []
    for made in choices:
        content = made["content"]
        names = [cell("none", made["encoder"])] if content == OTHER else []
        methods = WITH_OTHER_CONTENT if content == OTHER else [m for m in METHODS if m not in LEFT_OUT]
        names += [cell(m, made["encoder"], content=content) for m in methods]
        chosen = cell(made["chosen"], made["encoder"], content="same" if made["chosen"] == "none" else content)
        if all(name in r for name in names):
            nll = {name: r.nll(name).mean(1)[made["seed"]] for name in names}
            losses.append(nll[chosen] - min(nll.values()))
    if not losses:
        return None
    every = np.array(losses)
    ties, mean, largest = float((every < TIE).mean()), float(every.mean()), float(every.max())
    return Agreement("`fit --method auto`", float("nan"), ties, mean, largest)


def always(r: Results, method: str) -> Agreement | None:
    """What always taking one method costs, beside choosing by a criterion."""
    losses = []
    for names in aligner_cells(r):
        mine = [name for name in names if name.split(",")[0] == method]
        if len(names) > 2 and mine:
            nll = np.array([r.nll(name).mean(1) for name in names])
            losses.append(nll[names.index(mine[0])] - nll.min(0))
    if not losses:
        return None
    every = np.concatenate(losses)
    mean, largest = float(every.mean()), float(every.max())
    return Agreement(f"always {method}", float("nan"), float((every < TIE).mean()), mean, largest)
