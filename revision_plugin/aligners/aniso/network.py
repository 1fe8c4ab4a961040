"""The small networks of both stages: one form, with its weights inside or given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.func import functional_call

from ..._common.progress import track
from .options import AnisoOptions


def new_network(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths with SiLU between them."""
    layers: list[nn.Module] = []
    for index, (width, following) in enumerate(zip(sizes, sizes[1:])):
        layers += [nn.Linear(width, following)] + ([nn.SiLU()] if index < len(sizes) - 2 else [])
    return nn.Sequential(*layers)


def zero_start(net: nn.Sequential) -> nn.Sequential:
    """The network with its last layer at zero: a correction begins as none."""
    last = net[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return net


def apply_network(weights: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The network with these `weights`, named as in its state dict, at `x` [N, in] -> [N, out]."""
    layers = sorted(int(name.split(".")[0]) for name in weights if name.endswith(".weight"))
    sizes = [x.shape[1], *(len(weights[f"{layer}.weight"]) for layer in layers)]
    with torch.device("meta"):
        net = new_network(sizes)
    return functional_call(net, dict(weights), (x,))


def optimise(
    title: str, net: nn.Module, loss_of: Callable[[torch.Tensor], torch.Tensor], rows: int, o: AnisoOptions
) -> None:
    """Minimise `loss_of` random batches of row numbers, with AdamW and a cosine."""
    device = next(net.parameters()).device
    optimizer = torch.optim.AdamW(net.parameters(), lr=o.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, o.steps)
    with track(title, total=o.steps, unit="step") as advance:
        for _ in range(o.steps):
            loss = loss_of(torch.randint(rows, (min(o.batch, rows),), device=device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(1)
