"""Maps whose statistics stream without mapped rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


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


class IsotropicSums:
    """Images of rows under an `IsotropicMap`, as coefficients of the row and of the constant vectors."""

    def __init__(self, mapping: IsotropicMap, device):
        self.scale = float(mapping.scale)
        self.constants = torch.from_numpy(mapping.constants).to(device, torch.float64)
        self.gram = (self.constants @ self.constants.T).tolist()

    def coefficients(self, x, norms):
        """For raw rows [n, d]: a [n] and one b [n] a constant, with image = a x / ||x|| + sum of b * constant.

        Step by step: the norm of `u + k` for unit u is sqrt(1 + 2 u.k + k.k), and u.k follows from the row's dot
        product.
        """
        dots = torch.stack([x @ constant for constant in self.constants]).div_(norms)
        first = (2 * self.scale * dots[0]).add_(self.scale**2 + self.gram[0][0]).rsqrt_()
        a, b = first * self.scale, [first]
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

    def total(self, x, norms):
        a, b = self.coefficients(x, norms)
        return (a / norms) @ x + torch.stack(b).sum(1) @ self.constants

    def rows(self, x, norms):
        a, b = self.coefficients(x, norms)
        return x * (a / norms)[:, None] + torch.stack(b, 1) @ self.constants
