"""The knob of Pong, followed through what the paddle did, against what the emulator was told."""

import ale_py
import gymnasium
import numpy as np
import pytest

from atari_vlm.objects.pong_knob import LEFT, RIGHT, TURN, followed
from atari_vlm.wrappers import AtariObjects

gymnasium.register_envs(ale_py)
WAYS = (0, 0, -1, 1, -1, 1)  # of the six actions


def knobs(steps, sticky, seed=1):
    """Followed and true knob after every step of four frames; sticky actions are drawn here, frame by frame."""
    env = gymnasium.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0).unwrapped
    env.reset(seed=seed)
    rng, true, before, action, done = np.random.default_rng(seed), 110.21, None, 0, 0
    for _ in range(steps):
        if rng.random() < 0.5:
            action = int(rng.integers(6))
        for _ in range(4):
            done = done if rng.random() < sticky else action
            true = min(max(true + TURN * WAYS[done], LEFT), RIGHT)
            env.step(done)
        memory = env.ale.getRAM().astype(float)
        knob = followed(before, WAYS[action], memory[60], memory[8], 0.0)
        before = (memory[60], memory[8], knob)
        yield knob, true


@pytest.mark.parametrize("sticky, exact", [(0.0, 0.95), (0.25, 0.9)])
def test_it_is_where_it_was_turned_to(sticky, exact):
    off = np.array([abs(knob - true) for knob, true in knobs(200, sticky)])
    assert (off < 0.01).mean() >= exact and (off < 6).mean() > 0.95, off.round(1)


def test_it_is_what_memory_shows_of_it():
    env = AtariObjects(gymnasium.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0))
    env.reset(seed=0)
    shown = []
    for t in range(160):
        knob = env.step((3, 2, 0, 2)[t // 20 % 4])[4]["object_table"][-1]
        memory = env.unwrapped.ale.getRAM()
        if memory[8] % 2 == 0:
            shown.append(min(max(knob // 2 * 2, 38), 204) == memory[4])
    assert len(shown) == 80 and all(shown)


def test_a_place_that_nothing_explains_begins_anew():
    assert followed((100.0, 3.0, 101.0), 0, 160.0, 7.0, 0.0) == 161.0
    assert followed((100.0, 3.0, 101.0), 0, 160.0, 99.0, 0.0) == 161.0
    assert followed(None, 0, 109.0, 71.0, 0.0) == 110.21
