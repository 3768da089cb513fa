"""Games that are no game of ALE: a lane to steer along, with pictures or without."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Lane(gymnasium.Env):
    """Eight columns; a light stands in one of them, and each step on its column pays 1. It moves at every fourth step."""

    metadata = {"render_modes": [], "render_fps": 4}  # noqa: RUF012

    def __init__(self, steps=12, pictures=True):
        self.steps, self.pictures = steps, pictures
        shape = (16, 16, 3) if pictures else (2,)
        self.observation_space = Box(0, 255, shape, np.uint8 if pictures else np.float32)
        self.action_space = Discrete(3)

    def get_action_meanings(self):
        return ["STAY", "GO LEFT", "GO RIGHT"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.time = 4, 0
        self.light = int(self.np_random.integers(8))
        return self._observe(), {}

    def step(self, action):
        self.at = int(np.clip(self.at + (0, -1, 1)[action], 0, 7))
        self.time += 1
        reward = float(self.at == self.light)
        if self.time % 4 == 0:
            self.light = int(self.np_random.integers(8))
        return self._observe(), reward, self.time >= self.steps, False, {}

    def _observe(self):
        if not self.pictures:
            return np.array([self.at, self.light], np.float32)
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[12:16, 2 * self.at : 2 * self.at + 2] = (255, 255, 255)
        picture[:4, 2 * self.light : 2 * self.light + 2] = (255, 200, 0)
        return picture


gymnasium.register("Lane-v0", Lane)
gymnasium.register("BlindLane-v0", Lane, kwargs={"pictures": False})
