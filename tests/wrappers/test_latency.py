"""Time that passes while a model thinks."""

import math

import gymnasium
import numpy as np
import pytest
from colour_env import ATARI, ColourDictEnv, ColourEnv, assert_same, rollout
from gymnasium.wrappers import RecordEpisodeStatistics
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.wrappers import LatencyAware
from atari_vlm.wrappers.latency_models import latency_model

LOGNORMAL = {"kind": "lognormal", "median_s": 0.3, "sigma": 0.7}
atari = pytest.mark.parametrize("base", ATARI)


@atari
def test_without_a_latency_nothing_changes(base):
    (one, outcomes), (other, same) = (
        rollout(gymnasium.make(base)),
        rollout(LatencyAware(gymnasium.make(base))),
    )
    assert outcomes == same
    for before, after in zip(one, other, strict=True):
        assert_same(before, after)


@atari
def test_one_second_is_sixty_frames_of_the_emulator(base):
    env = LatencyAware(gymnasium.make(base), 1.0)
    env.reset(seed=0)
    ale = env.unwrapped.ale
    before = ale.getEpisodeFrameNumber()
    *_, info = env.step(0)
    assert ale.getEpisodeFrameNumber() - before == 60 + 4
    assert (
        info | {"latency_s": 1.0, "held_steps": 15, "held_frames": 60, "action_played": True}
        == info
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(1, 5))
def test_what_is_less_than_a_step_is_not_lost(latencies, skip):
    env = LatencyAware(ColourEnv(), hold=0, fps=4, frame_skip=skip)
    env.reset()
    total, held = 0.0, 0
    for seconds in latencies:
        env.set_latency(seconds)
        _, _, terminated, _, info = env.step(1)
        total, held = total + seconds * 4, held + info["held_frames"]
        if terminated:
            break
        assert total - skip - 1e-9 <= held <= total + 1e-9


@pytest.mark.parametrize(
    ("hold", "played"),
    [("noop", [0, 0, 3, 0, 0, 2]), ("last", [0, 0, 3, 3, 3, 2]), (4, [4, 4, 3, 4, 4, 2])],
)
def test_what_is_held(hold, played):
    env = LatencyAware(ColourDictEnv(), 2.0, hold, fps=1)
    env.reset()
    assert env.step(3)[1] == sum(played[:3])  # the reward of this environment is the action
    env.step(2)
    assert env.unwrapped.played == played


def test_an_action_that_comes_too_late_is_not_played():
    env = LatencyAware(ColourEnv(), hold=1, fps=1)
    env.reset()
    env.set_latency(9)
    assert env.step(4)[2] is False
    env.set_latency(9)
    _, reward, terminated, _, info = env.step(4)
    assert (reward, terminated, info["held_steps"], info["action_played"]) == (2.0, True, 2, False)
    assert env.unwrapped.played == [1] * 9 + [4] + [1, 1]


def test_a_latency_counts_once_and_not_beyond_a_reset():
    env = LatencyAware(ColourEnv(), hold=1, fps=1)
    env.reset()
    env.set_latency(2.5)
    assert [env.step(4)[4]["held_steps"] for _ in range(3)] == [2, 0, 0]
    env.set_latency(5)
    env.reset()
    assert env.step(4)[4]["held_steps"] == 0


def test_the_seed_fixes_the_latencies():
    def latencies(env, seed):
        env.reset(seed=seed)
        return [env.step(0)[4]["latency_s"] for _ in range(4)]

    env = LatencyAware(ColourEnv(), {"kind": "uniform", "low_s": 0.0, "high_s": 0.01}, 0)
    first = latencies(env, 7)
    assert (
        first
        == latencies(env, 7)
        == latencies(LatencyAware(ColourEnv(), env._model.__dict__ | {"kind": "uniform"}, 0), 7)
    )
    assert first != latencies(env, 8) and first != latencies(env, None)


