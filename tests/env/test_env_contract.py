import copy
import json
import os
import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from PIL import Image as PIL

from atari_vlm.description import Facts, read_actions
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.prompts import PROMPT_STYLES, render_prompt
from atari_vlm.wrappers import LatencyAware, StackFrames, TextDescription, VLMPrompt


def test_the_default_observation():
    env = AtariVLMEnvironment()
    observation, info = env.reset(seed=0)
    assert sorted(observation) == ["action_space", "frames", "image", "text"]
    assert isinstance(observation["image"], PIL.Image) and observation["image"].size == (224, 224)
    assert (
        observation["frames"].shape == (4, 224, 224, 3) and observation["frames"].dtype == np.uint8
    )
    assert (observation["frames"] == observation["frames"][0]).all()
    assert Facts.from_text(observation["text"]) == Facts("Pong")
    assert read_actions(observation["action_space"]) == tuple(env.get_action_meanings())
    assert observation["action_space"] == env.get_action_space_description()
    assert info == {"episode_step": 0, "episode_reward": 0.0, "lives": 0, "emulator_frames": 0}
    assert observation in env.observation_space


def test_frames_are_oldest_first_and_never_written_again():
    env = AtariVLMEnvironment("Breakout", frame_stack=3)
    last, _ = env.reset(seed=0)
    for action in (1, 2, 2, 3):
        kept = copy.deepcopy(last["frames"])
        observation, *_ = env.step(action)
        assert np.array_equal(observation["frames"][:2], last["frames"][1:])
        assert np.array_equal(observation["frames"][-1], np.asarray(observation["image"]))
        assert np.array_equal(last["frames"], kept)
        observation["frames"][:] = 0  # what a caller does to its own copy is its own affair
        last["frames"][:] = 7
        last, *_ = env.step(0)
        assert last["frames"].any()


@pytest.mark.parametrize("stack", [1, 4])
@pytest.mark.parametrize(
    "options", [{"resize_shape": None}, {"interpolation": "area", "resize_shape": (84, 84)}, {}]
)
def test_writing_to_an_observation_does_not_reach_the_next(stack, options):
    def play(spoil):
        env = AtariVLMEnvironment("Breakout", image_format="numpy", frame_stack=stack, **options)
        observation, _ = env.reset(seed=1)
        pictures = []
        for action in (1, 2, 3, 0, 2):
            if spoil:
                observation["image"][:] = 99
                observation["frames"][:] = 99
            observation, *_ = env.step(action)
            pictures.append(observation["frames"].copy())
        return np.array(pictures)

    assert np.array_equal(play(True), play(False))


@pytest.mark.parametrize(
    "options", [{}, {"grayscale": True}, {"interpolation": "area"}, {"resize_shape": None}], ids=str
)
def test_an_image_stays_what_it_was(options):
    env = AtariVLMEnvironment("Breakout", **options)
    images = [
        env.reset(seed=0)[0]["image"],
        *(env.step(action)[0]["image"] for action in (1, 2, 2, 2)),
    ]
    then = [image.tobytes() for image in images]
    for action in (2, 2, 3, 3, 3):
        env.step(action)
    assert [image.tobytes() for image in images] == then and len(set(then)) > 1


def test_image_formats_show_the_same_pixels():
    envs = [
        AtariVLMEnvironment("MsPacman", image_format=form, grayscale=gray)
        for gray in (0, 1)
        for form in ("pil", "numpy")
    ]
    for env in envs:
        env.reset(seed=5)
    for action in np.random.default_rng(0).integers(9, size=30).tolist():
        pictures = [np.asarray(env.step(action)[0]["image"]) for env in envs]
        assert np.array_equal(pictures[0], pictures[1]) and np.array_equal(pictures[2], pictures[3])
    assert envs[2].step(0)[0]["image"].mode == "L" and pictures[2].shape == (224, 224)


@pytest.mark.parametrize("skip", [1, 2, 4, 7])
def test_a_step_is_exactly_frame_skip_emulator_frames(skip):
    env = AtariVLMEnvironment("SpaceInvaders", frame_skip=skip)
    env.reset(seed=0)
    for step in range(1, 20):
        *_, info = env.step(1)
        assert info["emulator_frames"] == env.ale.getEpisodeFrameNumber() == skip * step
    assert env.metadata["render_fps"] == max(1, round(60 / skip))


