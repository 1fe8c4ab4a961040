"""Robust shape of heavy-tailed rows: Tyler's M-estimator (ReVision, appendix B.6)."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import NotMeasurable


def tyler_shape(rows: np.ndarray, *, tolerance: float = 1e-4, iterations: int = 200) -> np.ndarray:
    """Shape matrix [d, d] with trace d of centred rows [n, d], by the fixed point of eq. (45).

    It depends on the rows' directions alone, so heavy tails do not move it. Rows at the centre have no direction and
    are left out. Raises NotMeasurable for n <= d, where the fixed point does not exist, and where it is not reached.
    """
    x = torch.from_numpy(np.asarray(rows, np.float64))
    norms = x.norm(dim=1)
    x = x[norms > 0] / norms[norms > 0, None]
    n, d = x.shape
    if n <= d:
        raise NotMeasurable(f"Tyler's estimator of {d} dimensions needs more than {d} rows, there are {n}")
    shape = torch.eye(d, dtype=torch.float64)
    for _ in range(iterations):
        factor, failed = torch.linalg.cholesky_ex(shape)
        if failed:
            break
        distances = torch.linalg.solve_triangular(factor, x.T, upper=False).square().sum(0)
        update = (x / distances[:, None]).T @ x
        update *= d / update.trace()
        change = float((update - shape).norm() / shape.norm())
        shape = update
        if change < tolerance:
            return shape.numpy()
    raise NotMeasurable("Tyler's estimator did not converge: the rows lie in a subspace or repeat")
