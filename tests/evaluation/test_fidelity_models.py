"""Fidelity of any world model, through the protocol alone: pictures, vectors, continuous actions, hidden state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.fidelity import HeldOutConfig, estimate, measure
from atari_vlm.experience.replay import Column, Replay, picture_columns
from atari_vlm.scores.statistics import BootstrapConfig
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.world_models.base import ModelStep

SIZES = {"rows": 7, "columns": 5, "cell_px": 2}
CONFIG = HeldOutConfig(context=1, ahead=(1, 3), every=1, draws=2, batch=4)


def play_catch(episodes, seed):
    """Random play of Catch, one ball an episode."""
    model, rng = CatchWorldModel(**SIZES), np.random.default_rng(seed)
    replay = Replay(picture_columns(model.observation_space.shape), 6 * episodes)
    for episode in range(episodes):
        starts = model.start
        row = episode % SIZES["columns"]
        state = model.init(starts.observations[[row]], starts.actions[[row]], rng=rng)
        over = False
        while not over:
            image, action = model.decode(state)[0], int(rng.integers(3))
            step = model.step(state, np.array([action]), rng=rng)
            state, over = step.state, bool(step.terminated[0])
            ends = {"terminated": over, "truncated": False}
            replay.add({"image": image, "action": action, "reward": step.reward[0], **ends})
    return replay


class Mirrored(CatchWorldModel):
    """Takes left for right."""

    def step(self, state, action, *, rng):
        return super().step(state, np.array([0, 2, 1])[action], rng=rng)


class Endless(CatchWorldModel):
    """Knows everything but that the game ends."""

    def step(self, state, action, *, rng):
        step = super().step(state, action, rng=rng)
        return replace(step, terminated=np.zeros_like(step.terminated))


def values_of(model, held_out, training, config=CONFIG):
    measured = measure(model, held_out, training, config)
    return {name: one.value for name, one in measured.estimates.items()}


@pytest.fixture(scope="module")
def catch():
    return play_catch(10, seed=1), play_catch(20, seed=2)


def test_the_exact_model_of_catch_makes_no_error(catch):
    values = values_of(CatchWorldModel(**SIZES), *catch)
    for k in CONFIG.ahead:
        for who in ("sampled", "likeliest", "tokenizer"):
            assert values[f"changed/{who}/{k}"] == values[f"all/{who}/{k}"] == 0
        assert values[f"sampled_to_copy/{k}"] == 0 < values[f"changed/copy/{k}"]
    assert values["reward_f1"] == values["end_f1"] == 1
    assert values["reward_squared_error"] == values["reward_error_to_mean"] == 0
    assert values["mean_reward_squared_error"] > 0


def test_its_counts_are_those_of_the_play(catch):
    counts = measure(CatchWorldModel(**SIZES), *catch, CONFIG).counts
    assert counts["steps"] == 60 and counts["ends"] == 10
    assert counts["positive_rewards"] + counts["negative_rewards"] == 10
    assert counts["segments"] == 60


def test_a_model_that_moves_the_wrong_way_is_told_by_pictures_and_rewards(catch):
    values = values_of(Mirrored(**SIZES), *catch)
    assert values["changed/sampled/3"] > values["changed/sampled/1"] > 0
    assert values["changed/tokenizer/3"] == 0
    assert values["reward_f1"] < 1 == values["end_f1"]
    assert 0 < values["reward_squared_error"]


def test_a_model_without_ends_is_told_by_the_ends_alone(catch):
    exact, endless = (values_of(kind(**SIZES), *catch) for kind in (CatchWorldModel, Endless))
    assert endless.pop("end_f1") == 0 < exact.pop("end_f1")
    assert endless == exact


def test_batches_change_nothing(catch):
    model = Mirrored(**SIZES)
    assert values_of(model, *catch, replace(CONFIG, batch=1)) == pytest.approx(
        values_of(model, *catch, replace(CONFIG, batch=64))
    )


class Glide:
    """A point on a line keeps its speed; a force in [-1, 1] changes it. Only the place is observed; +1 beyond 2."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)
    frame_skip, reward_transform, context_length = 1, "none", 2

    def init(self, observations, actions, *, rng):
        assert actions.dtype == np.float32 and actions.shape[2:] == (1,)
        last = observations[:, -1, :1]
        before = observations[:, -2, :1] if observations.shape[1] > 1 else last
        return np.concatenate([last, last - before], 1)  # (B, 2): place, speed

    def step(self, state, action, *, rng):
        speed = state[:, 1:] + action
        place = state[:, :1] + speed
        reward = (np.abs(place[:, 0]) > 2).astype(np.float32)
        return ModelStep(np.concatenate([place, speed], 1), reward, np.abs(place[:, 0]) > 4)

    def decode(self, state):
        return np.concatenate([state[:, :1], -state[:, :1]], 1)