def test_text_and_info_tell_the_episode():
    env = AtariVLMEnvironment("Freeway", repeat_action_probability=0.0)
    env.reset(seed=0)
    total = 0.0
    for step in range(1, 151):
        observation, reward, *_, info = env.step(1)
        total += reward
        facts = Facts.from_text(observation["text"])
        assert facts == Facts("Freeway", step, "UP", reward, total)
        assert (info["episode_step"], info["episode_reward"]) == (step, total)
    assert total > 0


def test_prompt_is_made_from_the_facts_alone():
    for style in PROMPT_STYLES:
        env = gymnasium.make(f"AtariVLM/Pong-{style}-v5")
        observation, _ = env.reset(seed=0)
        expected = render_prompt(style, observation["text"], observation["action_space"])
        assert observation["prompt"] == expected == env.unwrapped.get_vlm_prompt(style)
        assert observation in env.observation_space
        env.close()


def test_truncation_in_the_constructor_and_in_gymnasium(make):
    short = AtariVLMEnvironment(max_episode_steps=3)
    for env in (short, make(max_episode_steps=3)):
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(3)] == [False, False, True]
    assert make().spec.max_episode_steps == 10_000
    assert make(max_episode_steps=12_000).spec.max_episode_steps == 12_000
    assert (
        make().unwrapped.max_episode_steps is None
        and AtariVLMEnvironment().max_episode_steps == 10_000
    )


def test_after_the_end_nothing_moves():
    env = AtariVLMEnvironment("Bowling", frame_skip=4)
    env.reset(seed=0)
    done = False
    while not done:
        _, _, terminated, truncated, info = env.step(1)
        done = terminated or truncated
        if info["episode_step"] > 3000:
            pytest.fail("Bowling did not end")
    _, reward, terminated, _, after = env.step(1)
    assert reward == 0 and terminated and after["emulator_frames"] == info["emulator_frames"]


WRONG = [
    ({"game_name": "Pongg"}, UnknownNameError, "Pong"),
    ({"game_name": None}, UnknownNameError, "game"),
    ({"prompt_type": "fancy"}, UnknownNameError, "basic, cot, expert"),
    ({"resize_shape": (0, 224)}, ConfigError, "from 1 to 4096"),
    ({"resize_shape": (10**6, 10**6)}, ConfigError, "from 1 to 4096"),
    ({"resize_shape": "large"}, ConfigError, "an integer scale such as 'x3'"),
    ({"resize_shape": "x99"}, ConfigError, "an integer scale such as 'x3'"),
    ({"frame_stack": 100_000}, ConfigError, "at most 256"),
    ({"frame_skip": 0}, ConfigError, "frame_skip must be a whole number of at least 1"),
    ({"frame_skip": 2.5}, ConfigError, "frame_skip"),
    ({"frame_stack": 0}, ConfigError, "frame_stack"),
    ({"max_episode_steps": 0}, ConfigError, "max_episode_steps"),
    ({"render_mode": "rgb"}, UnknownNameError, "rgb_array"),
    ({"image_format": "torch"}, ConfigError, "pil, numpy"),
    ({"interpolation": "lanczos"}, UnknownNameError, "nearest"),
    ({"repeat_action_probability": 1.0}, ConfigError, "below 1"),
    ({"repeat_action_probability": "often"}, ConfigError, "below 1"),
]


@pytest.mark.parametrize(("arguments", "error", "says"), WRONG, ids=str)
def test_bad_input_is_refused_at_construction(arguments, error, says):
    with pytest.raises(error, match=says) as caught:
        AtariVLMEnvironment(**arguments)
    assert isinstance(caught.value, ValueError)


def test_bad_actions_and_order():
    env = AtariVLMEnvironment()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    for action in (-1, 6, 99, np.array(6)):
        with pytest.raises(ConfigError, match="0 to 5"):
            env.step(action)
    for action in (1.0, np.float32(1), np.array(1.0), np.array([1]), "1", None):
        with pytest.raises(ConfigError, match="whole number"):
            env.step(action)
    assert env.step(np.int64(5))[4]["episode_step"] == 1


