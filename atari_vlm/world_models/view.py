"""What an agent shows its world model: the last frames and actions of the episode, in the model's own format."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from atari_vlm.picture import fit, resize
from atari_vlm.world_models.base import WorldModel

FrameSource = Callable[[], Any]


class WorldView:
    """Collects the context of a world model (``context_length`` frames, default 1, and the actions between them).

    A frame is what ``frame_source`` returns (an environment's ``render``, say: the screen at its own size), else the
    observation's ``image``, else the observation itself. It is brought to the model's size by area averaging.
    """

    def __init__(self, world_model: WorldModel[Any], frame_source: FrameSource | None = None):
        self._model, self._source = world_model, frame_source
        self._length = int(getattr(world_model, "context_length", 1))
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self._frames: deque[np.ndarray] = deque(maxlen=self._length)
        self._actions: deque[int] = deque(maxlen=self._length - 1)

    def look(self, observation: Any) -> None:
        """Take in the present observation; once per step."""
        self._frames.append(self.frame(observation))

    def did(self, action: int) -> None:
        """Note the executed action."""
        self._actions.append(action)

    def state(self, rng: np.random.Generator) -> Any:
        """The model's state of one row for the present moment."""
        frames = list(self._frames)
        actions = list(self._actions)[len(self._actions) - (len(frames) - 1) :]
        return self._model.init(np.stack(frames)[None], np.array([actions], np.int64), rng=rng)

    def frame(self, observation: Any) -> np.ndarray:
        """The present frame as the model sees it."""
        if self._source is not None:
            frame = np.asarray(self._source())
        else:
            frame = np.asarray(observation["image"] if isinstance(observation, Mapping) else observation)
        return fit(frame, self._model.observation_space.shape)


def frame_of(env: gymnasium.Env[Any, Any], observation: Any, space: gymnasium.Space[Any]) -> np.ndarray:
    """A real environment's present picture as a model with observation space ``space`` sees it.

    That is the observation where it fits, else the rendered screen, else ``observation["image"]``, averaged over areas to size.
    """
    if isinstance(observation, np.ndarray) and observation.shape == space.shape:
        return observation
    rendered = env.render() if env.render_mode == "rgb_array" else None
    if rendered is None:
        rendered = observation["image"] if isinstance(observation, Mapping) else observation
    height, width = (space.shape or ())[:2]
    return resize(np.asarray(rendered), (height, width), "area")
