import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FilterObservation, TransformObservation
from gymnasium.wrappers.vector import ClipReward, RecordEpisodeStatistics

from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.env.vector import AtariVLMVectorEnv
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.pil_images import to_image

MODES = list(AutoresetMode)


def frames_only(env):
    return TransformObservation(
        env, lambda observation: observation["frames"], env.observation_space["frames"]
    )


def assert_same(left, right):
    """Equal observations, rewards, flags and infos, however deep."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, (tuple, list)) or (isinstance(left, np.ndarray) and left.dtype == object):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert np.array_equal(left, right) and np.asarray(left).dtype == np.asarray(right).dtype


COLOUR = {"grayscale": False, "resize_shape": (100, 80), "interpolation": "nearest"}


@pytest.mark.parametrize(
    ("mode", "look"), [*((mode, {}) for mode in MODES), (AutoresetMode.NEXT_STEP, COLOUR)], ids=str
)
def test_fast_path_is_the_synchronous_vector_of_single_environments(mode, look):
    look = {"grayscale": True, "resize_shape": (84, 84), "interpolation": "area", **look}
    limits = {"max_episode_steps": 7}
    fast = gymnasium.make_vec("AtariVLM/Breakout-v5", 2, **look, **limits, autoreset_mode=mode)
    slow = gymnasium.make_vec(
        "AtariVLM/Breakout-v5",
        2,
        "sync",
        {"autoreset_mode": mode},
        [frames_only],
        **look,
        **limits,
    )
    assert (
        fast.observation_space == slow.observation_space and fast.action_space == slow.action_space
    )
    assert_same(fast.reset(seed=5), slow.reset(seed=5))
    rng = np.random.default_rng(0)
    for _ in range(23):
        actions = rng.integers(4, size=2)
        one, other = fast.step(actions), slow.step(actions)
        assert_same(one, other)
        ended = one[2] | one[3]
        if mode is AutoresetMode.DISABLED and ended.any():
            mask = {"reset_mask": ended}
            assert_same(fast.reset(options=dict(mask)), slow.reset(options=dict(mask)))
    fast.close()
    slow.close()


def test_fast_path_plays_to_real_ends():
    envs = AtariVLMVectorEnv(2, "Breakout", autoreset_mode="SameStep")
    envs.reset(seed=[0, 1])
    ends = 0
    for _ in range(500):
        *_, terminated, _, info = envs.step(np.array([1, 1]))
        ends += terminated.sum()
        if terminated.any():
            row = int(np.flatnonzero(terminated)[0])
            assert info["final_info"]["lives"][row] == 0 and info["lives"][row] == 5
            assert info["final_obs"][row] in envs.single_observation_space
            assert info["episode_step"][row] == 0 < info["final_info"]["episode_step"][row]
    assert ends >= 2


def test_seeds_reset_masks_and_copies():
    envs = AtariVLMVectorEnv(3, "Pong", autoreset_mode="Disabled", max_episode_steps=2)
    first, _ = envs.reset(seed=[4, 4, 5])
    assert np.array_equal(first[0], first[1])
    kept = first.copy()
    for _ in range(2):
        observation, *_ = envs.step(np.array([2, 2, 3]))
        observation[:] = 0
    assert np.array_equal(first, kept)
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"\[0, 1, 2\]"):
        envs.step(np.array([0, 0, 0]))
    _, info = envs.reset(options={"reset_mask": np.array([True, False, True])})
    assert info["_episode_step"].tolist() == [True, False, True] and info[
        "emulator_frames"
    ].tolist() == [0, 0, 0]
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"\[1\]"):
        envs.step(np.array([0, 0, 0]))
    other = pickle.loads(pickle.dumps(envs))
    assert np.array_equal(other.reset(seed=[4, 4, 5])[0], kept)


def test_wrong_arguments_of_the_fast_path():
    for arguments in (
        {"num_envs": 0},
        {"autoreset_mode": "never"},
        {"render_mode": "human"},
        {"game_name": "Pongg"},
    ):
        with pytest.raises((ConfigError, UnknownNameError)):
            AtariVLMVectorEnv(**arguments)
    envs = AtariVLMVectorEnv(2, render_mode="rgb_array")
    for wrong in (
        lambda: envs.reset(seed=[1]),
        lambda: envs.reset(options={"reset_mask": [True, True]}),
    ):
        with pytest.raises(ConfigError):
            wrong()
    envs.reset(seed=0)
    with pytest.raises(ConfigError, match="one action for each"):
        envs.step(np.array([0]))
    assert [frame.shape for frame in envs.render()] == [(210, 160, 3)] * 2


def test_make_vec_picks_the_fast_path_and_keeps_prompts():
    fast = gymnasium.make_vec("AtariVLM/Pong-v5", 2, max_episode_steps=30_000)
    assert isinstance(fast, AtariVLMVectorEnv) and fast.max_episode_steps == 30_000
    assert gymnasium.make_vec("AtariVLM/Pong-v5").max_episode_steps == 10_000
    prompts = gymnasium.make_vec("AtariVLM/Pong-cot-v5", 2)
    observation, _ = prompts.reset(seed=0)
    assert len(observation["prompt"]) == 2 and "Game: Pong" in observation["prompt"][1]
    again = gymnasium.make_vec(fast.spec)
    assert isinstance(again, AtariVLMVectorEnv) and again.num_envs == 2
    wrapped = ClipReward(RecordEpisodeStatistics(fast), -1, 1)
    wrapped.reset(seed=0)
    assert wrapped.step(np.array([0, 1]))[0].shape == (2, 4, 84, 84)


@pytest.mark.parametrize("mode", MODES)
def test_dictionary_observations_in_vectors(mode):
    """Synchronous, asynchronous with and without shared memory: the same batches, and images as arrays."""
    results = []
    for kind, options in (
        ("sync", {}),
        ("async", {"shared_memory": True}),
        ("async", {"shared_memory": False}),
    ):
        envs = gymnasium.make_vec(
            "AtariVLM/Pong-v5",
            2,
            kind,
            {"autoreset_mode": mode, **options},
            max_episode_steps=4,
            resize_shape=(60, 50),
        )
        steps = [envs.reset(seed=3)]
        for _ in range(6):
            steps.append(envs.step(np.array([2, 5])))
            if mode is AutoresetMode.DISABLED and steps[-1][3].any():
                steps.append(envs.reset(options={"reset_mask": steps[-1][3]}))
        results.append(steps)
        envs.close()
    image = results[0][0][0]["image"]
    assert image.shape == (2, 60, 50, 3) and image.dtype == np.uint8
    for steps in results[1:]:
        for one, other in zip(results[0], steps, strict=True):
            assert_pictures_same(one, other)


def assert_pictures_same(one, other):
    """As ``assert_same``; a final observation is a single one and holds PIL images."""
    assert_same(one[0], other[0])
    assert_same(one[1:-1], other[1:-1])
    for left, right in zip(
        one[-1].get("final_obs", []), other[-1].get("final_obs", []), strict=True
    ):
        assert (left is None) == (right is None)
        assert left is None or to_image(left["image"]) == to_image(right["image"])
    assert_same(
        *(
            {key: value for key, value in info.items() if "final_obs" not in key}
            for info in (one[-1], other[-1])
        )
    )


def test_numpy_flavour_and_filtered_keys_in_vectors():
    envs = gymnasium.make_vec(
        "AtariVLM/Pong-v5",
        2,
        "sync",
        {},
        [lambda env: FilterObservation(env, ["image"])],
        image_format="numpy",
    )
    assert envs.reset(seed=0)[0]["image"].shape == (2, 224, 224, 3)
    different = gymnasium.vector.SyncVectorEnv(
        [AtariVLMEnvironment] * 2, observation_mode="different"
    )
    assert different.reset(seed=0)[0]["image"].shape == (2, 224, 224, 3)


def test_lists_and_arrays_of_whole_numbers_play_alike():
    torch = pytest.importorskip("torch")
    played = []
    for kind in (
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda row: np.array(row, np.uint8),
        lambda row: [*map(np.int64, row)],
    ):
        envs = gymnasium.make_vec("AtariVLM/Pong-v5", num_envs=2)
        envs.reset(seed=0)
        played.append([envs.step(kind([2, 3]))[0].copy() for _ in range(5)])
    assert all(np.array_equal(episode, played[0]) for episode in played)


@pytest.mark.parametrize(
    "actions",
    [1, [1], [1, 2, 3], [[1, 2]], [1.0, 2.0], ["1", "2"], [1, 6], [-1, 0], [1, [2]], None],
)
def test_wrong_actions_of_a_vector(actions):
    envs = gymnasium.make_vec("AtariVLM/Pong-v5", num_envs=2)
    envs.reset(seed=0)
    with pytest.raises(ConfigError, match="actions must"):
        envs.step(actions)


@pytest.mark.parametrize(
    "option", [{"image_format": "numpy"}, {"image_format": "pil"}, {"prompt_type": "cot"}]
)
def test_options_of_single_environments_name_their_mode(option):
    with pytest.raises(ConfigError, match='vectorization_mode="sync"'):
        gymnasium.make_vec("AtariVLM/Pong-v5", num_envs=2, **option)
    envs = gymnasium.make_vec("AtariVLM/Pong-v5", num_envs=2, vectorization_mode="sync", **option)
    assert envs.reset(seed=0)[0]["image"].shape == (2, 224, 224, 3)


def test_unknown_options_of_a_vector_offer_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean frame_stack"):
        gymnasium.make_vec("AtariVLM/Pong-v5", num_envs=2, frame_stak=2)
