"""What a decision is worth: a linear head on the last hidden state behind the prompt, fitted anew after every play.

Its gradient never reaches the model: squared errors of returns are of another size than a policy's gradient, and a head that
knows nothing yet would spoil a policy that knows something. So it needs no learning rate either: ridge regression, its penalty
chosen by generalised cross-validation (Golub, Heath and Wahba 1979, equation 1.4).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_PENALTIES = np.logspace(-6, 2, 25)  # in units of the largest squared singular value
_LEAST_FREEDOM = 0.1  # share of the degrees of freedom that a fit leaves


class ValueHead:
    """``weight`` float64 ``(D,)`` and ``bias``; worth nothing until it is fitted."""

    def __init__(self, width: int):
        self.weight, self.bias = np.zeros(width), 0.0

    def __call__(self, hidden: np.ndarray) -> np.ndarray:
        """Values float64 ``(B,)`` of hidden states ``(B, D)``."""
        return np.asarray(hidden.astype(np.float64) @ self.weight + self.bias)

    def fit(self, hidden: np.ndarray, returns: np.ndarray) -> None:
        """Fit ``returns`` ``(B,)`` by states ``(B, D)``."""
        states, centre, middle = (
            hidden.astype(np.float64),
            hidden.mean(0, dtype=np.float64),
            returns.mean(),
        )
        left, sizes, right = np.linalg.svd(states - centre, full_matrices=False)
        aims = left.T @ (returns - middle)
        shrinking = _shrinking(sizes, aims, float(((returns - middle) ** 2).sum()), len(returns))
        self.weight = right.T @ (shrinking * aims / np.maximum(sizes, 1e-12))
        self.bias = float(middle - centre @ self.weight)

    def arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint."""
        return {"head.weight": self.weight, "head.bias": np.array(self.bias)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        self.weight, self.bias = arrays["head.weight"], float(arrays["head.bias"])


def explained(values: np.ndarray, returns: np.ndarray) -> float:
    """The share of the variance of ``returns`` ``(B,)`` that ``values`` explain: at most 1, below 0 where they mislead."""
    spread = float(returns.var())
    return 0.0 if spread == 0 else 1 - float((returns - values).var()) / spread


def _shrinking(sizes: np.ndarray, aims: np.ndarray, total: float, count: int) -> np.ndarray:
    """What ridge regression leaves of each singular direction, 0 to 1, with the penalty of the least cross-validated error."""
    best, kept = np.inf, np.zeros_like(sizes)
    if not sizes.size or sizes[0] == 0:
        return kept
    for penalty in _PENALTIES * sizes[0] ** 2:
        shares = sizes**2 / (sizes**2 + penalty)
        freedom = 1 - (1 + shares.sum()) / count
        if freedom < _LEAST_FREEDOM:
            continue
        error = (total - (aims**2 * (1 - (1 - shares) ** 2)).sum()) / freedom**2
        if error < best:
            best, kept = error, shares
    return kept
