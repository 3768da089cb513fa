"""The last pictures, so that motion can be seen."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict

from atari_vlm.errors import ConfigError
from atari_vlm.wrappers.views import as_dict, dict_spaces, picture_space, pictures


class StackFrames(
    gymnasium.ObservationWrapper[Any, Any, Any], gymnasium.utils.RecordConstructorArgs
):
    """Add ``obs["frames"]``: the last ``num_frames`` pictures, uint8 ``(num_frames, H, W, 3)``, oldest first.

    After ``reset`` the first picture stands in all places. A plain picture becomes a dictionary with the keys ``image`` and
    ``frames``; ``frames`` that the environment has already are replaced. Raises ``ConfigError`` for an observation without
    picture and for ``num_frames`` below 1.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], num_frames: int = 4):
        gymnasium.utils.RecordConstructorArgs.__init__(self, num_frames=num_frames)
        super().__init__(env)
        if (
            isinstance(num_frames, bool)
            or not isinstance(num_frames, (int, np.integer))
            or num_frames < 1
        ):
            raise ConfigError(
                f"num_frames must be a whole number greater than 0, got {num_frames!r}"
            )
        picture = picture_space(env.observation_space, "StackFrames")
        frames = pictures((int(num_frames), *(picture.shape or ())))
        self.observation_space = Dict({**dict_spaces(env.observation_space), "frames": frames})
        self._frames: deque[np.ndarray] = deque(maxlen=int(num_frames))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode: its first picture fills the stack."""
        self._frames.clear()
        return super().reset(seed=seed, options=options)

    def observation(self, observation: Any) -> dict[str, Any]:
        """The observation with ``frames``, its picture being the newest."""
        stacked = as_dict(observation)
        picture = np.array(stacked["image"], np.uint8)
        missing = self._frames.maxlen if not self._frames else 1
        self._frames.extend([picture] * (missing or 1))
        stacked["frames"] = np.stack(self._frames)
        return stacked
