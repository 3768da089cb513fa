"""Dreamed ids with a tiny untrained REM of Pong: the real game's spaces and conventions, and no emulator."""

from __future__ import annotations

import dataclasses
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

import atari_vlm  # noqa: F401 (registers the ids)
from atari_vlm.agents import PolicyAgent, RandomAgent
from atari_vlm.checker import check_world_model
from atari_vlm.description import Facts
from atari_vlm.env import emulator
from atari_vlm.errors import (
    AtariVLMError,
    CheckpointError,
    ConfigError,
    MismatchError,
    NotSupportedError,
    UnknownNameError,
)
from atari_vlm.games import game_names
from atari_vlm.runs.rollout import play_episode
from atari_vlm.world_models import CatchWorldModel, load_world_model, save_checkpoint
from atari_vlm.world_models.base import StartFrames
from atari_vlm.wrappers import StackFrames, VLMPrompt, WorldModelVectorEnv
from atari_vlm.wrappers.dreamed_vector import DreamedVectorEnv

ID, REAL = "AtariVLM/Pong-REM-v5", "AtariVLM/Pong-v5"
NAMES = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
CONFIG = {"game": "Pong", "action_names": NAMES, "frame_skip": 4, "reward_transform": "sign"}


@pytest.fixture(scope="module")
def pong(tmp_path_factory) -> str:
    """A checkpoint of REM's preset ``tiny`` with random weights, for Pong; it hardly ever ends an episode."""
    import torch
    from rem_helpers import facts

    from atari_vlm.world_models.learned.arrays import weights_of
    from atari_vlm.world_models.rem.networks import Networks
    from atari_vlm.world_models.rem.settings import preset

    config = preset("tiny", facts(6)).networks
    networks = Networks.of(config, 0)
    networks.world_model.end_head[2].bias.data = torch.tensor([9.0, -9.0])
    tensors = weights_of(networks.named())
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 64, 64, 3), np.uint8)
    start = StartFrames(frames, np.zeros((3, 1), np.int64))
    folder = tmp_path_factory.mktemp("models") / "pong"
    networks = dataclasses.asdict(config)
    save_checkpoint(
        folder, kind="rem", config={**CONFIG, "networks": networks}, tensors=tensors, start=start
    )
    return str(folder)


@pytest.fixture(scope="module")
def catch(tmp_path_factory) -> str:
    model = CatchWorldModel()
    sizes = {"rows": 8, "columns": 8, "cell_px": 8, "num_balls": 1}
    config = {
        **sizes,
        "action_names": list(model.action_names),
        "frame_skip": 1,
        "reward_transform": "none",
    }
    folder = tmp_path_factory.mktemp("models") / "catch"
    return str(save_checkpoint(folder, kind="catch", config=config, start=model.start))


def play(env, steps=5, seed=3):
    seen = [env.reset(seed=seed)]
    for step in range(steps):
        seen.append(env.step(step % 6))
    return seen


def assert_same(one, other):
    """Observations, rewards, ends and infos of two plays are equal."""
    for a, b in zip(one, other, strict=True):
        assert a[1:] == b[1:] and a[0].keys() == b[0].keys()
        for key in a[0]:
            np.testing.assert_array_equal(np.asarray(a[0][key]), np.asarray(b[0][key]))


LOOKS = [
    {},
    {"resize_shape": None, "image_format": "numpy"},
    {"grayscale": True, "prompt_type": "cot", "frame_stack": 1},
    {"resize_shape": "x2", "keep_aspect": True},
    {"resize_shape": (100, 120), "keep_aspect": True, "interpolation": "area", "grayscale": True},
]


@pytest.mark.parametrize("look", LOOKS)
def test_spaces_and_observations_are_the_real_game_s(pong, look):
    dream, real = gymnasium.make(ID, checkpoint=pong, **look), gymnasium.make(REAL, **look)
    assert (
        dream.observation_space == real.observation_space
        and dream.action_space == real.action_space
    )
    assert dream.unwrapped.get_action_meanings() == real.unwrapped.get_action_meanings()
    assert dream.unwrapped.get_keys_to_action() == real.unwrapped.get_keys_to_action()
    ours, theirs = dream.reset(seed=0)[0], real.reset(seed=0)[0]
    assert ours["text"] == theirs["text"] and ours["action_space"] == theirs["action_space"]
    assert {key: type(value) for key, value in ours.items()} == {
        key: type(value) for key, value in theirs.items()
    }
    assert dream.observation_space.contains(dream.step(2)[0])
    real.close()


def test_gymnasium_has_nothing_to_say(pong):
    check_env(gymnasium.make(ID, checkpoint=pong).unwrapped)  # warnings are errors in these tests


def test_the_seed_fixes_the_dream(pong):
    env = gymnasium.make(ID, checkpoint=pong)
    first = play(env)
    assert_same(first, play(env))
    assert_same(first, play(gymnasium.make(ID, checkpoint=pong)))
    assert_same(first, play(pickle.loads(pickle.dumps(env.unwrapped))))
    other = play(env, seed=4)
    assert not np.array_equal(other[-1][0]["frames"], first[-1][0]["frames"])


