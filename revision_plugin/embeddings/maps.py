"""Maps whose statistics stream without mapped rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch

PANEL = 256  # columns of a triangular product that are computed as one


@dataclass(frozen=True)
class IsotropicMap:
    """x -> n(scale x + offset), then x -> n(x + shift) for each shift: the form of the closed-form aligners.

    Its image of a row is a combination of the row and a few constant vectors, so the mean of all images
    needs one dot product a row and vector, and no mapped row.
    """

    scale: float
    offset: np.ndarray  # [d]
    shifts: np.ndarray  # [k, d]

    @property
    def constants(self) -> np.ndarray:
        """The constant vectors [1 + k, d]."""
        return np.vstack([self.offset[None], self.shifts])


@dataclass(frozen=True)
class LinearMap:
    """x -> n(linear w + offset), w = x + before or, where `anchored`, n(x + before); then x -> n(x + shift) for each
    shift.

    The mean of all images needs no mapped row here either. Beyond dot products it needs the norm of `linear w`, which a
    triangular factor of `linear` keeps and gets from half as many products.
    """

    before: np.ndarray  # [d]
    anchored: bool
    linear: np.ndarray  # [d, d]
    offset: np.ndarray  # [d]
    shifts: np.ndarray  # [k, d]


class ImageSums(ABC):
    """Images of unit-norm rows as combinations of the row, seen by the map, and of the constant vectors [1 + k, d]: the
    map's offset and shifts.
    """

    def __init__(self, offset: np.ndarray, shifts: np.ndarray, device):
        self.constants = torch.from_numpy(np.vstack([offset[None], shifts])).to(device, torch.float64)
        self.gram = (self.constants @ self.constants.T).tolist()

    @abstractmethod
    def total(self, x: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        """The sum [d] of the images of raw rows [n, d] with these norms [n]."""

    @abstractmethod
    def rows(self, x: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
        """The images [n, d] themselves."""

    def coefficients(self, dots, squares, scale: float):
        """a [n] and one b [n] a constant, with image = a row + sum of b * constant, where the first step maps a row to
        n(scale row + offset). `dots` [1 + k, n] are products of constants and rows, `squares` [n] scale^2 |row|^2.

        Step by step: the norm of `u + k` for unit u is sqrt(1 + 2 u.k + k.k), and u.k follows from the row's dot
        product.
        """
        first = (2 * scale * dots[0]).add_(squares).add_(self.gram[0][0]).rsqrt_()
        a, b = first * scale, [first]
        for step in range(1, len(self.constants)):
            inverse = a * dots[step]
            for done, coefficient in enumerate(b):
                inverse.add_(coefficient, alpha=self.gram[done][step])
            inverse.mul_(2).add_(1 + self.gram[step][step]).rsqrt_()
            a.mul_(inverse)
            for coefficient in b:
                coefficient.mul_(inverse)
            b.append(inverse)
        return a, b


class IsotropicSums(ImageSums):
    """Images of rows under an `IsotropicMap`."""

    def __init__(self, mapping: IsotropicMap, device):
        super().__init__(mapping.offset, mapping.shifts, device)
        self.scale = float(mapping.scale)

    def _coefficients(self, x, norms):
        dots = torch.stack([x @ constant for constant in self.constants]).div_(norms)
        return self.coefficients(dots, self.scale**2, self.scale)

    def total(self, x, norms):
        a, b = self._coefficients(x, norms)
        return (a / norms) @ x + torch.stack(b).sum(1) @ self.constants

    def rows(self, x, norms):
        a, b = self._coefficients(x, norms)
        return x * (a / norms)[:, None] + torch.stack(b, 1) @ self.constants


class LinearSums(ImageSums):
    """Images of rows under a `LinearMap`."""

    def __init__(self, mapping: LinearMap, device):
        super().__init__(mapping.offset, mapping.shifts, device)
        self.before, self.linear = (
            torch.from_numpy(value).to(device, torch.float64) for value in (mapping.before, mapping.linear)
        )
        self.anchored = mapping.anchored
        self.triangle = torch.linalg.qr(self.linear, mode="r").R
        self.transposed = self.constants @ self.linear  # whose products with w are the constants' with `linear w`

    def _seen(self, x, norms):
        w = (x / norms[:, None]).add_(self.before)
        return w.div_(torch.linalg.vector_norm(w, dim=1, keepdim=True)) if self.anchored else w

    def total(self, x, norms):
        w = self._seen(x, norms)
        squares = torch.zeros_like(norms)
        for start in range(0, len(self.triangle), PANEL):  # the factor is zero left of its diagonal
            panel = self.triangle[start : start + PANEL, start:]
            squares += torch.linalg.vector_norm(w[:, start:] @ panel.T, dim=1).square_()
        a, b = self.coefficients(torch.stack([w @ each for each in self.transposed]), squares, 1.0)
        return self.linear @ (a @ w) + torch.stack(b).sum(1) @ self.constants

    def rows(self, x, norms):
        images = self._seen(x, norms) @ self.linear.T
        for constant in self.constants:
            images.add_(constant)
            images.div_(torch.linalg.vector_norm(images, dim=1, keepdim=True))
        return images


def image_sums(mapping: IsotropicMap | LinearMap, device) -> ImageSums:
    """`mapping` ready for blocks of rows on `device`."""
    return IsotropicSums(mapping, device) if isinstance(mapping, IsotropicMap) else LinearSums(mapping, device)
