"""Blockwise polar coordinates and the target's phase statistics, as AnisoAlign uses them (section 4).

Tensors are [N, m]: m two-dimensional blocks of the dominant subspace, phases in radians in (-pi, pi].
"""

from __future__ import annotations

import math

import torch

EPSILON = 1e-8
WRAPS = (-2, -1, 0, 1, 2)


def wrap(phase):
    """Phases folded into (-pi, pi]."""
    return torch.remainder(phase + math.pi, 2 * math.pi) - math.pi


def to_polar(coordinates):
    """Coordinates [N, 2m] as (radius, phase), each [N, m]; neighbours pair up to blocks."""
    a, b = coordinates[:, 0::2], coordinates[:, 1::2]
    return (a.square() + b.square() + EPSILON).sqrt(), torch.atan2(b, a)


def to_cartesian(radius, phase):
    """The inverse of `to_polar`: coordinates [N, 2m]."""
    return torch.stack([radius * phase.cos(), radius * phase.sin()], dim=2).flatten(1)


def phase_statistics(radius, phase, partners: int) -> dict:
    """Stage I statistics of the target: alpha, psi [m], edges [E, 2], their strength A and offset eta [E].

    M_kl = E[exp(i(theta_k - theta_l))]; a block keeps its `partners` strongest, the union gives the edges.
    """
    unit = torch.polar(torch.ones_like(phase), phase)
    coherence = unit.T @ unit.conj() / len(phase)  # [m, m], entry (k, l) = E[exp(i(theta_k - theta_l))]
    strength = coherence.abs().fill_diagonal_(-1)
    blocks = phase.shape[1]
    partner_count = min(partners, blocks - 1)
    best = strength.topk(partner_count, dim=1).indices
    pairs = {(min(k, l), max(k, l)) for k in range(blocks) for l in best[k].tolist()}  # noqa: E741
    edges = torch.tensor(sorted(pairs), dtype=torch.long, device=phase.device).reshape(-1, 2)
    chosen = coherence[edges[:, 0], edges[:, 1]]
    energy = radius.square().mean(0)
    return {
        "alpha": energy / (energy.sum() + EPSILON),
        "psi": unit.mean(0).angle(),
        "edges": edges,
        "strength": chosen.abs(),
        "offset": chosen.angle(),
    }


def potential_gradient(phase, statistics: dict):
    """grad Psi(phi) [N, m]: pull to each block's mean phase, and to the edges' phase differences."""
    gradient = statistics["alpha"] * torch.sin(phase - statistics["psi"])
    first, second = statistics["edges"].T
    pull = statistics["strength"] * torch.sin(phase[:, first] - phase[:, second] - statistics["offset"])
    return gradient.index_add(1, first, pull).index_add(1, second, -pull)


def wrapped_score(difference, variance):
    """Gradient of log of a wrapped Gaussian with this variance at `difference` from its mean."""
    shifted = torch.stack([difference + 2 * math.pi * n for n in WRAPS])
    weights = torch.softmax(-shifted.square() / (2 * variance), dim=0)
    return -(weights * shifted).sum(0) / variance
