"""Stage I of AnisoAlign: a score network of the target's phases, a wrapped Gaussian around their drift."""

from __future__ import annotations

import math

import torch
from torch import nn

from . import phase
from .network import new_network, optimise, zero_start
from .options import AnisoOptions


def score_loss(
    net: nn.Module, theta: torch.Tensor, log_rho: torch.Tensor, statistics: dict[str, torch.Tensor], o: AnisoOptions
) -> torch.Tensor:
    """E lambda_t ||s - grad log q||^2 at the drifted, noised phases; lambda_t = 2 sigma_t^2."""
    time = torch.rand(len(theta), 1, device=theta.device)
    sigma = o.sigma_min * (o.sigma_max / o.sigma_min) ** time
    mean = phase.wrap(theta - o.tau * phase.potential_gradient(theta, statistics))
    step = math.sqrt(2) * sigma * torch.randn_like(theta)
    noised = phase.wrap(mean + step)
    score = net(torch.cat([noised.sin(), noised.cos(), log_rho, time], 1)) / sigma
    variance = 2 * sigma.square()
    return (variance * (score - phase.wrapped_score(phase.wrap(step), variance)).square()).sum(1).mean()


def train_prior(
    theta: torch.Tensor, log_rho: torch.Tensor, statistics: dict[str, torch.Tensor], o: AnisoOptions
) -> nn.Module:
    """The target's score network, trained on phases and log radii [N, m], then frozen."""
    blocks = theta.shape[1]
    net = zero_start(new_network([3 * blocks + 1, o.hidden, o.hidden, blocks])).to(theta.device)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        return score_loss(net, theta[rows], log_rho[rows], statistics, o)

    optimise("target score", net, loss_of, len(theta), o)
    return net.requires_grad_(False)
