"""A change of the rules is noticed when the evidence is enough, by the steps that a hand computation gives."""

import math

import numpy as np
import pytest

from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.noticing import Held, Watch, step_errors
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.proofs import changing_catch as catch
from atari_vlm.world_models.base import ModelStep
from atari_vlm.world_models.code import CodeWorldModel, LocalProgram


def usual(wrong, count=200):
    return np.array([1.0] * wrong + [0.0] * (count - wrong))


def test_a_model_that_is_never_wrong_notices_at_its_first_error():
    assert Watch(usual(0)).first(np.array([0, 0, 0.2, 0])) == 3
    assert Watch(usual(0)).at_most() == 1 and Watch(usual(0)).at_most(4) == 4


@pytest.mark.parametrize(("wrong", "every"), [(10, 1), (10, 3), (19, 1), (4, 5)])
def test_as_many_steps_as_the_hand_computation_gives(wrong, every):
    """rate (w + 1) / (n + 2); n surprises gain n log(.5/rate), and (n - 1)(every - 1) right steps take log((1-rate)/.5) each."""
    rate = (wrong + 1) / 202
    up, down = math.log(0.5 / rate), math.log((1 - rate) / 0.5)
    n = 1
    while n * up - (n - 1) * (every - 1) * down < math.log(10_000):
        n += 1
    assert Watch(usual(wrong)).at_most(every) == n * every
    surprises = np.arange(1, 400) % every == 0
    assert Watch(usual(wrong)).first(surprises) == n * every


def test_usual_errors_are_no_evidence():
    watch = Watch(usual(10))
    assert watch.first(np.tile(usual(1, 20), 20)) is None
    assert Watch(usual(10)).at_most(30) == math.inf
    small = np.tile(np.linspace(0, 0.3, 20), 5)  # errors of a model that is always a little off
    assert Watch(small).first(small[::-1]) is None
    assert Watch(small).first(np.full(9, 0.9)) is not None


def test_what_cannot_be_watched_is_refused():
    with pytest.raises(ConfigError, match="at least 20"):
        Watch(usual(0, 5))
    with pytest.raises(ConfigError, match="evidence above 1"):
        Watch(usual(0), evidence=1)


class Counting:
    """Reads two numbers to know the step between them."""

    context_length, reward_transform = 2, "none"

    def init(self, observations, actions, *, rng):
        self.lengths = {*getattr(self, "lengths", ()), observations.shape[1]}
        assert actions.shape[1] == observations.shape[1] - 1
        last = observations[:, -1].astype(float)
        return np.stack([last, last - observations[:, 0]], 1)

    def step(self, state, action, *, rng):
        following = np.stack([state[:, 0] + state[:, 1], state[:, 1]], 1)
        return ModelStep(following, np.zeros(len(state)), np.zeros(len(state), bool))

    def decode(self, state):
        return state[:, 0]


def test_contexts_are_as_long_as_the_model_reads_and_the_episode_allows():
    states = np.array([0, 2, 4, 6, 0, 3, 6, 9])
    play = TransitionBuffer(
        states, np.zeros(8, int), np.array([0.0] * 7 + [1.0]), np.array([2, 4, 6, 8, 3, 6, 9, 12]),
        np.zeros(8, bool), np.zeros(8, bool), env_id="Counting-v0", observation_space=catch.Discrete(20),
        action_space=catch.Discrete(2), trajectory_starts=[0, 4],
    )  # fmt: skip
    model = Counting()
    assert step_errors(model, play).tolist() == [
        1,
        0,
        0,
        0,
        1,
        0,
        0,
        1,
    ]  # no speed at first; a reward
    assert model.lengths == {1, 2}


class Remembering(Counting):
    """The same, which says that one observation is enough, and takes in more."""

    context_length = 1

    def observe(self, state, action, observation, *, rng):
        return np.stack([observation.astype(float), observation - state[:, 0]], 1)


def test_a_recurrent_model_is_told_what_came_before():
    states = np.arange(12)
    play = TransitionBuffer(
        states, np.zeros(12, int), np.zeros(12), states + 1, np.zeros(12, bool), np.zeros(12, bool),
        env_id="Counting-v0", observation_space=catch.Discrete(20), action_space=catch.Discrete(2),
    )  # fmt: skip
    model = Remembering()
    step_errors(model, play)
    assert model.lengths == {*range(1, 9)}


def test_errors_of_pictures_count_the_pixels_that_changed():
    old = catch.in_pictures(catch.play(catch.OLD, catch.OLD, 0, 60, 0))
    assert not step_errors(catch.SeenCatch(), old).any()
    new = catch.in_pictures(catch.play(catch.OLD, catch.Rules(1, 2), 30, 60, 0))
    errors = step_errors(catch.SeenCatch(), new)
    assert not errors[:30].any() and 0 < errors[30] <= 1 and (errors[30:] > 0).all()


class Blurred(catch.SeenCatch):
    """Shows everything darker than it is, as a model that learned may."""

    def decode(self, state):
        return catch.drawn(state) // 2


def test_a_model_s_own_eyes_and_what_it_is_held_to():
    old = catch.in_pictures(catch.play(catch.OLD, catch.OLD, 0, 40, 0))
    assert (step_errors(Blurred(), old) > 0).all()
    own = Held(own_eyes=True)
    assert not step_errors(Blurred(), old, held=own).any()
    new = catch.in_pictures(catch.play(catch.OLD, catch.Rules(1, 2), 20, 40, 0))
    errors = step_errors(Blurred(), new, held=own)
    assert not errors[:20].any() and (errors[20:] > 0).all()
    off = TransitionBuffer(
        old.observations, old.actions, old.rewards + 0.3, old.next_observations, old.terminated, old.truncated,
        env_id=old.env_id, observation_space=old.observation_space, action_space=old.action_space,
    )  # fmt: skip
    assert (step_errors(catch.SeenCatch(), off) == 1).all()
    assert not step_errors(catch.SeenCatch(), off, held=Held(reward_off=0.5)).any()


def test_some_numbers_of_a_state_alone():
    played = catch.play(catch.OLD, catch.Rules(way=-1), 0, 40, 0)
    spaces = {"observation_space": catch.STATES, "action_space": catch.ACTIONS}
    model = CodeWorldModel(LocalProgram(catch.OLD.program()), **spaces)
    landed = played.rewards != 0
    assert step_errors(model, played)[~landed].any()
    assert not step_errors(model, played, held=Held(numbers=(0, 1)))[~landed].any()
