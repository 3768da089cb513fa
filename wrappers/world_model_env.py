"""A world model as a plain environment: the one-row view of :class:`WorldModelVectorEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_action
from atari_vlm.trees import take_row
from atari_vlm.world_models.base import WorldModel
from atari_vlm.wrappers.dream_start import Start
from atari_vlm.wrappers.world_model_vector_env import WorldModelVectorEnv


class WorldModelEnv(gymnasium.Env[Any, Any]):
    """One dream in a ``world_model``. Arguments as :class:`WorldModelVectorEnv`'s.

    ``info`` holds ``imagined_steps`` (int) and, where ``reanchor_every`` is set, ``reanchored``
    (bool).
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        world_model: WorldModel[Any],
        *,
        start: Start = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        reanchor_every: int | None = None,
    ):
        self._dreams = WorldModelVectorEnv(
            world_model,
            1,
            start=start,
            max_episode_steps=max_episode_steps,
            autoreset_mode="Disabled",
            render_mode=render_mode,
            reanchor_every=reanchor_every,
        )
        self.render_mode, self.world_model, self.frame_skip = (
            render_mode,
            world_model,
            world_model.frame_skip,
        )
        self.metadata = {**self.metadata, "render_fps": self._dreams.metadata["render_fps"]}
        self.observation_space, self.action_space = (
            world_model.observation_space,
            world_model.action_space,
        )

    @property
    def state(self) -> Any:
        """The model's state, one row (for planners)."""
        return self._dreams.state

    def get_action_meanings(self) -> list[str]:
        """Action names, where the model knows them, else numbers."""
        return self._dreams.get_action_meanings()

    def get_keys_to_action(self) -> dict[tuple[str, ...], int]:
        """Keys for ``gymnasium.utils.play``."""
        return keys_to_action(
            self.get_action_meanings(), int(getattr(self.action_space, "start", 0))
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a dream. ``options`` are not used."""
        super().reset(seed=seed)
        self._dreams._np_random = self.np_random
        frames, info = self._dreams.reset()
        return take_row(frames, 0), self._info(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Dream one step; stepping a dream that has ended raises gymnasium's ``ResetNeeded``."""
        frames, reward, terminated, truncated, info = self._dreams.step(
            np.asarray(as_action(self.action_space, action))[None]
        )
        return (
            take_row(frames, 0),
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            self._info(info),
        )

    def render(self) -> Any:
        """The last decoded frame, uint8 ``(H, W, 3)``; ``None`` without a render mode."""
        frames = self._dreams.render()
        return None if frames is None else frames[0]

    @staticmethod
    def _info(info: dict[str, Any]) -> dict[str, Any]:
        return {name: value[0].item() for name, value in info.items() if not name.startswith("_")}


def keys_to_action(action_names: Sequence[str], start: int = 0) -> dict[tuple[str, ...], int]:
    """Keys for actions, the first of which is ``start``: ``UPLEFTFIRE`` is w, a and the space bar
    together, NOOP is e.

    Without ALE's names: the number.
    """
    parts = {"UP": "w", "DOWN": "s", "LEFT": "a", "RIGHT": "d", "FIRE": " ", "NOOP": "e"}
    keys = [tuple(key for part, key in parts.items() if part in name) for name in action_names]
    named = all(keys) and len(set(keys)) == len(keys)
    return {key if named else (str(i),): i for i, key in enumerate(keys, start)}
