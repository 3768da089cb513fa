"""A world model as a plain environment: the one-row view of :class:`WorldModelVectorEnv`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from atari_vlm.errors import UnknownNameError
from atari_vlm.world_models.base import WorldModel
from atari_vlm.wrappers.world_model_vector_env import Start, WorldModelVectorEnv


class WorldModelEnv(gymnasium.Env[Any, Any]):
    """One dream in a ``world_model``. Arguments as :class:`WorldModelVectorEnv`; ``render_mode`` is ``"rgb_array"`` or ``None``.

    ``info`` holds ``imagined_steps``.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        world_model: WorldModel[Any],
        *,
        start: Start = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ):
        if render_mode not in (None, "rgb_array"):
            raise UnknownNameError("render_mode", render_mode, ("rgb_array",))
        self.render_mode, self.world_model = render_mode, world_model
        self.frame_skip = world_model.frame_skip
        self._dreams = WorldModelVectorEnv(
            world_model, 1, start=start, max_episode_steps=max_episode_steps, autoreset_mode="Disabled"
        )
        self.observation_space, self.action_space = world_model.observation_space, world_model.action_space
        self._frame: np.ndarray | None = None

    @property
    def state(self) -> Any:
        """The model's state, one row (for planners)."""
        return self._dreams.state

    def get_action_meanings(self) -> list[str]:
        """Action names, where the model knows them."""
        return list(getattr(self.world_model, "action_names", map(str, range(int(self.action_space.n)))))  # type: ignore[attr-defined]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a dream."""
        super().reset(seed=seed)
        self._dreams._np_random = self.np_random
        frames, info = self._dreams.reset()
        self._frame = frames[0]
        return frames[0], self._info(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Dream one step."""
        frames, reward, terminated, truncated, info = self._dreams.step(np.asarray(action)[None])
        self._frame = frames[0]
        return frames[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), self._info(info)

    def render(self) -> Any:
        """The last decoded frame, uint8 ``(H, W, 3)``; ``None`` without a render mode."""
        return None if self.render_mode is None or self._frame is None else self._frame.copy()

    @staticmethod
    def _info(info: dict[str, Any]) -> dict[str, Any]:
        return {"imagined_steps": int(info["imagined_steps"][0])}
