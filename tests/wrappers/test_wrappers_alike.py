"""What every wrapper must do, on every kind of environment."""

import itertools
import pickle
import warnings

import ale_py
import gymnasium
import numpy as np
import pytest
from colour_env import CASES, SMALL, WRAPPERS, assert_same, rollout
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from atari_vlm.errors import ConfigError
from atari_vlm.wrappers import LatencyAware, ResizeImage, StackFrames, TextDescription, VLMPrompt

cases = pytest.mark.parametrize(("base", "name"), CASES)
neutral = pytest.mark.parametrize(
    ("base", "name"), [case for case in CASES if not case[1].startswith("latency")]
)


@cases
def test_check_env_has_nothing_to_say(base, name):
    env = WRAPPERS[name](gymnasium.make(base))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    others = [
        str(w.message)
        for w in said
        if "is different from the unwrapped version" not in str(w.message)
    ]
    assert others == []
    env.close()


@cases
def test_spec_survives_json(base, name):
    env = WRAPPERS[name](gymnasium.make(base))
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert str(again) == str(env)
    assert again.observation_space == env.observation_space
    (first, outcomes), (second, same) = rollout(env), rollout(again)
    assert outcomes == same
    for one, other in zip(first, second, strict=True):
        assert_same(one, other)
        assert env.observation_space.contains(one)


@neutral
def test_the_game_is_not_changed(base, name):
    plain, wrapped = gymnasium.make(base), WRAPPERS[name](gymnasium.make(base))
    (before, outcomes), (after, same) = rollout(plain, 20), rollout(wrapped, 20)
    assert outcomes == same
    changed = {
        "resize": {"image", "frames"},
        "stack": {"frames"},
        "text": {"text", "action_space"},
    }.get(name.split("-")[0], {"text", "action_space", "prompt"})
    for one, other in zip(before, after, strict=True):
        if not isinstance(one, dict) and not isinstance(other, dict):
            continue
        one = one if isinstance(one, dict) else {"image": one}
        for key in one.keys() - changed:
            assert_same(one[key], other[key])
        assert other.keys() - one.keys() <= changed


@cases
def test_in_a_vector(base, name):
    def make():
        return WRAPPERS[name](gymnasium.make(base))

    single = make()
    vector = SyncVectorEnv([make, make])
    vector.action_space.seed(0)
    observation, _ = vector.reset(seed=[5, 6])
    for row, seed in enumerate((5, 6)):
        expected = single.reset(seed=seed)[0]
        for key, value in expected.items() if isinstance(expected, dict) else [(None, expected)]:
            batch = observation if key is None else observation[key]
            assert_same(batch[row], value)
    for _ in range(3):
        vector.step(vector.action_space.sample())
    vector.close()


@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.parametrize("base", ["ALE/Pong-v5", "AtariVLM/Pong-v5"])
def test_processes_play_what_one_process_plays(base, shared_memory):
    def make():
        gymnasium.register_envs(
            ale_py
        )  # imports it in the process too, however processes are started (torchrl spawns them)
        env = StackFrames(ResizeImage(gymnasium.make(base), (30, 40)), 2)
        return VLMPrompt(TextDescription(LatencyAware(env, 0.2)))

    sync, processes = (
        SyncVectorEnv([make] * 2),
        AsyncVectorEnv([make] * 2, shared_memory=shared_memory),
    )
    try:
        assert_same(sync.reset(seed=1)[0], processes.reset(seed=1)[0])
        for _ in range(5):
            actions = np.array([2, 3])
            one, other = sync.step(actions), processes.step(actions)
            assert_same(one[0], other[0])
            for mine, theirs in zip(one[1:4], other[1:4], strict=True):
                np.testing.assert_array_equal(mine, theirs)
    finally:
        sync.close()
        processes.close()


@pytest.mark.parametrize("base", [*SMALL, "AtariVLM/Pong-v5"])
def test_order_does_not_matter_for_the_picture_and_the_text(base):
    parts = (WRAPPERS["resize"], WRAPPERS["stack"], WRAPPERS["text"])
    runs = []
    for order in itertools.permutations(parts):
        env = gymnasium.make(base)
        for part in order:
            env = part(env)
        runs.append(rollout(env, 4)[0])
    for run in runs[1:]:
        for one, other in zip(runs[0], run, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize(
    ("base", "place"),
    [("ALE/Pong-v5", 0), ("ALE/Pong-v5", 3), ("AtariVLM/Pong-v5", 2), ("AtariVLM/Pong-v5", 4)],
)
def test_latency_may_stand_anywhere(base, place):
    parts = [
        WRAPPERS["resize"],
        WRAPPERS["stack"],
        WRAPPERS["text"],
        lambda env: VLMPrompt(env, "basic"),
    ]
    parts.insert(place, lambda env: LatencyAware(env, 0.3))
    env = gymnasium.make(base)
    for part in parts:
        env = part(env)
    observations, outcomes = rollout(env, 3)
    assert all(env.observation_space.contains(observation) for observation in observations)
    reference = rollout(LatencyAware(gymnasium.make(base), 0.3), 3)[1]
    assert outcomes == reference


@pytest.mark.parametrize(
    "wrapper", [ResizeImage, StackFrames, TextDescription], ids=["resize", "stack", "text"]
)
@pytest.mark.parametrize("base", ["CartPole-v1", "FrozenLake-v1"])
def test_no_picture_is_refused(wrapper, base):
    with pytest.raises(ConfigError, match="needs a picture"):
        wrapper(gymnasium.make(base))


@cases
def test_pickles(base, name):
    env = WRAPPERS[name](gymnasium.make(base))
    copy = pickle.loads(pickle.dumps(env))
    assert rollout(copy)[1] == rollout(env)[1]
