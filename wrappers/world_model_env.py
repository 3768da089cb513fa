"""A world model as a plain environment: one dream, as :class:`WorldModelVectorEnv` has many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_action, numbers_of
from atari_vlm.space_trees import row_of
from atari_vlm.trees import stacked
from atari_vlm.types import Action
from atari_vlm.world_models.base import WorldModel
from atari_vlm.wrappers.dream_start import Start
from atari_vlm.wrappers.dreaming import Dreaming

_ROW = np.zeros(1, np.int64)


class WorldModelEnv(gymnasium.Env[Any, Any]):
    """One dream in a ``world_model``. Arguments as
    :class:`~atari_vlm.wrappers.world_model_vector_env.WorldModelVectorEnv`'s. A model that has
    ``step_one`` is stepped with that.

    ``info`` holds ``imagined_steps`` (int), where ``reanchor_every`` is set ``reanchored`` (bool),
    and where the model tells one ``imagined_text`` (str).
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
        self._dreaming = Dreaming(
            world_model, 1, start, max_episode_steps, render_mode, reanchor_every
        )
        self.render_mode, self.world_model = render_mode, world_model
        self.frame_skip = world_model.frame_skip
        self.metadata = {**self.metadata, "render_fps": self._dreaming.render_fps}
        self.observation_space = world_model.observation_space
        self.action_space = world_model.action_space
        self._state: Any = None
        self._frames: Any = None
        self._steps, self._over = 0, True
        self._tells = hasattr(world_model, "imagined_text")
        self._step_one = None if reanchor_every else getattr(world_model, "step_one", None)

    @property
    def state(self) -> Any:
        """The model's state, one row (for planners); undefined before the first reset."""
        return self._state

    def get_action_meanings(self) -> list[str]:
        """Action names, where the model knows them, else numbers."""
        return self._dreaming.action_names()

    def get_keys_to_action(self) -> dict[tuple[str, ...], int]:
        """Keys for ``gymnasium.utils.play``."""
        numbers = numbers_of(self.action_space)
        return keys_to_action(self.get_action_meanings(), numbers.start)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a dream. ``options`` are not used."""
        super().reset(seed=seed)
        self._state = self._dreaming.begin(_ROW, self.np_random)
        self._steps, self._over = 0, False
        return self._decoded(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Dream one step; stepping a dream that has ended, or not begun, raises gymnasium's ``ResetNeeded``."""
        if self._over:
            raise gymnasium.error.ResetNeeded("the dream has ended or not begun: call reset()")
        played = as_action(self.action_space, action)
        if self._step_one is None:
            return self._step_row(played)
        self._state, shown, reward, terminated = self._step_one(
            self._state, played, rng=self.np_random
        )
        if self.render_mode is not None:
            self._frames = stacked([shown])
        return shown, reward, terminated, self._count(terminated), self._info()

    def render(self) -> Any:
        """The dream's picture, uint8 ``(H, W, 3)``; as :meth:`WorldModelVectorEnv.render`."""
        if self.render_mode is None or self._frames is None:
            return None
        return self._dreaming.pictures(self._state, self._frames)[0]

    def _step_row(self, played: Action) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """A step of a batch of one row."""
        actions = np.asarray(played)[None]
        step = self.world_model.step(self._state, actions, rng=self.np_random)
        self._state, terminated = step.state, bool(step.terminated[0])
        truncated = self._count(terminated)
        info = self._info() if self._dreaming.anchor is None else self._reanchor(actions)
        return self._decoded(), float(step.reward[0]), terminated, truncated, info

    def _count(self, terminated: bool) -> bool:
        """Count a step; whether it is the horizon's."""
        self._steps += 1
        truncated = self._steps == self._dreaming.max_steps and not terminated
        self._over = terminated or truncated
        return truncated

    def _reanchor(self, actions: np.ndarray) -> dict[str, Any]:
        assert self._dreaming.anchor is not None
        going = (np.ones(1, bool), np.array([0 if self._over else self._steps]))
        self._state, reanchored = self._dreaming.anchor.follow(
            self._state, actions, going, self.np_random
        )
        return {**self._info(), "reanchored": bool(reanchored[0])}

    def _decoded(self) -> Any:
        """What the dream shows now; kept for :meth:`render`, and copied for whoever plays."""
        self._frames = self.world_model.decode(self._state)
        return row_of(self.observation_space, self._frames, 0)

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {"imagined_steps": self._steps}
        if self._tells:
            info["imagined_text"] = self.world_model.imagined_text(self._state)[0]  # type: ignore[attr-defined]
        return info


def keys_to_action(action_names: Sequence[str], start: int = 0) -> dict[tuple[str, ...], int]:
    """Keys for actions, the first of which is ``start``: ``UPLEFTFIRE`` is w, a and the space bar
    together, NOOP is e.

    Without ALE's names: the number.
    """
    parts = {"UP": "w", "DOWN": "s", "LEFT": "a", "RIGHT": "d", "FIRE": " ", "NOOP": "e"}
    keys = [tuple(key for part, key in parts.items() if part in name) for name in action_names]
    named = all(keys) and len(set(keys)) == len(keys)
    return {key if named else (str(i),): i for i, key in enumerate(keys, start)}
