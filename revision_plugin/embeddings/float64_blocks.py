"""Blocks of rows in float64: upcast into memory that is used again, and summed as outer products."""

from __future__ import annotations

import threading

import numpy as np
import torch

BLOCKS_OF_A_PRODUCT = 16  # as one: the outer products are read and written once a product


class Upcast(threading.local):
    """Blocks as float64 tensors, each in the memory of the one before in its thread: where several threads allocate,
    memory that was freed comes back as pages to be cleared, which costs as much as the upcast.
    """

    def __init__(self, device):
        self._device = device
        self._steps: list[torch.Tensor] = []  # [rows, d] as read, in float32 where that is float16, and in float64

    def __call__(self, block: np.ndarray) -> torch.Tensor:
        if str(self._device) != "cpu":
            return to_float64(block, self._device)
        if not self._steps or len(block) > len(self._steps[0]):
            read = torch.from_numpy(np.empty_like(block))
            dtypes = [torch.float32] * (read.dtype == torch.float16) + [torch.float64] * (read.dtype != torch.float64)
            self._steps = [read, *(torch.empty(read.shape, dtype=dtype) for dtype in dtypes)]
        first, *others = (step[: len(block)] for step in self._steps)
        first.numpy()[:] = block
        for step in others:
            first = step.copy_(first)
        return first


class OuterProducts:
    """The sum [d, d] of the outer products of rows that come in small blocks.

    On a CPU many blocks are multiplied as one, by numpy: it alone sees that `x.T @ x` is symmetric and computes half.
    """

    def __init__(self, dim: int, block: int, rows: int, device):
        self._on_gpu = str(device) != "cpu"
        self._total = torch.zeros(dim, dim, dtype=torch.float64, device=device)
        if not self._on_gpu:
            self._rows = np.empty((min(rows, BLOCKS_OF_A_PRODUCT * block), dim))
            self._product, self._filled = np.empty((dim, dim)), 0

    def add(self, x: torch.Tensor) -> None:
        """Add rows [n, d], at most a block."""
        if self._on_gpu:
            self._total.addmm_(x.T, x)
            return
        if self._filled + len(x) > len(self._rows):
            self._multiply()
        self._rows[self._filled : self._filled + len(x)] = x.numpy()
        self._filled += len(x)

    def _multiply(self) -> None:
        rows = self._rows[: self._filled]
        self._total += torch.from_numpy(np.matmul(rows.T, rows, out=self._product))
        self._filled = 0

    def total(self) -> np.ndarray:
        if not self._on_gpu:
            self._multiply()
        return self._total.cpu().numpy()


def to_float64(block: np.ndarray, device="cpu") -> torch.Tensor:
    """A block of any float dtype as a float64 tensor of its own on `device`."""
    x = torch.from_numpy(np.array(block)).to(device)
    return x.float().double() if x.dtype == torch.float16 else x.double()
