"""Choosing the next token of one row."""

from __future__ import annotations

import numpy as np

from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.local.options import LocalOptions


class TokenSampler:
    """Greedy at temperature 0, else drawn from its own generator, so that a row does not depend on its batch.

    The draws of one seed and one ``Sampling.sample`` are always the same; without a seed they are fresh.
    """

    def __init__(self, sampling: Sampling, options: LocalOptions):
        self.temperature = (
            options.temperature if sampling.temperature is None else sampling.temperature
        )
        self._top_p = options.top_p if sampling.top_p is None else sampling.top_p
        self._top_k = options.top_k if sampling.top_k is None else sampling.top_k
        seed = None if sampling.seed is None else [abs(sampling.seed), sampling.sample]
        self._rng = np.random.default_rng(seed)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0

    def draw(self, logits: np.ndarray) -> int:
        """A token id from float32 logits ``(V,)``."""
        scaled = logits.astype(np.float64) / self.temperature
        order = np.argsort(-scaled, kind="stable")[: self._top_k]
        weights = np.exp(scaled[order] - scaled[order[0]])
        probabilities = weights / weights.sum()
        if self._top_p is not None:
            kept = int(np.searchsorted(np.cumsum(probabilities), self._top_p)) + 1
            order, probabilities = order[:kept], probabilities[:kept] / probabilities[:kept].sum()
        return int(order[self._rng.choice(len(order), p=probabilities)])
