"""Models whose figures are known beforehand: one that never moves, and one that is wrong about what actions do."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np

from atari_vlm.world_models.base import ModelStep
from atari_vlm.world_models.emulator import EmulatorState, EmulatorWorldModel

_OPPOSITE = {"LEFT": "RIGHT", "RIGHT": "LEFT", "UP": "DOWN", "DOWN": "UP"}


class Still(NamedTuple):
    """``boxes`` ``(B, objects, 4)``, and the picture's palette indices uint8 ``(B, H, W)``."""

    boxes: np.ndarray
    picture: np.ndarray


class CopyWorldModel:
    """The last real moment for ever: no reward, no end. ``init`` takes the moments themselves, ``(B, 1, ...)`` each."""

    frame_skip, reward_transform = 4, "none"

    def __init__(self, action_names: tuple[str, ...], rgb: np.ndarray, shape: tuple[int, int]):
        self.action_names, self._rgb = action_names, rgb
        self.action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(len(action_names))
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(
            0, 255, (*shape, 3), np.uint8
        )

    def init(
        self,
        observations: tuple[np.ndarray, np.ndarray],
        actions: np.ndarray,
        *,
        rng: np.random.Generator,
    ) -> Still:
        """The last moment of each row."""
        boxes, pictures = observations
        return Still(boxes[:, -1], pictures[:, -1])

    def step(
        self, state: Still, action: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[Still]:
        """Nothing happens."""
        rows = len(state.boxes)
        return ModelStep(state, np.zeros(rows, np.float32), np.zeros(rows, bool))

    def decode(self, state: Still) -> np.ndarray:
        """Pictures uint8 ``(B, H, W, 3)``."""
        pictures: np.ndarray = self._rgb[state.picture]
        return pictures


class CorruptWorldModel(EmulatorWorldModel):
    """The emulator, but for one planted fault: every direction of the joystick is taken for its opposite."""

    def __init__(self, env: gymnasium.Env[Any, Any]):
        super().__init__(env)
        numbers = {name: number for number, name in enumerate(self.action_names)}
        self._taken = np.array([numbers[_opposite(name)] for name in self.action_names])

    def rollout(
        self, state: EmulatorState, plans: np.ndarray, *, rng: np.random.Generator
    ) -> ModelStep[EmulatorState]:
        """Play plans with every direction reversed."""
        return super().rollout(state, self._taken[plans], rng=rng)


def _opposite(name: str) -> str:
    """``UPRIGHTFIRE`` becomes ``DOWNLEFTFIRE``."""
    for word in ("UP", "DOWN"):
        if name.startswith(word):
            return _OPPOSITE[word] + _opposite(name[len(word) :])
    for word in ("LEFT", "RIGHT"):
        if name.startswith(word):
            return _OPPOSITE[word] + name[len(word) :]
    return name
