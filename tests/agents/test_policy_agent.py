"""A checkpoint's policy as an agent, whatever it sees and however it acts: here one of a family that is made up."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from atari_vlm.agents import PolicyAgent
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.experience.replay import Column
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.world_models import save_checkpoint
from atari_vlm.world_models.inputs import read_inputs

pytest.importorskip("torch")
BOX = spaces.Box(-1, 1, (2,), np.float32)


class Recording:
    """A policy that acts with what it is told to, and keeps what it was shown and told."""

    def __init__(self, inputs, action_space, action):
        self.inputs, self.action_space, self.action = inputs, action_space, action
        self.seen, self.played = [], []

    def begin(self, rows):
        return None

    def act(self, observations, state, *, generator, temperature):
        self.seen.append(observations)
        return np.array([self.action]), None

    def executed(self, actions, state):
        self.played.append(actions)


@pytest.fixture
def agent_of(monkeypatch, tmp_path):
    def make(inputs, action_space, action, **facts):
        policy = Recording(inputs, action_space, action)
        monkeypatch.setattr(
            "atari_vlm.agents.policy_agent.build_policy",
            lambda read, where, device: policy,
        )
        sizes = {"rows": 8, "columns": 8, "cell_px": 8, "num_balls": 1}
        config = {
            **sizes,
            "action_names": ["NOOP", "RIGHT", "LEFT"],
            "frame_skip": 1,
            "reward_transform": "none",
            **facts,
        }
        folder = save_checkpoint(tmp_path / "model", kind="catch", config=config)
        return PolicyAgent(folder), policy

    return make


def told(agent, action):
    agent.observe(Transition({}, Decision(action, Source.POLICY), 0.0, {}, False, False))


def test_continuous_actions_of_numbers(agent_of):
    agent, policy = agent_of({"state": Column((3,), "float32")}, BOX, np.float32([0.25, -1]))
    decision = agent.act(np.array([1.0, 2.0, 3.0]))
    assert decision.action.dtype == np.float32 and BOX.contains(decision.action)
    assert (
        policy.seen[0]["state"].tolist() == [[1, 2, 3]]
        and policy.seen[0]["state"].dtype == np.float32
    )
    told(agent, decision.action)
    assert policy.played[0].shape == (1, 2) and policy.played[0].dtype == np.float32
    with pytest.raises(ConfigError):
        told(agent, np.float32([5, 0]))
    with pytest.raises(MismatchError, match="no state"):
        agent.act(np.zeros((4, 4, 3), np.uint8))


def test_actions_that_start_elsewhere(agent_of):
    agent, policy = agent_of({"state": Column((1,), "float32")}, spaces.Discrete(3, start=5), 7)
    assert agent.act(np.zeros(1)).action == 7
    told(agent, 6)
    assert policy.played[0].tolist() == [6]
    with pytest.raises(ConfigError):
        told(agent, 0)


def test_pictures_numbers_and_texts_together(agent_of):
    inputs = {
        "image": Column((8, 8, 3), "uint8"),
        "state": Column((2,), "float32"),
        "text": Column((6,), "uint8"),
    }
    agent, policy = agent_of(inputs, spaces.Discrete(3), 1, shown_shape=[16, 16, 3])
    shown = {
        "image": np.full((16, 16, 3), 9, np.uint8),
        "speed": np.array([0.5, 1.5]),
        "text": "left",
    }
    agent.act(shown)
    (seen,) = policy.seen
    assert seen["image"].shape == (1, 8, 8, 3) and (seen["image"] == 9).all()
    assert seen["state"].tolist() == [[0.5, 1.5]] and seen["text"][0].tobytes() == b"left\0\0"
    with pytest.raises(MismatchError, match=r"learned from pictures \(16, 16, 3\)"):
        agent.act({**shown, "image": np.zeros((12, 12, 3), np.uint8)})
    with pytest.raises(MismatchError, match=r"shows image .* no state"):
        agent.act({"image": shown["image"], "text": "left"})


def test_a_gray_game_and_a_picture_under_another_key(agent_of):
    agent, policy = agent_of(
        {"image": Column((8, 8, 1), "uint8")}, spaces.Discrete(3), 1, shown_shape=[16, 16, 1]
    )
    agent.act(np.full((16, 16), 5, np.uint8))
    agent.act({"pixels": np.full((16, 16), 5, np.uint8)})
    assert all((seen["image"] == np.full((1, 8, 8, 1), 5)).all() for seen in policy.seen)


def test_only_pictures_of_the_game_itself(agent_of):
    agent, policy = agent_of(
        {"image": Column((64, 64, 3), "uint8")}, spaces.Discrete(3), 1, shown_shape=[210, 160, 3]
    )
    env = gymnasium.make("AtariVLM/Pong-v5", render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    with pytest.raises(
        MismatchError, match="acts with NOOP, RIGHT, LEFT; the game with NOOP, FIRE"
    ):
        agent.act(observation)
    agent.act({key: observation[key] for key in ("image", "text")})
    assert policy.seen[0]["image"].shape == (1, 64, 64, 3)
    env.close()


def test_inputs_are_read_as_training_reads_them():
    from atari_vlm.world_models.inputs import inputs_of

    space = spaces.Dict(
        {
            "cam": spaces.Dict({"left": spaces.Box(0, 255, (4, 4, 3), np.uint8)}),
            "v": BOX,
            "n": spaces.Discrete(3),
        }
    )
    shown = space.sample()
    parts = inputs_of(space, "the game")
    columns = {name: part.column for name, part in parts.items()}
    wanted = {name: part.read(shown, part.column, "the game") for name, part in parts.items()}
    found = read_inputs(shown, columns, "the game")
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name])
