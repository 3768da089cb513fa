"""What is measured on held-out play, against models whose errors are known by hand."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from replay_helpers import add_step, picture_replay

from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.fidelity import (
    HeldOutConfig,
    dream,
    measure,
    one_step_ratios,
    read,
    segments,
)
from atari_vlm.world_models.base import Forecast, ModelStep

CONFIG = HeldOutConfig(context=2, ahead=(1, 3), draws=2, batch=3)
BRIGHT = 200


def ring(replay, steps, seed):
    """A light goes round four pixels, one on by action 0, two on by action 1; +1 for landing on pixel 0, -1 on pixel 2."""
    rng, place = np.random.default_rng(seed), seed % 4
    for t in range(steps):
        frame = np.zeros((4, 3), np.uint8)
        frame[place] = BRIGHT
        action = int(rng.integers(2))
        place = (place + 1 + action) % 4
        ends = t == steps - 1
        add_step(
            replay,
            frame.reshape(2, 2, 3),
            action,
            {0: 1.0, 2: -1.0}.get(place, 0.0),
            ends and seed < 2,
            ends and seed >= 2,
        )


def replay_of(*lengths):
    replay = picture_replay(200, 2)
    for seed, steps in enumerate(lengths):
        ring(replay, steps, seed)
    return replay


class RingModel:
    """Knows the game; ``move`` False: foretells what it has just seen, no reward and no end; ``sign`` turns rewards
    round; what it shows is off by ``off``.
    """

    action_space, frame_skip, reward_transform, context_length = Discrete(2), 1, "sign", 1
    observation_space = Box(0, 255, (2, 2, 3), np.uint8)

    def __init__(self, move=True, sign=1, off=0):
        self.move, self.sign, self.off = move, sign, off

    def init(self, observations, actions, *, rng):
        return (observations[:, -1, ..., 0] > 100).reshape(len(observations), 4)

    def step(self, state, action, *, rng):
        nothing = np.zeros(len(state), np.float32)
        if not self.move:
            return ModelStep(state, nothing, nothing > 0)
        state = np.stack(
            [np.roll(row, 1 + int(act)) for row, act in zip(state, action, strict=True)]
        )
        place = state.argmax(-1)
        reward = self.sign * ((place == 0).astype(np.float32) - (place == 2))
        return ModelStep(state, reward, nothing > 0)

    def decode(self, state):
        picture = (state * (BRIGHT - 2 * self.off) + self.off).astype(np.uint8).reshape(-1, 2, 2, 1)
        return np.broadcast_to(picture, (len(state), 2, 2, 3))

    def forecast(self, observations, actions):
        shape = actions.shape
        states = self.init(observations.reshape(-1, 1, 2, 2, 3), None, rng=None)
        step = self.step(states, actions.ravel(), rng=None)
        right = np.zeros((*shape, 4), bool)
        after, seen = step.state.reshape(*shape, 4), states.reshape(*shape, 4)
        right[:, 1:] = after[:, :-1] == seen[:, 1:]
        copied = np.concatenate([seen[:, :1], seen[:, :-1]], 1) == seen
        everywhere = np.ones_like(right)
        scores = {
            "token_accuracy": (right, everywhere),
            "copy_token_accuracy": (copied, everywhere),
            "changed_token_accuracy": (right, ~copied),
        }
        return Forecast(step.reward.reshape(shape), step.terminated.reshape(shape), scores)


class SteppedRing(RingModel):
    """The same model, which can only be stepped."""

    forecast = property()


def measured(model, config=CONFIG, held_out=(12, 9, 4)):
    return measure(model, replay_of(*held_out), replay_of(30), config)


def test_a_perfect_model_has_no_error():
    found = measured(RingModel())
    values = {name: one.value for name, one in found.estimates.items()}
    for k in (1, 3):
        for who in ("sampled", "likeliest", "tokenizer"):
            assert values[f"changed/{who}/{k}"] == values[f"all/{who}/{k}"] == 0
        assert values[f"changed/copy/{k}"] == BRIGHT
        assert values[f"sampled_to_copy/{k}"] == found.estimates[f"sampled_to_copy/{k}"].high == 0
    assert (
        values["all/copy/1"] == BRIGHT / 2
    )  # the light is gone from one pixel of four and has come to another
    assert values["reward_f1"] == values["token_accuracy"] == values["changed_token_accuracy"] == 1
    assert (
        values["copy_token_accuracy"] == 0.5
        and values["end_f1"] == 0
        and values["reward_squared_error"] < 1e-6
    )
    assert found.counts["steps"] == 25 and found.counts["ends"] == 2
    assert found.counts["positive_rewards"] > 0 < found.counts["negative_rewards"]


def test_a_model_that_copies_is_as_good_as_the_copy():
    found = measured(RingModel(move=False))
    for k in (1, 3):
        assert found.estimates[f"changed/sampled/{k}"] == found.estimates[f"changed/copy/{k}"]
        assert found.estimates[f"all/likeliest/{k}"] == found.estimates[f"all/copy/{k}"]
        ratio = found.estimates[f"sampled_to_copy/{k}"]
        assert (ratio.value, ratio.low, ratio.high) == (1, 1, 1)
    assert (
        found.estimates["changed_token_accuracy"].value == 0
        and found.estimates["reward_f1"].value == 0
    )
    replay = replay_of(12, 9, 4)
    scored = np.concatenate(
        [replay.read("reward", np.arange(a, b)) for a, b in ((1, 12), (13, 21), (22, 25))]
    )
    assert found.estimates["reward_squared_error"].value == pytest.approx((scored**2).mean())
    mean = replay_of(30).read("reward", np.arange(30)).mean()
    assert found.estimates["mean_reward_squared_error"].value == pytest.approx(
        ((scored - mean) ** 2).mean(), rel=1e-4
    )
    share = (scored**2).mean() / ((scored - mean) ** 2).mean()
    assert found.estimates["reward_error_to_mean"].value == pytest.approx(share, rel=1e-4)


def test_rewards_of_the_wrong_sign_are_no_hits():
    assert measured(RingModel(sign=-1)).estimates["reward_f1"].value == 0


def test_the_tokenizer_bounds_the_model():
    found = measured(RingModel(off=10))
    for who in ("sampled", "likeliest", "tokenizer"):
        assert (
            found.estimates[f"changed/{who}/3"].value == found.estimates[f"all/{who}/3"].value == 10
        )
    assert found.estimates["sampled_to_copy/3"].value == pytest.approx(0.05)


def test_every_step_after_a_context_is_scored_once():
    for every in (1, 2, 3):
        config = HeldOutConfig(context=3, ahead=(1, 3), every=every)
        replay = replay_of(12, 9, 2, 3)
        model = RingModel()
        ratios = one_step_ratios(model, read(model, replay, segments(replay, config)), 0.0, config)
        assert ratios["reward_squared_error"][1].sum() == (12 - 2) + (9 - 2) + 0 + 1
        assert ratios["token_accuracy"][1].sum() == 4 * ((12 - 3) + (9 - 3))


def test_dreams_follow_the_real_actions():
    replay = replay_of(12)
    model, config = RingModel(), HeldOutConfig(context=2, ahead=tuple(range(1, 11)))
    play = read(model, replay, segments(replay, config))
    dreamed = dream(model, play, config, np.random.default_rng(0))
    assert all((dreamed[k][0] == play.observations[0, 1 + k]).all() for k in range(1, 11))


def test_a_model_that_can_only_be_stepped_is_measured_alike():
    forecast, stepped = measured(RingModel()).estimates, measured(SteppedRing()).estimates
    assert stepped == {
        name: one for name, one in forecast.items() if not name.endswith("token_accuracy")
    }


def test_intervals_are_the_same_every_time_and_hold_the_value():
    first, again = (
        measured(
            RingModel(move=False), config=HeldOutConfig(context=2, ahead=(2,)), held_out=(30, 40)
        )
        for _ in "ab"
    )
    assert first == again
    error = first.estimates["mean_reward_squared_error"]
    assert error.low < error.value < error.high


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ConfigError, match="5 steps"):
        measured(RingModel(), held_out=(4, 3))
    for wrong in (
        {"context": 0},
        {"draws": 0},
        {"ahead": ()},
        {"ahead": (0,)},
        {"ahead": (1, 5), "every": 6},
    ):
        with pytest.raises(ConfigError):
            HeldOutConfig(**wrong)
