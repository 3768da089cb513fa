"""An episode that begins with no-ops, as Atari's protocols do, so that its seed decides where play begins."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from atari_vlm.errors import ConfigError


class StartWithNoops(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """Begin an episode with ``least`` to ``most`` no-ops (action 0) that the seed decides; ``noops`` of them.

    An episode that ends meanwhile begins anew. Raises ``ConfigError`` for numbers that are no range.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], most: int = 30, least: int = 1):
        gymnasium.utils.RecordConstructorArgs.__init__(self, most=most, least=least)
        super().__init__(env)
        if not 0 <= least <= most:
            raise ConfigError(f"no-ops are 0 <= least <= most, got {least} and {most}")
        self.most, self.least, self.noops = most, least, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin; the no-ops are no steps of the episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.noops = int(np.random.default_rng(seed).integers(self.least, self.most + 1))
        for _ in range(self.noops):
            observation, _, terminated, truncated, info = self.env.step(0)
            if terminated or truncated:
                observation, info = self.env.reset()
        return observation, info


class ThroughGameOvers(
    gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs
):
    """A game over ends no episode: the next game begins at once and its rewards add up, until the episode is truncated.

    ``info["games"]`` counts the games that are over.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]):
        gymnasium.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self._over = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin with the first game."""
        self._over = 0
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, {**info, "games": 0}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play an action; after a game over the observation is the next game's first."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated and not truncated:
            self._over += 1
            observation, info = self.env.reset()
            terminated = False
        return observation, reward, bool(terminated), bool(truncated), {**info, "games": self._over}
