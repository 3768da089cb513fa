"""Which seeds episodes get: those of training and those of evaluation never meet."""

from __future__ import annotations

SEEDS_PER_RUN = 10_000


def train_seed(seed: int, index: int) -> int:
    """The seed of the index-th training episode of a run: always even."""
    return 2 * (seed * SEEDS_PER_RUN + index)


def eval_seed(seed: int, index: int) -> int:
    """The seed of the index-th evaluation episode of a run: always odd, so never one that was trained on."""
    return 2 * (seed * SEEDS_PER_RUN + index) + 1
