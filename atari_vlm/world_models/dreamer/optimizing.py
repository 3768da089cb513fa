"""The optimizers of a Dreamer: one for everything, or the three of 2023."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from atari_vlm.world_models.dreamer.networks import Networks
from atari_vlm.world_models.dreamer.settings import Learning
from atari_vlm.world_models.learned.arrays import optimizer_arrays, restore_optimizers
from atari_vlm.world_models.learned.optimizers import LaProp, apply_gradients
from atari_vlm.world_models.learned.team import Team

_PLAYER_SHARE = 0.8  # of the world model's rate (2023)


class Optimizers:
    """Those of the networks, by name, and the length to which each cuts its gradients."""

    def __init__(self, networks: Networks, learning: Learning):
        self.by_name: dict[str, torch.optim.Optimizer] = {}
        self._max_norms: dict[str, float] = {}
        if learning.optimizer == "laprop":
            everything = LaProp(
                networks.trained(), learning.learning_rate, learning.warm_up, decay=learning.decay
            )
            self.by_name["all"], self._max_norms["all"] = everything, math.inf
            return
        player = {"actor": networks.actor, "critic": networks.critic}
        its_own = {id(p) for part in player.values() for p in part.parameters()}
        others = [p for p in networks.trained() if id(p) not in its_own]
        rate = learning.learning_rate
        self._add("world_model", torch.optim.Adam(others, lr=rate, eps=1e-8), 1000.0)
        for name, part in player.items():
            adam = torch.optim.Adam(part.parameters(), lr=_PLAYER_SHARE * rate, eps=1e-5)
            self._add(name, adam, 100.0)

    def _add(self, name: str, optimizer: torch.optim.Optimizer, max_norm: float) -> None:
        self.by_name[name], self._max_norms[name] = optimizer, max_norm

    def apply(self, team: Team) -> float:
        """Sum the gradients over the ranks, step and forget them; their norm."""
        norms = [
            apply_gradients(optimizer, self._max_norms[name], team)
            for name, optimizer in self.by_name.items()
        ]
        return math.hypot(*norms)

    def arrays(self) -> dict[str, np.ndarray]:
        """Their states."""
        return optimizer_arrays(self.by_name)

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        restore_optimizers(self.by_name, arrays)
