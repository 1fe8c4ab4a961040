"""What chance alone gives, beside which shapes and angles are read."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.integrate import quad
from scipy.stats import beta

from ..errors import NotMeasurable
from .shape import tyler_shape
from .spectrum import condition_number


@functools.cache
def isotropic_condition(rows: int, dim: int, *, seed: int = 0) -> float:
    """Condition number of Tyler's shape of `rows` isotropic Gaussian rows of `dim` dimensions: what few rows make of 1.

    It depends on rows / dim: about ((1 + q) / (1 - q))^2 with q = sqrt(dim / rows) (Marchenko and Pastur's edges).
    Raises NotMeasurable where Tyler's estimator does not exist.
    """
    if dim < 2 or rows <= dim:
        raise NotMeasurable(f"Tyler's estimator of {dim} dimensions needs 2 of them, and more rows than {rows}")
    values = np.linalg.eigvalsh(tyler_shape(np.random.default_rng(seed).normal(size=(rows, dim))))
    return condition_number(values[::-1])


def random_angle(dim: int, *, below: float = 0.05) -> tuple[float, float]:
    """(mean, `below` quantile), in degrees, of the angle between a fixed line and a random one in `dim` dimensions.

    The squared cosine has the distribution Beta(1/2, (dim - 1) / 2). Raises NotMeasurable for fewer than 2 dimensions.
    """
    if dim < 2:
        raise NotMeasurable("a line has no other direction than its own")
    squared_cosine = beta(0.5, (dim - 1) / 2)
    mean = quad(lambda angle: squared_cosine.cdf(math.cos(angle) ** 2), 0, math.pi / 2)[0]
    return math.degrees(mean), math.degrees(math.acos(math.sqrt(squared_cosine.isf(below))))
