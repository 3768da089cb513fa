"""Games and dreams of numbers have a picture: curves."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text

from atari_vlm.viewing.drawn_numbers import DrawnNumbers


class Counter(gymnasium.Env):
    """Shows a number that goes up, one that stays, a picture and a word."""

    observation_space = Dict(
        {"up": Box(-np.inf, np.inf, (1,)), "still": Discrete(3), "eye": Box(0, 255, (8, 8, 3), np.uint8), "said": Text(9)}
    )  # fmt: skip
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.shown(), {}

    def step(self, action):
        self.count += 1
        return self.shown(), 1.0, False, False, {}

    def shown(self):
        up = np.array([np.inf if self.count == 3 else self.count], np.float32)
        return {"up": up, "still": 1, "eye": np.zeros((8, 8, 3), np.uint8), "said": "go"}


def ink(picture, rows):
    """Columns with bright pixels among these rows, right of the names."""
    return np.flatnonzero((picture[rows, 150:].min(-1) > 200).any(0))


def test_every_number_is_a_curve_that_grows_with_its_episode():
    env = DrawnNumbers(Counter())
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (420, 560, 3) and first.dtype == np.uint8
    for _ in range(60):
        env.step(0)
    later = env.render()
    rows = slice(114, 222)  # the second of three
    assert ink(first, rows).size < 8 < 100 < ink(later, rows).size
    heights = [
        np.flatnonzero(later[rows, 150 + x].min(-1) > 200).mean() for x in ink(later, rows)[40::30]
    ]
    assert heights == sorted(heights, reverse=True) and heights[0] > heights[-1]  # up is up
    for _ in range(300):
        env.step(0)
    assert ink(env.render(), rows).max() < 560 - 150
    env.reset(seed=0)
    assert np.array_equal(env.render(), first)


@pytest.mark.parametrize("shape", [(0,), (40,), (2, 3)])
def test_as_many_numbers_as_there_is_room_for(shape):
    env = Counter()
    env.observation_space = Box(-1, 1, shape, np.float32)
    env.shown = lambda: np.zeros(shape, np.float32)
    drawn = DrawnNumbers(env)
    drawn.reset()
    drawn.step(0)
    assert drawn.render().shape == (420, 560, 3)