def test_the_spec_survives_json(pong):
    env = gymnasium.make(ID, checkpoint=pong, resize_shape=(84, 84), max_episode_steps=4)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert_same(play(env, 4), play(again, 4))
    assert play(again, 4)[-1][3]


def test_facts_frames_and_info_follow_the_dream(pong):
    env = gymnasium.make(
        ID, checkpoint=pong, image_format="numpy", resize_shape=None, frame_stack=2
    )
    seen = play(env, 4)
    total = 0.0
    for step, (observation, reward, terminated, truncated, info) in enumerate(seen[1:], 1):
        total += reward
        expected = Facts("Pong", step, NAMES[(step - 1) % 6], reward, total)
        assert Facts.from_text(observation["text"]) == expected and reward in (-1, 0, 1)
        assert info == {"episode_step": step, "episode_reward": total, "imagined_steps": step}
        before = seen[step - 1][0]["image"]
        np.testing.assert_array_equal(
            observation["frames"], np.stack([before, observation["image"]])
        )
        assert observation["image"].shape == (210, 160, 3) and not truncated
        assert not terminated
    np.testing.assert_array_equal(env.render(), observation["image"])
    assert (
        env.unwrapped.frame.shape == (64, 64, 3)
        and env.unwrapped.metadata["reward_transform"] == "sign"
    )
    ansi = gymnasium.make(ID, checkpoint=pong, render_mode="ansi")
    ansi.reset(seed=0)
    assert ansi.render().startswith("Game: Pong\nStep: 0\n")


def test_no_emulator_is_stepped(pong, monkeypatch):
    env = gymnasium.make(ID, checkpoint=pong)

    def forbidden(*_):
        raise AssertionError("an emulator was used")

    for name in ("reset", "step", "play"):
        monkeypatch.setattr(emulator.Emulator, name, forbidden)
    play(env)
    play(gymnasium.make(ID, checkpoint=pong))


def test_a_dream_of_the_real_game_s_first_frames(pong):
    env = gymnasium.make(ID, checkpoint=pong, start="real", reanchor_every=2)
    env.reset(seed=0)
    screens = [env.unwrapped.real_screen()]
    anchored = []
    for _ in range(4):
        *_, info = env.step(2)
        anchored.append(info["reanchored"])
        screens.append(env.unwrapped.real_screen())
    assert anchored == [False, True, False, True] and not np.array_equal(screens[0], screens[-1])
    env.close()
    without = gymnasium.make(ID, checkpoint=pong, start="real")
    without.reset(seed=0)
    assert without.unwrapped.real_screen() is None and "reanchored" not in without.step(0)[4]
    without.close()


def test_agents_wrappers_and_vectors_run_in_it(pong):
    env = gymnasium.make(ID, checkpoint=pong)
    trajectory = play_episode(
        VLMPrompt(StackFrames(env, 3), "basic"), RandomAgent(seed=0), seed=0, max_steps=6
    )
    assert 1 <= trajectory.length <= 6
    vector = gymnasium.make_vec(ID, 2, vectorization_mode="sync", checkpoint=pong)
    vector.reset(seed=0)
    observation, *_ = vector.step(np.array([0, 3]))
    assert (
        observation["image"].shape == (2, 224, 224, 3)
        and "Last action: LEFT" in observation["text"][1]
    )
    vector.close()


@pytest.mark.parametrize(
    "look",
    [{}, {"grayscale": False, "resize_shape": None}, {"frame_stack": 1, "keep_aspect": True}],
)
def test_vectors_have_the_real_game_s_spaces(pong, look):
    dreams, real = (
        gymnasium.make_vec(i, 3, **look, **path)
        for i, path in ((ID, {"checkpoint": pong}), (REAL, {}))
    )
    assert (
        isinstance(dreams.unwrapped, DreamedVectorEnv)
        and dreams.observation_space == real.observation_space
    )
    assert dreams.action_space == real.action_space
    assert dreams.reset(seed=0)[0].shape == real.reset(seed=0)[0].shape
    real.close()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_vectors_stack_frames_over_the_ends_of_dreams(pong, mode):
    look = {
        "resize_shape": (64, 64),
        "grayscale": False,
        "frame_stack": 3,
        "interpolation": "nearest",
    }
    env = DreamedVectorEnv(2, "Pong", pong, max_episode_steps=2, autoreset_mode=mode, **look)
    first, _ = env.reset(seed=0)
    assert (first == first[:, :1]).all()
    second, *_ = env.step(np.zeros(2, int))
    assert (second[:, :2] == first[:, 1:]).all()
    third, _, _, truncated, info = env.step(np.zeros(2, int))
    assert truncated.all()
    ended = np.stack(info["final_obs"]) if mode == "SameStep" else third
    np.testing.assert_array_equal(ended[:, :2], second[:, 1:])
    if mode == "NextStep":
        third, *_ = env.step(np.zeros(2, int))
    elif mode == "Disabled":
        third, _ = env.reset(options={"reset_mask": np.ones(2, bool)})
    assert (third == third[:, :1]).all() and not np.array_equal(third, ended)
    again, _ = DreamedVectorEnv(2, "Pong", pong, **look).reset(seed=0)
    np.testing.assert_array_equal(again, first)


