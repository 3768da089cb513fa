"""The promise that scores can be compared: rewards, ends, lives and frame counts are those of ``ALE/<Game>-v5``.

Long form, all games: ``python -m pytest -m slow tests/env/test_against_ale.py``.
"""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.env.vector import AtariVLMVectorEnv
from atari_vlm.games import game_names

FEW = ["Breakout", "Qbert", "Surround"]


def trace(env, frames_key, seed, steps, actions):
    """Rewards, ends, lives and frame counts of ``steps`` steps over as many episodes as they take, one reset with a seed."""
    env.reset(seed=seed)
    found = []
    for action in actions[:steps]:
        _, reward, terminated, truncated, info = env.step(action)
        found.append((float(reward), terminated, truncated, info["lives"], info[frames_key]))
        if terminated or truncated:
            _, info = env.reset()
            found.append((info["lives"], info[frames_key]))
    return found


def assert_identical(game, steps, **options):
    """Ours against ALE's own frame skip, and one row of the fast path against both."""
    ale_options = {
        "frameskip" if name == "frame_skip" else name: value for name, value in options.items()
    }
    ale = gymnasium.make(f"ALE/{game}-v5", **ale_options)
    ours = AtariVLMEnvironment(
        game, max_episode_steps=None, image_format="numpy", resize_shape=None, **options
    )
    actions = np.random.default_rng(7).integers(ours.action_space.n, size=steps).tolist()
    expected = trace(ale, "episode_frame_number", 13, steps, actions)
    assert trace(ours, "emulator_frames", 13, steps, actions) == expected
    fast = AtariVLMVectorEnv(1, game, max_episode_steps=None, autoreset_mode="Disabled", **options)
    assert trace(OneRow(fast), "emulator_frames", 13, steps, actions) == expected


class OneRow:
    """A vector environment of one game, driven like a single one."""

    def __init__(self, envs):
        self.envs = envs

    def reset(self, seed=None):
        _, info = self.envs.reset(seed=seed)
        return None, {key: value[0].item() for key, value in info.items()}

    def step(self, action):
        _, *rest, info = self.envs.step(np.array([action]))
        return (
            None,
            *(value[0].item() for value in rest),
            {key: value[0].item() for key, value in info.items()},
        )


def check_everything(game):
    """check_env without a warning in both flavours, and the spec through JSON."""
    for form in ("pil", "numpy"):
        env = gymnasium.make(f"AtariVLM/{game}-v5", image_format=form)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(env.unwrapped)
        again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
        assert (
            again.observation_space == env.observation_space
            and again.action_space == env.action_space
        )
        assert np.array_equal(again.reset(seed=3)[0]["frames"], env.reset(seed=3)[0]["frames"])
        env.close()
        again.close()


def check_pixels(game, steps):
    """Without the two-frame maximum the pictures are ALE's, byte for byte."""
    ale = gymnasium.make(f"ALE/{game}-v5")
    ours = AtariVLMEnvironment(
        game, two_frame_maximum=False, resize_shape=None, frame_stack=1, image_format="numpy"
    )
    expected, _ = ale.reset(seed=5)
    assert np.array_equal(ours.reset(seed=5)[0]["image"], expected)
    for action in np.random.default_rng(5).integers(ours.action_space.n, size=steps).tolist():
        expected, _, terminated, truncated, _ = ale.step(action)
        observation, *_ = ours.step(action)
        assert np.array_equal(observation["image"], expected) and np.array_equal(
            observation["frames"][0], expected
        )
        if terminated or truncated:
            ale.reset()
            ours.reset()


def check_palette_and_text(game):
    """The palette is the emulator's on every frame, and every prompt fits its space."""
    for style in ("basic", "cot", "expert"):
        env = gymnasium.make(f"AtariVLM/{game}-{style}-v5", full_action_space=True)
        observation, _ = env.reset(seed=0)
        assert observation in env.observation_space
        env.close()
    env = AtariVLMEnvironment(game, frame_skip=1, resize_shape=None, image_format="numpy")
    env.reset(seed=1)
    for action in np.random.default_rng(1).integers(env.action_space.n, size=300).tolist():
        observation, _, terminated, _, _ = env.step(action)
        assert np.array_equal(observation["image"], env.ale.getScreenRGB())
        if terminated:
            env.reset()


