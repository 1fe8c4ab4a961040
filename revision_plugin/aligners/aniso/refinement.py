"""Stage II of AnisoAlign: the learnt, bounded correction of the source, and its bounds."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from . import phase
from .network import apply_network, new_network, optimise, zero_start
from .options import AnisoOptions
from .score import score_loss

Polar = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # theta [N, m], rho [N, m], coordinates of V [N, d - r]
PREFIX = "g."  # of the correction's weights among the aligner's parameters


def correct(theta: torch.Tensor, rho: torch.Tensor, v: torch.Tensor, p: dict, o: AnisoOptions) -> Polar:
    """The bounded correction (theta^, rho^, v^); the identity where refinement is off."""
    weights = {name.removeprefix(PREFIX): value for name, value in p.items() if name.startswith(PREFIX)}
    if not weights:
        return theta, rho, v
    blocks = theta.shape[1]
    out = apply_network(weights, torch.cat([theta.sin(), theta.cos(), rho.log(), v], 1)).tanh()
    d_theta, d_rho, d_v = out[:, :blocks], out[:, blocks : 2 * blocks], out[:, 2 * blocks :]
    return phase.wrap(theta + o.a_theta * d_theta), rho * (o.a_rho * d_rho).exp(), v + o.a_v * d_v


def correction_bounds(o: AnisoOptions, complement_dim: int) -> dict[str, float]:
    """kappa = sqrt((e^a_rho - 1)^2 + 4 e^a_rho sin^2(a_theta / 2)); beta = a_v sqrt(dim V)."""
    growth = math.exp(o.a_rho)
    kappa = math.sqrt((growth - 1) ** 2 + 4 * growth * math.sin(o.a_theta / 2) ** 2)
    used = float(o.refinement)
    return {"kappa": used * kappa, "beta": used * o.a_v * math.sqrt(complement_dim)}


def train_refinement(
    start: Polar, prior: nn.Module, statistics: dict[str, torch.Tensor], o: AnisoOptions
) -> dict[str, np.ndarray]:
    """The correction's weights, trained from the initialised source under the prior and the phase-structure loss."""
    theta0, rho0, v0 = start
    blocks, complement = theta0.shape[1], v0.shape[1]
    net = zero_start(new_network([3 * blocks + complement, o.hidden, o.hidden, 2 * blocks + complement]))
    net = net.to(theta0.device)
    first, second = statistics["edges"].T

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        weights = {f"{PREFIX}{name}": value for name, value in net.named_parameters()}
        theta, rho, _ = correct(theta0[rows], rho0[rows], v0[rows], weights, o)
        loss = 0 * next(net.parameters()).sum()
        if o.prior_loss:
            loss = loss + o.prior_weight * score_loss(prior, theta, rho.log(), statistics, o)
        if o.phase_loss:
            w = rho0[rows][:, first] * rho0[rows][:, second]
            w = w / (w.sum(1, keepdim=True) + phase.EPSILON)
            moved = (theta[:, first] - theta[:, second]) - (theta0[rows][:, first] - theta0[rows][:, second])
            loss = loss + o.phase_weight * (w * (1 - moved.cos())).sum(1).mean() / len(first)
        return loss

    optimise("refinement", net, loss_of, len(theta0), o)
    return {f"{PREFIX}{name}": value.detach().double().cpu().numpy() for name, value in net.named_parameters()}