def test_the_checkpoint_s_policy_plays_in_both_worlds(pong, catch):
    dream = gymnasium.make(ID, checkpoint=pong)
    agent = PolicyAgent(pong, frame_source=lambda: dream.unwrapped.frame)
    actions = [play_episode(dream, agent, seed=1, max_steps=6).actions for _ in range(2)]
    assert actions[0] == actions[1] and len(actions[0]) == 6
    real = gymnasium.make(REAL, resize_shape=None)
    assert play_episode(real, PolicyAgent(pong), seed=0, max_steps=5).length == 5
    real.close()
    with pytest.raises(
        MismatchError,
        match=r"policy of .* acts with NOOP, FIRE, RIGHT, .*; the game with NOOP, FIRE$",
    ):
        agent.act({**dream.reset(seed=0)[0], "action_space": "0: NOOP\n1: FIRE"})
    with pytest.raises(NotSupportedError, match="'catch' has no policy; families with one: rem"):
        PolicyAgent(catch)


def test_rows_of_tensors_begin_anew_by_themselves(pong):
    env = WorldModelVectorEnv(
        load_world_model(pong), 4, autoreset_mode="Disabled", max_episode_steps=9
    )
    before, _ = env.reset(seed=0)
    mask = np.array([False, True, False, True])
    after, info = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(after[~mask], before[~mask])
    for _ in range(9):
        *_, truncated, info = env.step(np.arange(4))
    assert truncated.all() and info["imagined_steps"].tolist() == [9] * 4


def test_the_untrained_rem_keeps_the_protocol(pong):
    check_world_model(load_world_model(pong), rows=3, steps=3)
    check_world_model(load_world_model(pong, temperature=0.0), rows=3, steps=3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ConfigError, "needs checkpoint=PATH"),
        ({"checkpoint": "nowhere"}, CheckpointError, "no such folder"),
        ({"frame_skip": 3}, MismatchError, "made at frame skip 4; Pong here has 3"),
        (
            {"full_action_space": True},
            MismatchError,
            "RIGHTFIRE, LEFTFIRE; Pong here with NOOP, FIRE, UP",
        ),
        ({"start": "emulator"}, UnknownNameError, "real"),
        ({"reanchor_every": 3}, ConfigError, "a real environment for each"),
        ({"model_options": {"speed": 9}}, AtariVLMError, "temperature"),
        ({"resize_shape": (0, 3)}, ConfigError, "resize_shape"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(pong, arguments, error, message):
    path = {} if not arguments else {"checkpoint": pong}
    with pytest.raises(error, match=message):
        gymnasium.make(ID, **{**path, **arguments})


def test_what_does_not_fit_names_both_sides(pong, catch):
    with pytest.raises(MismatchError, match=r"kind 'rem'; .* is of the kind 'catch'"):
        gymnasium.make(ID, checkpoint=catch)
    with pytest.raises(
        MismatchError, match=r"acts with NOOP, RIGHT, LEFT; Pong here with NOOP, FIRE, RIGHT"
    ):
        gymnasium.make(ID, checkpoint=catch, kind=None)
    with pytest.raises(MismatchError, match=r"kind 'dreamer'; .* is of the kind 'rem'"):
        gymnasium.make("AtariVLM/Pong-Dreamer-v5", checkpoint=pong)
    with pytest.raises(
        MismatchError, match=r"the game is Tennis; the world model in .* is of Pong"
    ):
        gymnasium.make("AtariVLM/Tennis-REM-v5", checkpoint=pong)


def test_every_game_has_its_dreams():
    for name in game_names():
        for kind in ("REM", "Dreamer", "Code"):
            spec = gymnasium.spec(f"AtariVLM/{name}-{kind}-v5")
            assert spec.kwargs == {"game_name": f"{name}-v5", "kind": kind.lower()}


def test_without_a_frame_source_the_policy_sees_the_dream_s_own_frame(pong):
    dream = gymnasium.make(ID, checkpoint=pong)
    agents = [PolicyAgent(pong), PolicyAgent(pong, frame_source=lambda: dream.unwrapped.frame)]
    actions = [play_episode(dream, agent, seed=1, max_steps=6).actions for agent in agents]
    assert actions[0] == actions[1]
    resized = gymnasium.make(ID, checkpoint=pong, image_format="numpy")
    with pytest.raises(MismatchError, match=r"frame_source=env\.render"):
        PolicyAgent(pong).act(resized.reset(seed=1)[0])
