"""Checkpoints of programs: everything comes back, a changed byte is seen, and reading one runs nothing."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from programs import COUNTER, counter, hidden, true_model

from atari_vlm.errors import CheckpointError, ConfigError, SandboxProgramError
from atari_vlm.experience import fill_replay_buffer
from atari_vlm.synthesis import SearchConfig, search
from atari_vlm.vlm import load_vlm
from atari_vlm.world_models import load_world_model, read_checkpoint, save_checkpoint
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.code import CodeWorldModel, LocalProgram, Sandbox
from atari_vlm.world_models.code.checkpoint import config_of
from atari_vlm.wrappers import WorldModelEnv

NEEDS = (
    "contract",
    "observation_space",
    "context_space",
    "action_space",
    "action_names",
    "frame_skip",
    "reward_transform",
)


@pytest.mark.parametrize(
    "make",
    [lambda: true_model("CartPole-v1"), lambda: true_model("Pendulum-v1"), lambda: true_model("Blackjack-v1"), hidden,
     lambda: counter(action_names=("DOWN", "UP"), frame_skip=4, reward_transform="sign", game="Pong")],
)  # fmt: skip
def test_what_is_saved_is_loaded(make, tmp_path):
    with make() as model:
        folder = model.save(tmp_path / "model", provenance={"run": "abc", "node": 7})
        config = json.loads((folder / "config.json").read_text())
        assert set(NEEDS) < set(config) and config["kind"] == "code"
        assert (folder / "program.py").read_text() == model.program
        assert read_checkpoint(folder).provenance["node"] == 7
        with load_world_model(folder) as again:
            assert config_of(again) == config_of(model)
            for name in (
                "observation_space",
                "context_space",
                "action_space",
                "contract",
                "game",
                "program",
            ):
                assert getattr(again, name) == getattr(model, name)
            assert getattr(again, "action_names", None) == getattr(model, "action_names", None)
            kept, given = again.start.observations, model.start.observations
            np.testing.assert_equal(kept, given)
            np.testing.assert_equal(again.start.actions, model.start.actions)


def test_a_dream_begins_from_the_checkpoint_alone(tmp_path):
    with true_model("CartPole-v1") as model:
        folder = model.save(tmp_path / "model")
    with load_world_model(folder) as model:
        env = WorldModelEnv(model)
        observation, _ = env.reset(seed=0)
        assert env.observation_space.contains(observation) and env.step(1)[1] == 1.0


def test_trees_of_spaces_come_back(tmp_path):
    tree = Dict(
        {"at": Tuple((Discrete(3), Box(-1, np.inf, (2,), np.float64))), "on": Discrete(2, start=4)}
    )
    text = "class Environment:\n    def set_state(self, s): self.s = s\n    def step(self, a): return self.s, 0.5, False\n"
    with CodeWorldModel(text, observation_space=tree, action_space=Discrete(2)) as model:
        folder = model.save(tmp_path / "model")
        with load_world_model(folder) as again:
            assert again.observation_space == tree
            observation = {"at": (np.array([[1]]), np.array([[[0.5, 9.0]]])), "on": np.array([[5]])}
            state = again.init(
                observation, np.zeros((1, 0), np.int64), rng=np.random.default_rng(0)
            )
            shown = again.decode(
                again.step(state, np.array([0]), rng=np.random.default_rng(0)).state
            )
            assert shown["at"][1].tolist() == [[0.5, 9.0]] and shown["on"].tolist() == [5]


def test_a_changed_byte_is_seen(tmp_path):
    with counter() as model:
        folder = model.save(tmp_path / "model")
    raw = bytearray((folder / "program.py").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "program.py").write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"program\.py is damaged"):
        load_world_model(folder)


def test_reading_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Sandbox, "__init__", lambda *_, **__: pytest.fail("a program was started"))
    config = {"action_names": ["0"], "frame_skip": 1, "reward_transform": "none"}
    folder = save_checkpoint(
        tmp_path / "model", kind="code", config=config, program="raise SystemExit"
    )
    assert read_checkpoint(folder).program == "raise SystemExit"


def saved(tmp_path, program=COUNTER, **changes):
    with counter() as model:
        config = {**config_of(model), **changes}
        return save_checkpoint(
            tmp_path / "model", kind="code", config=config, program=program, start=model.start
        )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"program": None}, "has a program"),
        ({"contract": 3}, "contract"),
        ({"contract": True}, "contract"),
        ({"observation_space": {"space": "Grid"}}, "observation_space"),
        ({"context_space": None}, "context_space"),
        ({"action_space": {"space": "Discrete", "n": 0, "start": 0}}, "action_space"),
        ({"game": 3}, "game"),
    ],
)
def test_a_config_that_contradicts_itself_is_a_checkpoint_error(changes, sentence, tmp_path):
    with pytest.raises(CheckpointError, match=sentence):
        load_world_model(saved(tmp_path, **changes))


@pytest.mark.parametrize(
    ("program", "error", "sentence"),
    [("x = 1", ConfigError, "no set_state, step"), ("def f(:", SandboxProgramError, "SyntaxError")],
)
def test_a_program_that_is_none_meets_a_sentence_when_it_is_loaded(
    program, error, sentence, tmp_path
):
    folder = saved(tmp_path, program)
    with pytest.raises(error, match=sentence):
        load_world_model(folder)


def test_how_it_is_run_is_said_when_it_is_loaded(tmp_path):
    folder = saved(tmp_path)
    with load_world_model(folder, deadline_s=0.5, memory_mb=256) as model:
        assert isinstance(model._runner, Sandbox) and model._runner.deadline_s == 0.5
    with load_world_model(folder, unsafe_local_code=True) as model:
        assert isinstance(model._runner, LocalProgram)
    with pytest.raises(ConfigError, match="device"):
        load_world_model(folder, device="cuda")


PADDLE = '''
class Environment:
    """A ball that falls on a dark screen, as big as the game's own divided by ten."""

    def reset(self, observations, actions):
        return {"ball": 0, "paddle": 8}

    def step(self, state, action):
        state["ball"] += 1
        state["paddle"] = min(15, max(0, state["paddle"] + (action in (2, 4)) - (action in (3, 5))))
        caught = state["ball"] == 20 and state["paddle"] > 10
        return state, float(caught), state["ball"] >= 20

    def observe(self, state):
        screen = [[[0, 0, 0] for _ in range(16)] for _ in range(21)]
        screen[state["ball"]][11] = screen[20][state["paddle"]] = [255, 255, 255]
        return screen
