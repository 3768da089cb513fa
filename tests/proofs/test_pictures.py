"""Pictures of the proofs: real frames beside dreamed ones, and curves."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from replay_helpers import add_step, picture_replay

from atari_vlm.proofs.pictures import curves, frame_strip
from atari_vlm.world_models.base import ModelStep

PX = 6


def counted(*lengths):
    """Episodes whose frames are grey and 10 brighter each step."""
    replay = picture_replay(100, PX)
    for steps in lengths:
        for t in range(steps):
            picture = np.full((PX, PX, 3), 10 * t, np.uint8)
            add_step(replay, picture, 0, 0.0, t == steps - 1, False)
    return replay


class Counting:
    """Knows that frames become 10 brighter; ``wrong`` is added to what it decodes."""

    reward_transform = "none"

    def __init__(self, wrong=0):
        self.wrong = wrong
        self.observation_space = type("space", (), {"shape": (PX, PX, 3)})

    def init(self, observations, actions, *, rng):
        return observations[:, -1].astype(np.int64)

    def step(self, state, action, *, rng):
        return ModelStep(state + 10, np.zeros(len(state), np.float32), np.zeros(len(state), bool))

    def decode(self, state):
        return (state + self.wrong).astype(np.uint8)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_strip_shows_the_last_frame_and_pairs_of_real_and_dreamed():
    strip = pixels(frame_strip(Counting(wrong=3), counted(8), 2, (1, 3), rows=1))
    height, width = 2 * PX, 2 * (PX + 2 * (4 + PX + 1 + PX))
    assert strip.shape == (height, width, 3)
    last, first_pair = strip[0, 0, 0], 2 * (PX + 4)
    assert (strip[0, 2 * PX : first_pair] == 255).all()
    real, dreamed = strip[0, first_pair, 0], strip[0, first_pair + 2 * (PX + 1), 0]
    assert real == last + 10 and dreamed == real + 3
    second_pair = first_pair + 2 * (PX + 1 + PX + 4)
    assert strip[0, second_pair, 0] == last + 30
    assert strip[0, second_pair + 2 * (PX + 1), 0] == last + 33


def test_moments_are_chosen_the_same_way_every_time_and_at_most_as_many_as_there_are():
    replay = counted(12, 9, 20)
    one, again = (frame_strip(Counting(), replay, 1, (2,), rows=3) for _ in "ab")
    assert one == again
    rows = (pixels(one).shape[0] + 4) // (2 * PX + 4)
    assert rows == 3
    few = pixels(frame_strip(Counting(), counted(4), 1, (2,), rows=50))
    assert few.shape[0] < 50 * 2 * PX


def test_two_lines_and_a_goal_are_drawn():
    panel = {"lines": {"a": [(0, 1.0), (1, 2.0)], "b": [(0, 2.0), (1, 1.0)]}, "x": "x", "y": "y"}
    plain = curves([panel])
    with_goal = curves([{**panel, "goal": 1.5}])
    assert plain == curves([panel]) != with_goal
    assert pixels(curves([panel, {**panel, "log": True}])).shape[1] == 2 * pixels(plain).shape[1]
