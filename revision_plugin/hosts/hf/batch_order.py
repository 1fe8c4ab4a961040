"""The order of examples that groups like lengths, and examples with and without an image apart: LLaVA's, drawn from
the seed and the epoch alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler


class ModalityGroups(Sampler):
    """Batches of `batch` examples for each of `shares` processes or steps of accumulation. `lengths` are words, below
    zero for examples without an image; batches of both kinds are mixed at random, and what is left over of either kind
    makes the last one.
    """

    def __init__(self, lengths: Sequence[int], batch: int, shares: int, seed: int):
        self._lengths, self._batch, self._shares, self._seed, self.epoch = lengths, batch, shares, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self.epoch)
        kinds = [[i for i, each in enumerate(self._lengths) if (each < 0) == without] for without in (False, True)]
        kinds = [kind for kind in kinds if kind]
        # where no example has an image LLaVA takes the lengths as they are, below zero
        words = self._lengths if len(kinds) == 1 else [abs(each) for each in self._lengths]
        steps = [self._grouped(kind, words, generator) for kind in kinds]
        if len(steps) == 1:
            yield from (index for step in steps[0] for index in step)
            return
        rest = sorted(index for kind in steps for index in kind[-1])
        whole = [step for kind in steps for step in kind[:-1]]
        for place in torch.randperm(len(whole), generator=generator).tolist():
            yield from whole[place]
        yield from rest

    def _grouped(self, indices: list[int], words: Sequence[int], generator: torch.Generator) -> list[list[int]]:
        """Steps of examples drawn at random; in each the longest come first and are shared out evenly."""
        order = [indices[place] for place in torch.randperm(len(indices), generator=generator).tolist()]
        size = self._batch * self._shares
        steps = [order[start : start + size] for start in range(0, len(order), size)]
        return [self._shared(sorted(step, key=lambda index: -words[index]), words) for step in steps]

    def _shared(self, step: list[int], words: Sequence[int]) -> list[int]:
        """`step` in the order of its shares, which are of one size and of nearly equal words."""
        if len(step) % self._shares:
            return [index for start in range(self._shares) for index in step[start :: self._shares]]
        shares: list[list[int]] = [[] for _ in range(self._shares)]
        loads = [0] * self._shares
        for index in step:
            open_shares = [each for each in range(self._shares) if len(shares[each]) * self._shares < len(step)]
            lightest = min(open_shares, key=lambda each: loads[each])
            shares[lightest].append(index)
            loads[lightest] += words[index]
        return [index for share in shares for index in share]