@atari
def test_measured_latencies_replay_the_episode(base):
    drawn = LatencyAware(gymnasium.make(base), LOGNORMAL, "last")
    replayed = LatencyAware(gymnasium.make(base), "measured", "last")
    drawn.reset(seed=4)
    replayed.reset(seed=4)
    for action in (2, 3, 3, 1, 5, 0, 2, 2):
        observation, *outcome, info = drawn.step(action)
        replayed.set_latency(info["latency_s"])
        again, *same, other = replayed.step(action)
        assert_same(observation, again)
        assert outcome == same and info == other


def test_statistics_above_count_decisions_and_below_count_steps():
    below = RecordEpisodeStatistics(ColourEnv(), stats_key="below")
    above = RecordEpisodeStatistics(LatencyAware(below, 2.0, 1, fps=1))
    above.reset()
    for _ in range(4):
        info = above.step(4)[4]
    assert (below.length_queue[0], above.length_queue[0]) == (12, 4)
    assert below.return_queue[0] == above.return_queue[0] == info["episode"]["r"] == 24


@pytest.mark.parametrize(
    ("latency", "median"),
    [(LOGNORMAL, 0.3), ({"kind": "uniform", "low_s": 1, "high_s": 2}, 1.5), (0.25, 0.25),
     ({"kind": "constant", "seconds": 2}, 2), ({"kind": "empirical", "seconds": [0.1, 0.2, 5.0]}, 0.2)],
)  # fmt: skip
def test_models_draw_what_they_say(latency, median):
    rng, model = np.random.default_rng(0), latency_model(latency)
    draws = [model.draw(rng) for _ in range(4000)]
    assert np.median(draws) == pytest.approx(median, rel=0.05)
    if latency is LOGNORMAL:
        assert np.std(np.log(draws)) == pytest.approx(0.7, rel=0.05)


@pytest.mark.parametrize(
    "latency",
    [-1, math.nan, math.inf, True, None, "slow", [1], {}, {"kind": "gamma"}, {"kind": "lognormal"}, {"median_s": 1, "sigma": 1},
     {"kind": "lognormal", "median_s": 0, "sigma": 1}, {"kind": "lognormal", "median_s": 1, "sigma": -1},
     {"kind": "lognormal", "median_s": 1, "sigma": 1, "mean": 1}, {"kind": "uniform", "low_s": 2, "high_s": 1},
     {"kind": "empirical", "seconds": []}, {"kind": "empirical", "seconds": [-1]}, {"kind": "empirical", "seconds": 3}],
)  # fmt: skip
def test_wrong_latency_is_refused(latency):
    with pytest.raises(ConfigError):
        LatencyAware(ColourEnv(), latency, 0)


@pytest.mark.parametrize("seconds", [-0.1, math.nan, math.inf, "1", None, True])
def test_wrong_measured_latency_is_refused(seconds):
    with pytest.raises(ConfigError, match="seconds"):
        LatencyAware(ColourEnv(), hold=0).set_latency(seconds)


@pytest.mark.parametrize(
    "arguments",
    [
        {"hold": "nothing"},
        {"hold": 5},
        {"hold": -1},
        {"hold": None},
        {"fps": 0},
        {"frame_skip": 0},
        {"frame_skip": True},
    ],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ConfigError):
        LatencyAware(ColourDictEnv(), **arguments)


def test_an_environment_without_noop_says_what_to_do():
    with pytest.raises(ConfigError, match="hold='last'"):
        LatencyAware(ColourEnv())
    with pytest.raises(ConfigError, match="hold='last'"):
        LatencyAware(gymnasium.make("ALE/Backgammon-v5"))
    with pytest.raises(UnknownNameError, match="last, noop"):
        LatencyAware(ColourEnv(), hold="NOOP")


def test_ale_s_random_frame_skip_is_refused():
    with pytest.raises(ConfigError, match="pass frame_skip"):
        LatencyAware(gymnasium.make("ALE/Pong-v5", frameskip=(2, 5)))


def test_continuous_actions_hold_what_is_given():
    env = LatencyAware(gymnasium.make("MountainCarContinuous-v0"), 0.1, [0.5])
    env.reset(seed=0)
    *_, info = env.step(np.array([0.0], np.float32))
    assert info["held_steps"] == 6
