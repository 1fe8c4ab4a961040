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
    """The bounded correction (theta^, rho^, v); the identity where there is none.

    It deviates from the paper in two points. `strength` (of `learnt_share`) scales the bounds: at full bounds a prior
    that has learnt nothing drives the phases into them, after its own noise. And v stays: the paper corrects it by
    a_v tanh(d_v), but d_v enters neither the loss of the prior (8) nor that of the phases (9), so it stays where it
    starts. In aligners of 0.1.0 it is there, and zero.
    """
    weights = {name.removeprefix(PREFIX): value for name, value in p.items() if name.startswith(PREFIX)}
    if not weights:
        return theta, rho, v
    blocks, strength = theta.shape[1], p.get("strength", 1.0)  # 0.1.0 had none
    out = strength * apply_network(weights, torch.cat([theta.sin(), theta.cos(), rho.log(), v], 1)).tanh()
    d_theta, d_rho = out[:, :blocks], out[:, blocks : 2 * blocks]
    return phase.wrap(theta + o.a_theta * d_theta), rho * (o.a_rho * d_rho).exp(), v


def correction_bounds(o: AnisoOptions, strength: float) -> dict[str, float]:
    """kappa = sqrt((e^a_rho - 1)^2 + 4 e^a_rho sin^2(a_theta / 2)), of bounds scaled by `strength`."""
    growth = math.exp(strength * o.a_rho)
    return {"kappa": math.sqrt((growth - 1) ** 2 + 4 * growth * math.sin(strength * o.a_theta / 2) ** 2)}


def train_refinement(
    start: Polar, prior: nn.Module, statistics: dict[str, torch.Tensor], strength: float, o: AnisoOptions
) -> dict[str, np.ndarray]:
    """The correction's weights, trained from the initialised source under the prior and the phase-structure loss."""
    theta0, rho0, v0 = start
    blocks, complement = theta0.shape[1], v0.shape[1]
    net = zero_start(new_network([3 * blocks + complement, o.hidden, o.hidden, 2 * blocks]))
    net = net.to(theta0.device)
    first, second = statistics["edges"].T

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        weights = {f"{PREFIX}{name}": value for name, value in net.named_parameters()}
        theta, rho, _ = correct(theta0[rows], rho0[rows], v0[rows], {**weights, "strength": strength}, o)
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
