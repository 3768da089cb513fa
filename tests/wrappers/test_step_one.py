"""A model that steps one row by itself is stepped so by an environment of one, and shows and pays what it would otherwise."""

import numpy as np
import pytest
from signpost import Signpost

from atari_vlm.checker import check_world_model
from atari_vlm.errors import ContractError
from atari_vlm.trees import take_row
from atari_vlm.world_models.base import ModelStep
from atari_vlm.wrappers import WorldModelEnv, WorldModelVectorEnv


class Lean(Signpost):
    ones = steps = 0

    def step(self, state, action, *, rng):
        self.steps += 1
        return super().step(state, action, rng=rng)

    def step_one(self, state, action, *, rng):
        self.ones += 1
        place, goal = state[0].tolist()
        place = min(4, max(0, place + int(action[0]) * int(action[1])))
        following = np.array([[place, goal]])
        over = place == goal
        return following, take_row(self.decode(following), 0), float(over), over


def played(world, actions):
    seen = [world.reset(seed=3)]
    for action in actions:
        seen.append(world.step(action))
        if seen[-1][2] or seen[-1][3]:
            break
    return seen


def test_it_is_used_and_equal():
    model = Lean()
    check_world_model(model)
    model.ones = model.steps = 0
    actions = [[1, 2], [-1, 1], [0, 1], [1, 1], [1, 1]]
    lean = played(WorldModelEnv(model, max_episode_steps=4, render_mode="rgb_array"), actions)
    assert model.ones and not model.steps
    assert repr(lean) == repr(played(WorldModelEnv(Signpost(), max_episode_steps=4), actions))
    dreams = WorldModelVectorEnv(model, 2)
    dreams.reset(seed=0)
    dreams.step([[0, 1], [0, 1]])
    assert model.steps == 1


def test_a_dream_that_comes_back_to_a_real_game_is_stepped_in_rows():
    real = WorldModelEnv(Signpost())
    model = Lean()
    world = WorldModelEnv(model, start=real, reanchor_every=1)
    (place, _), _ = world.reset(seed=0)
    *_, info = world.step([0, 1])
    assert info["reanchored"] and info["imagined_text"] == f"at {place}" and not model.ones


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda made: (made[0], made[1], made[2] + 1, made[3]), "is step.. and decode.. of one"),
        (lambda made: (made[0], made[1], made[2], not made[3]), "is step.. and decode.. of one"),
        (lambda made: (made[0] * 0, made[1], made[2], made[3]), "is step.. and decode.. of one"),
        (lambda made: (made[0], made[1], int(made[2]), made[3]), "returns .state, observation"),
        (lambda made: (made[0], made[1][:1], made[2], made[3]), "shows an observation"),
    ],
)
def test_the_checker_holds_it_to_steps(wrong, said):
    class Wrong(Lean):
        def step_one(self, state, action, *, rng):
            return wrong(super().step_one(state, action, rng=rng))

    with pytest.raises(ContractError, match=said):
        check_world_model(Wrong(), steps=8)


def test_a_state_may_not_be_written_to():
    class Writes(Lean):
        def step_one(self, state, action, *, rng):
            made = super().step_one(state, action, rng=rng)
            state[:] = made[0]
            return made

    with pytest.raises(ContractError, match=r"step_one\(\) does not change the state"):
        check_world_model(Writes())


def test_a_model_that_draws_need_not_draw_alike():
    class Draws(Lean):
        def step(self, state, action, *, rng):
            step = super().step(state, action, rng=rng)
            noise = rng.random(len(state)).astype(np.float32)
            return ModelStep(step.state, step.reward + noise, step.terminated)

    check_world_model(Draws())
