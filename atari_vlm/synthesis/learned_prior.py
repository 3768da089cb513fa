"""The value of an action that was never tried, learned while the search goes on (GIF-MCTS, arXiv 2405.15383, appendix).

It is the weighted mean of a global average (all results of that kind, and a prior that counts as some) and a local one (the
siblings of that kind). Both weights begin at 0.5 and follow the gradient of the squared error with the step 1/n.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class LearnedPrior:
    """The prior of one kind of action."""

    def __init__(self, value: float, count: int):
        self._sum, self._count = value * count, count
        self._results = 1 + count  # n of the step 1/n
        self.weights = (0.5, 0.5)  # w_G, w_L

    def predict(self, siblings: Sequence[float]) -> float:
        """The expected value, 0 to 1, given those of the siblings; in single precision, so that no rounding breaks a tie."""
        return float(np.float32(min(max(self._predict(self._mean(siblings)), 0.0), 1.0)))

    def learn(self, result: float, siblings: Sequence[float]) -> None:
        """A result came, and these are the siblings that it would have been predicted from."""
        overall, local = self._sum / self._count, self._mean(siblings)
        if local is not None:
            self._follow_gradient(overall, local, result)
        self._results += 1
        self._sum += result
        self._count += 1

    def _predict(self, local: float | None) -> float:
        overall = self._sum / self._count
        if local is None:
            return overall
        w_overall, w_local = self.weights
        return (w_overall * overall + w_local * local) / (w_overall + w_local)

    def _follow_gradient(self, overall: float, local: float, result: float) -> None:
        predicted = self._predict(local)
        step = 2.0 * (predicted - result) / (sum(self.weights) * self._results)
        w_overall, w_local = self.weights
        self.weights = (
            w_overall - step * (overall - predicted),
            w_local - step * (local - predicted),
        )

    @staticmethod
    def _mean(values: Sequence[float]) -> float | None:
        return sum(values) / len(values) if values else None