def check_vectors(game):
    """Synchronous and asynchronous vectors, shared memory on and off, every autoreset mode."""
    for mode in gymnasium.vector.AutoresetMode:
        batches = []
        for kind, options in (
            ("sync", {}),
            ("async", {"shared_memory": True}),
            ("async", {"shared_memory": False}),
        ):
            envs = gymnasium.make_vec(
                f"AtariVLM/{game}-v5",
                2,
                kind,
                {"autoreset_mode": mode, **options},
                max_episode_steps=2,
            )
            envs.reset(seed=0)
            envs.step(np.array([1, 0]))
            observation, rewards, terminated, truncated, _ = envs.step(np.array([0, 1]))
            assert truncated.all()
            if mode is gymnasium.vector.AutoresetMode.DISABLED:
                observation, _ = envs.reset(options={"reset_mask": truncated})
            assert observation in envs.observation_space
            batches.append((observation, rewards, terminated))
            envs.close()
        for batch in batches[1:]:
            for key, value in batch[0].items():
                assert np.array_equal(value, batches[0][0][key])
            assert np.array_equal(batch[1], batches[0][1]) and np.array_equal(
                batch[2], batches[0][2]
            )


def test_there_are_104_games():
    assert len(game_names()) == 104
    ids = {env_id for env_id in gymnasium.registry if env_id.startswith("AtariVLM/")}
    for game in game_names():
        assert {f"AtariVLM/{game}{style}-v5" for style in ("", "-basic", "-cot", "-expert")} <= ids
        assert f"ALE/{game}-v5" in gymnasium.registry


@pytest.mark.parametrize("game", FEW)
def test_identical_to_ale(game):
    assert_identical(game, 250)
    check_pixels(game, 100)


@pytest.mark.parametrize(
    "options",
    [
        {"frame_skip": 1},
        {"frame_skip": 3, "repeat_action_probability": 0.0, "full_action_space": True},
    ],
)
def test_identical_with_other_options(options):
    assert_identical("Breakout", 300, **options)


def test_ale_is_there_before_a_reset_and_asking_for_it_changes_nothing():
    asked, plain = (AtariVLMEnvironment("Breakout", image_format="numpy") for _ in range(2))
    theirs = gymnasium.make("ALE/Breakout-v5").unwrapped.ale
    assert asked.ale.lives() == theirs.lives() > 0
    for what in ("max_num_frames_per_episode", "frame_skip"):
        assert asked.ale.getInt(what) == theirs.getInt(what)
    assert np.array_equal(asked.reset(seed=3)[0]["frames"], plain.reset(seed=3)[0]["frames"])
    assert plain.get_keys_to_action() == {("e",): 0, (" ",): 1, ("d",): 2, ("a",): 3}


@pytest.mark.slow
def test_truncated_with_ale_after_108000_frames():
    options = {"frame_skip": 3000, "repeat_action_probability": 0.0}
    env = AtariVLMEnvironment("Pitfall", max_episode_steps=None, **options)
    ale = gymnasium.make("ALE/Pitfall-v5", frameskip=3000, repeat_action_probability=0.0)
    env.reset(seed=0)
    ale.reset(seed=0)
    while True:
        _, reward, terminated, truncated, info = env.step(0)
        expected = ale.step(0)
        assert (reward, terminated, truncated, info["emulator_frames"]) == (
            *expected[1:4],
            expected[4]["episode_frame_number"],
        )
        if terminated or truncated:
            break
    assert truncated and info["emulator_frames"] == 108_000


@pytest.mark.slow
@pytest.mark.parametrize("game", game_names())
def test_every_game_is_identical_to_ale(game):
    assert_identical(game, 1000)
    check_pixels(game, 300)
    assert_identical(game, 1000, repeat_action_probability=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("game", game_names())
def test_every_game_passes_the_checker_with_no_warning(game):
    check_everything(game)
    check_palette_and_text(game)


@pytest.mark.slow
@pytest.mark.parametrize("game", game_names())
def test_every_game_in_vectors(game):
    check_vectors(game)