'''


def test_a_dreamed_game_of_a_program_has_the_spaces_of_the_real_one(tmp_path):
    real = gymnasium.make("atari_vlm:AtariVLM/Pong-v5", render_mode="rgb_array")
    names = tuple(real.unwrapped.get_action_meanings())
    start = StartFrames(np.zeros((1, 1, 3), np.float32), np.zeros((1, 0), np.int64))
    with CodeWorldModel(
        PADDLE,
        observation_space=Box(0, 255, (21, 16, 3), np.uint8),
        context_space=Box(-1, 1, (3,), np.float32),
        action_space=Discrete(6),
        start=start,
        action_names=names,
        frame_skip=4,
        game="Pong",
    ) as model:
        folder = str(model.save(tmp_path / "model"))
    dreamed = gymnasium.make("AtariVLM/Pong-Code-v5", checkpoint=folder)
    assert (dreamed.observation_space, dreamed.action_space) == (
        real.observation_space,
        real.action_space,
    )
    observation, _ = dreamed.reset(seed=0)
    assert dreamed.observation_space.contains(observation)
    for _ in range(20):
        observation, reward, terminated, _, _ = dreamed.step(2)
    assert terminated and reward == 1.0 and np.asarray(observation["image"]).max() == 255
    dreamed.close()
    real.close()
    dreams = gymnasium.make_vec("AtariVLM/Pong-Code-v5", 2, checkpoint=folder)
    dreams.reset(seed=0)
    ends = [dreams.step(np.array([2, 3]))[1:3] for _ in range(20)]
    assert ends[-1][0].tolist() == [1.0, 0.0] and ends[-1][1].all() and not ends[0][1].any()
    dreams.close()


def test_a_dream_begins_from_the_checkpoint_that_a_search_leaves(tmp_path):
    env = gymnasium.make("CliffWalking-v1")
    buffer = fill_replay_buffer(env, 60, tmp_path, "steps", max_episode_steps=20)
    found = search(load_vlm("scripted"), buffer, SearchConfig(budget=4), folder=tmp_path / "run")
    with load_world_model(tmp_path / "run" / "checkpoint") as model:
        assert model.program == found.program and len(model.start.actions) == 3
        dream = WorldModelEnv(model)
        assert dream.reset(seed=0)[0] == 36 and dream.observation_space == env.observation_space
