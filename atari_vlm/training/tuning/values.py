"""What a decision is worth: a linear head on the last hidden state behind the prompt, fitted anew after every play.

Its gradient never reaches the model: squared errors of returns are of another size than a policy's gradient, and a head that
knows nothing yet would spoil a policy that knows something. So it needs no learning rate either: ridge regression, its penalty
chosen by generalised cross-validation (Golub, Heath and Wahba 1979, equation 1.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from atari_vlm.errors import RunError

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


class ValueHeads:
    """A :class:`ValueHead` for every game.

    A head that several games share is fitted to the one with the largest rewards, and what it says of the others is noise
    many times the size of theirs: they then learn to reach what it takes for worth something.
    """

    def __init__(self, width: int, games: int = 1):
        self.heads = [ValueHead(width) for _ in range(games)]

    def __call__(self, hidden: np.ndarray, games: Sequence[int]) -> np.ndarray:
        """Values float64 ``(B,)`` of hidden states ``(B, D)``, each of the game with its number in ``games``."""
        return np.array(
            [self.heads[game](row) for row, game in zip(hidden, games, strict=True)], np.float64
        )

    def fit(self, hidden: np.ndarray, returns: np.ndarray, games: Sequence[int]) -> None:
        """Fit each game's head to its own ``returns`` ``(B,)`` by states ``(B, D)``."""
        for number, head in enumerate(self.heads):
            own = np.asarray(games) == number
            if own.any():
                head.fit(hidden[own], returns[own])

    def arrays(self) -> dict[str, np.ndarray]:
        """For a checkpoint: ``(games, D)`` and ``(games,)``."""
        return {
            "head.weight": np.stack([head.weight for head in self.heads]),
            "head.bias": np.array([head.bias for head in self.heads]),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`; ``RunError`` where the checkpoint's games shared one head, as they once did."""
        weights, biases = np.atleast_2d(arrays["head.weight"]), np.atleast_1d(arrays["head.bias"])
        if len(weights) != len(self.heads):
            raise RunError(
                f"the checkpoint has {len(weights)} value heads for {len(self.heads)} games: it is of an older version; "
                "begin a new run, with its adapter"
            )
        for head, weight, bias in zip(self.heads, weights, biases, strict=True):
            head.weight, head.bias = weight, float(bias)


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
