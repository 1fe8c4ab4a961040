"""Stage I of AnisoAlign: a score network of the target's phases, a wrapped Gaussian around their drift."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from . import phase
from .network import new_network, optimise, zero_start
from .options import AnisoOptions

HELD_OUT_PERIOD = 10  # one target row in ten shows what the prior has learnt
DRAWS = 16  # of noise and noise level, for each of these rows
STANDARD_ERRORS = 2
Score = Callable[[torch.Tensor], torch.Tensor]
Phases = tuple[torch.Tensor, torch.Tensor]  # theta, rho, each [N, m]


def row_losses(
    scores: Sequence[Score],
    theta: torch.Tensor,
    log_rho: torch.Tensor,
    statistics: dict[str, torch.Tensor],
    o: AnisoOptions,
) -> torch.Tensor:
    """lambda_t ||s - grad log q||^2 [N, len(scores)] at drifted phases with the same noise; lambda_t = 2 sigma_t^2."""
    time = torch.rand(len(theta), 1, device=theta.device)
    sigma = o.sigma_min * (o.sigma_max / o.sigma_min) ** time
    mean = phase.wrap(theta - o.tau * phase.potential_gradient(theta, statistics))
    step = math.sqrt(2) * sigma * torch.randn_like(theta)
    noised = phase.wrap(mean + step)
    state = torch.cat([noised.sin(), noised.cos(), log_rho, time], 1)
    variance = 2 * sigma.square()
    wanted = phase.wrapped_score(phase.wrap(step), variance)
    return torch.stack([(variance * (score(state) / sigma - wanted).square()).sum(1) for score in scores], 1)


def score_loss(
    score: Score, theta: torch.Tensor, log_rho: torch.Tensor, statistics: dict[str, torch.Tensor], o: AnisoOptions
) -> torch.Tensor:
    """The mean of `row_losses`: equation (6) at the target's phases, (8) at the refined ones."""
    return row_losses([score], theta, log_rho, statistics, o).mean()


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


def held_out_rows(count: int) -> torch.Tensor:
    """Which of `count` target rows [count] the prior is not trained on; every second of a few."""
    period = HELD_OUT_PERIOD if count >= 2 * HELD_OUT_PERIOD else 2
    return torch.arange(count) % period == period - 1


def measure_prior(
    prior: nn.Module, target: Phases, source: Phases, statistics: dict[str, torch.Tensor], o: AnisoOptions
) -> dict[str, np.ndarray]:
    """The losses of prior and zero score on target rows not trained on and on the source, and the prior's `strength`.

    `prior_losses` [2, 2]: a row for the target and one for the source, a column for the prior and one for the zero
    score. Both scores meet the same noise.
    """
    blocks = target[0].shape[1]

    def zero(state: torch.Tensor) -> torch.Tensor:
        return state.new_zeros(len(state), blocks)

    def losses(theta: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
        drawn = [row_losses([prior, zero], theta, rho.log(), statistics, o).double() for _ in range(DRAWS)]
        return torch.stack(drawn).mean(0)

    with torch.no_grad():
        unseen, texts = losses(*target), losses(*source)
    strength = learnt_share(unseen) if o.prior_scaling else 1.0
    return {"prior_losses": torch.stack([unseen.mean(0), texts.mean(0)]).cpu().numpy(), "strength": np.array(strength)}


def learnt_share(losses: torch.Tensor) -> float:
    """How much better than the zero score the prior is, as a share of the zero score's loss; losses [N, 2] of both.

    Less two standard errors over the rows, and 0 where that leaves nothing: what chance may have done counts as nothing
    learnt. The most it can be is less than 1, as no score foretells the noise.
    """
    gain = losses[:, 1] - losses[:, 0]
    if len(gain) < 2:
        return 0.0
    certain = gain.mean() - STANDARD_ERRORS * gain.std() / math.sqrt(len(gain))
    return float((certain / losses[:, 1].mean()).clamp(0, 1))