@pytest.mark.parametrize(
    "wrap", [lambda env: env, TextDescription, LatencyAware, StackFrames, VLMPrompt]
)
def test_whole_numbers_of_any_kind_play_alike(wrap):
    torch = pytest.importorskip("torch")
    kinds = (int, np.array, np.int64, np.uint8, torch.tensor, lambda n: np.array(n, np.int32))
    actions = [2, 3, 1, 0, 5, 4] * 3
    played = []
    for kind in kinds:
        env = wrap(gymnasium.make("AtariVLM/Pong-v5"))
        env.reset(seed=0)
        steps = [env.step(kind(action)) for action in actions]
        played.append([(step[1], step[4]["emulator_frames"], step[0]["text"]) for step in steps])
    assert all(episode == played[0] for episode in played)


def test_unknown_options_offer_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean frame_stack"):
        gymnasium.make("AtariVLM/Pong-v5", frame_stak=2)


@pytest.mark.parametrize(
    ("env_id", "form"), [("AtariVLM/Pong-v5", "numpy"), ("AtariVLM/Adventure-expert-v5", "pil")]
)
def test_check_env_has_nothing_to_say(make, env_id, form):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(env_id, image_format=form).unwrapped)


def test_spec_survives_json(make):
    env = make(
        "atari_vlm:AtariVLM/Boxing-cot-v5",
        resize_shape=(100, 90),
        interpolation="area",
        image_format="numpy",
    )
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec.max_episode_steps == 10_000
    first, second = env.reset(seed=1)[0], again.reset(seed=1)[0]
    assert first["image"].shape == (100, 90, 3) and np.array_equal(
        first["frames"], second["frames"]
    )
    assert json.loads(env.spec.to_json())["entry_point"] == "atari_vlm.env:for_gymnasium"
    again.close()


def test_pickle_and_deepcopy_give_a_fresh_equal_environment(make):
    env = make("AtariVLM/Seaquest-basic-v5", frame_stack=2)
    env.reset(seed=4)
    for other in (
        pickle.loads(pickle.dumps(env)),
        copy.deepcopy(env),
        pickle.loads(pickle.dumps(env.unwrapped)),
    ):
        assert other.spec == (env.spec if other.unwrapped is not other else env.unwrapped.spec)
        with pytest.raises(gymnasium.error.ResetNeeded):
            other.unwrapped.step(0)
        assert np.array_equal(other.reset(seed=9)[0]["frames"], env.reset(seed=9)[0]["frames"])


def test_render_modes():
    env = AtariVLMEnvironment("Carnival")
    env.reset(seed=0)
    env.step(0)
    assert env.render().shape == (214, 160, 3) and env.render().dtype == np.uint8
    env = AtariVLMEnvironment(render_mode="ansi")
    env.reset(seed=0)
    assert env.render().startswith("Game: Pong\nStep: 0\n") and "▀" in env.render()
    env = AtariVLMEnvironment(render_mode="human")
    env.reset(seed=0)
    env.step(0)
    assert env.render() is None
    assert AtariVLMEnvironment(render_mode=None).render() is None


def test_keys_for_play():
    keys = AtariVLMEnvironment("Pong").get_keys_to_action()
    assert keys[(" ",)] == 1 and sorted(keys.values()) == list(range(6))


DIGEST = """
import hashlib, gymnasium, numpy as np, atari_vlm
env = gymnasium.make("AtariVLM/Alien-expert-v5")
sha = hashlib.sha256()
observation, info = env.reset(seed=11)
env.action_space.seed(3)
for _ in range(40):
    sha.update(np.asarray(observation["image"]).tobytes() + observation["frames"].tobytes())
    sha.update((observation["text"] + observation["action_space"] + observation["prompt"] + repr(info)).encode())
    observation, *rest, info = env.step(env.action_space.sample())
    sha.update(repr(rest).encode())
"""


def test_equal_across_processes_and_hash_seeds():
    here = {}
    exec(DIGEST, here)
    code = DIGEST + "print(sha.hexdigest())"
    for hash_seed in ("0", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        there = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert there.stdout.strip() == here["sha"].hexdigest()