class Forgetful(Glide):
    """Reads one observation, so it knows no speed."""

    context_length = 1

    def init(self, observations, actions, *, rng):
        return super().init(observations[:, -1:], actions[:, :0], rng=rng)


COLUMNS = {
    "state": Column((2,), "float32"),
    "action": Column((1,), "float32"),
}


def play_glide(seed, columns=COLUMNS):
    """Forces of quarters, so that every sum is exact in float32."""
    rng, model = np.random.default_rng(seed), Glide()
    replay = Replay(columns, 200)
    for _ in range(8):
        state = np.zeros((1, 2), np.float32)
        for t in range(12):
            action = rng.integers(-4, 5, size=1).astype(np.float32) / 4
            step = model.step(state, action[None], rng=rng)
            over = bool(step.terminated[0])
            row = {"state": model.decode(state)[0], "action": action, "reward": step.reward[0]}
            row |= {
                name: np.ones(column.shape)
                for name, column in columns.items()
                if name not in COLUMNS
            }
            replay.add({**row, "terminated": over, "truncated": not over and t == 11})
            if over:
                break
            state = step.state
    return replay


GLIDE = HeldOutConfig(context=2, ahead=(1, 2), every=1, draws=1)


def test_vectors_and_float_actions_are_measured_alike():
    values = values_of(Glide(), play_glide(3), play_glide(4), GLIDE)
    assert values["changed/sampled/2"] == values["all/likeliest/2"] == 0
    assert values["reward_f1"] == values["end_f1"] == 1
    assert values["changed/copy/2"] > 0


def test_a_model_is_given_the_context_that_it_reads():
    values = values_of(Forgetful(), play_glide(3), play_glide(4), GLIDE)
    assert values["changed/sampled/1"] > 0 and values["reward_squared_error"] > 0


def test_other_columns_beside_the_observed_one_are_passed_over():
    latent = {**COLUMNS, "latent": Column((7,), "float32")}
    with_latent = values_of(Glide(), play_glide(3, latent), play_glide(4, latent), GLIDE)
    assert with_latent == values_of(Glide(), play_glide(3), play_glide(4), GLIDE)


def test_two_observations_of_one_shape_are_refused_by_their_names():
    twice = {**COLUMNS, "other": Column((2,), "float32")}
    with pytest.raises(ConfigError, match="one kind of observation, the replay holds state, other"):
        values_of(Glide(), play_glide(3, twice), play_glide(4, twice), GLIDE)


class Guessing(Glide):
    """Ends one step in two, by chance; rewards 0 or 2."""

    action_space = Discrete(2)

    def init(self, observations, actions, *, rng):
        return np.zeros(len(observations))

    def step(self, state, action, *, rng):
        coins = rng.integers(2, size=len(state))
        return ModelStep(state, 2 * coins.astype(np.float32), coins > 0)

    def decode(self, state):
        return np.zeros((len(state), 2))


def test_draws_are_averaged_for_models_that_can_only_be_stepped():
    few, many = (
        values_of(Guessing(), play_glide(3), play_glide(4), replace(GLIDE, draws=draws))
        for draws in (1, 64)
    )
    mean_is_one = np.mean([(1 - r) ** 2 for r in (0, 1)])
    assert abs(many["reward_squared_error"] - mean_is_one) < 0.5
    assert few["reward_squared_error"] > many["reward_squared_error"]


def test_sign_rewards_are_compared_as_signs():
    class Signed(Glide):
        reward_transform = "sign"

    replay = play_glide(3)
    slots = replay.kept()
    replay.write("reward", slots, 5 * replay.read("reward", slots))
    values = values_of(Signed(), replay, replay, GLIDE)
    assert values["reward_squared_error"] == 0 and values["reward_f1"] == 1
    assert values_of(Glide(), replay, replay, GLIDE)["reward_squared_error"] > 0


def test_a_ratio_without_a_denominator_is_zero():
    nothing = np.zeros(3)
    some = np.array([1.0, 2.0, 3.0])
    estimates = estimate({"none": (nothing, nothing), "half": (some, 2 * some)}, BootstrapConfig())
    assert (estimates["none"].value, estimates["none"].low, estimates["none"].high) == (0, 0, 0)
    assert (estimates["half"].low, estimates["half"].high) == (0.5, 0.5)
