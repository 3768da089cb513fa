"""Steps of real play in order, as arrays: what a data set holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atari_vlm.errors import MismatchError

COLUMNS = ("frames", "actions", "rewards", "terminated", "truncated")


@dataclass(frozen=True)
class Steps:
    """Steps in order; see the module."""

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    action_names: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = {name: len(getattr(self, name)) for name in COLUMNS}
        if len(set(counts.values())) != 1 or not len(self.actions):
            raise MismatchError(f"the arrays of a dataset have one entry per step, got {counts}")
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[-1] != 3:
            raise MismatchError(f"frames are uint8 (N, H, W, 3), got {self.frames.dtype} {self.frames.shape}")
        if self.actions.dtype.kind not in "iu" or self.actions.min() < 0 or self.actions.max() >= self.num_actions:
            raise MismatchError(f"actions are whole numbers from 0 to {self.num_actions - 1}")

    @property
    def num_actions(self) -> int:
        """How many actions there are."""
        return len(self.action_names)
