"""Robust shape of heavy-tailed rows: Tyler's M-estimator (ReVision, appendix B.6)."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import NotMeasurable


def tyler_shape(
    rows: np.ndarray, *, start: np.ndarray | None = None, tolerance: float = 1e-4, iterations: int = 200
) -> np.ndarray:
    """Shape matrix [d, d] with trace d of centred rows [n, d], by the fixed point of eq. (45).

    It depends on the rows' directions alone, so heavy tails do not move it. Rows at the centre have no direction and
    are left out. `start` [d, d] is where the iteration starts: by default the second moment of the directions. The
    fixed point is the same for every one; a near one saves steps. Raises NotMeasurable for n <= d, where the fixed
    point does not exist, and where it is not reached.
    """
    x = np.asarray(rows, np.float64)
    norms = np.linalg.norm(x, axis=1)
    x = x[norms > 0] / norms[norms > 0, None]
    n, d = x.shape
    if n <= d:
        raise NotMeasurable(f"Tyler's estimator of {d} dimensions needs more than {d} rows, there are {n}")
    shape = _scaled(x.T @ x if start is None else start)
    for _ in range(iterations):
        factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(shape))
        if failed:
            break
        whitened = torch.linalg.solve_triangular(factor, torch.from_numpy(x).T, upper=False)
        weighted = x / torch.linalg.vector_norm(whitened, dim=0).numpy()[:, None]
        update = _scaled(weighted.T @ weighted)  # numpy alone sees that it is symmetric and computes half
        change = float(np.linalg.norm(update - shape) / np.linalg.norm(shape))
        shape = update
        if change < tolerance:
            return shape
    raise NotMeasurable("Tyler's estimator did not converge: the rows lie in a subspace or repeat")


def _scaled(shape: np.ndarray) -> np.ndarray:
    """`shape` [d, d] with trace d."""
    return shape * (len(shape) / np.trace(shape))
