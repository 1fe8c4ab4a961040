"""How well quantities that need no pair agree with the captions' likelihood after Stage 1, over all cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from scripts.claims.comparison import Results
from scripts.claims.plan import ENCODERS, METHODS, ON_MATCHES, OTHER, WITH_OTHER_CONTENT, cell

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


def alternatives(encoder: str, content: str) -> list[str]:
    """The variants that are alternatives to each other: the aligners of one encoder and content."""
    if content == OTHER:
        names = (*WITH_OTHER_CONTENT, *ON_MATCHES)
        return [cell("none", encoder), *(cell(m, encoder, content=OTHER) for m in names)]
    return [cell(m, encoder) for m in (*METHODS, *ON_MATCHES) if m not in LEFT_OUT]


def aligner_cells(r: Results) -> list[list[str]]:
    """The alternatives of every cell that were run, with the same content first."""
    groups = [alternatives(encoder, content) for content in ("same", OTHER) for encoder in ENCODERS]
    return [[name for name in group if name in r] for group in groups]


def _agreement(name: str, losses: np.ndarray, correlation: float = math.nan) -> Agreement:
    """Of what a rule's choices lose to the best in every cell and seed."""
    return Agreement(name, correlation, float((losses < TIE).mean()), float(losses.mean()), float(losses.max()))


def agreements(r: Results) -> list[Agreement]:
    """Every criterion, the best first; each cell and seed counts once, signs are taken so that more is better."""
    cells = [names for names in aligner_cells(r) if len(names) > 2]
    if not cells:
        return []
    criteria = list(r.of(cells[0][0])[0]["criteria"])
    found = [_of_criterion(r, cells, criterion) for criterion in criteria]
    return sorted((each for each in found if each), key=lambda each: each.loss)


def _of_criterion(r: Results, cells: list[list[str]], criterion: str) -> Agreement | None:
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
    return _agreement(criterion, losses, float(np.mean(correlations)))


def of_choices(r: Results, choices: list[dict]) -> Agreement | None:
    """What the choices of `fit --method auto` cost."""
    losses = []
    for made in choices:
        content, names = made["content"], alternatives(made["encoder"], made["content"])
        chosen = cell(made["chosen"], made["encoder"], content="same" if made["chosen"] == "none" else content)
        if all(name in r for name in names):
            nll = {name: r.nll(name).mean(1)[made["seed"]] for name in names}
            losses.append(nll[chosen] - min(nll.values()))
    return _agreement("`fit --method auto`", np.array(losses)) if losses else None


def always(r: Results, method: str) -> Agreement | None:
    """What always taking one method costs, beside choosing by a criterion."""
    losses = []
    for names in aligner_cells(r):
        mine = [name for name in names if name.split(",")[0] == method]
        if len(names) > 2 and mine:
            nll = np.array([r.nll(name).mean(1) for name in names])
            losses.append(nll[names.index(mine[0])] - nll.min(0))
    return _agreement(f"always {method}", np.concatenate(losses)) if losses else None
