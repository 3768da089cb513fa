"""Models that read something else than they show, and checkpoints whose actions have no names."""

import hashlib
import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from atari_vlm.agents import CEMAgent
from atari_vlm.checker import check_world_model
from atari_vlm.errors import CheckpointError, ConfigError, ContractError, MismatchError
from atari_vlm.planning import CEMConfig
from atari_vlm.space_json import space_to_json
from atari_vlm.trees import texts
from atari_vlm.types import Transition
from atari_vlm.world_models import families
from atari_vlm.world_models.base import ModelStep, StartFrames, check_fit
from atari_vlm.world_models.checkpoint import Checkpoint, load_world_model, save_checkpoint
from atari_vlm.wrappers import WorldModelEnv

READS = spaces.Dict({"where": spaces.Text(4, charset="0123456789-."), "t": spaces.Discrete(99)})
SHOWS = spaces.Box(-50, 50, (1,), np.float32)
PUSHES = spaces.Box(-1, 1, (2,), np.float32)


class Pushed:
    """A place on a line that two forces push; read as a text, shown as a number; it remembers how many observations it saw."""

    frame_skip, reward_transform = 1, "none"
    observation_space, context_space, action_space = SHOWS, READS, PUSHES

    def __init__(self, start=None):
        shown = {"where": texts(["1", "-2.5"])[:, None], "t": np.array([[0], [3]])}
        self.start = start or StartFrames(shown, np.zeros((2, 0, 2), np.float32))

    def init(self, observations, actions, *, rng):
        seen = [float(text) for text in observations["where"][:, -1]]
        return np.stack([seen, np.full(len(seen), observations["t"].shape[1])], 1)

    def step(self, state, action, *, rng):
        place = np.clip(state[:, 0] + action.sum(1), -50, 50)
        never = np.zeros(len(state), bool)
        following = np.stack([place, state[:, 1]], 1)
        return ModelStep(following, -np.abs(place).astype(np.float32), never)

    def decode(self, state):
        return state[:, :1].astype(np.float32)

    def observe(self, state, action, observation, *, rng):
        seen = [float(text) for text in observation["where"]]
        return np.stack([seen, state[:, 1] + 1], 1)


class Line(gymnasium.Env):
    """The real one."""

    observation_space, action_space = READS, PUSHES

    def show(self):
        return {"where": f"{self.place:.1f}", "t": np.int64(self.t)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.t = 2.0, 0
        return self.show(), {}

    def step(self, action):
        self.place, self.t = self.place + round(float(np.sum(action)), 1), self.t + 1
        return self.show(), -abs(self.place), False, False, {}


def load(checkpoint, **options):
    return Pushed(checkpoint.start)


@pytest.fixture
def save(tmp_path, monkeypatch):
    row = families.Family("pushed", f"{__name__}:load")
    monkeypatch.setitem(families._FAMILIES, "pushed", (row, "a test"))

    def save(**config):
        common = {"frame_skip": 1, "reward_transform": "none", **config}
        return save_checkpoint(tmp_path / "it", kind="pushed", config=common, start=Pushed().start)

    return save


def test_what_is_read_is_of_the_context_space():
    check_world_model(Pushed())
    world = WorldModelEnv(Pushed())
    shown, _ = world.reset(seed=0)
    assert SHOWS.contains(shown) and world.observation_space == SHOWS
    wrong = StartFrames(np.zeros((1, 1, 1), np.float32), np.zeros((1, 0, 2), np.float32))
    with pytest.raises(MismatchError, match=r"the model sees Dict.*the start frames are float32"):
        WorldModelEnv(Pushed(), start=wrong)
    with pytest.raises(ContractError, match="start frames are of Dict"):
        check_world_model(Pushed(), wrong)

    class Forgets(Pushed):
        def observe(self, state, action, observation, *, rng):
            return state

    with pytest.raises(ContractError, match=r"observe\(\) gives the state"):
        check_world_model(Forgets())


def test_agents_and_anchored_dreams_read_the_real_game():
    model, real = Pushed(), Line()
    agent = CEMAgent(model, CEMConfig(3, 32, 4, 2))
    agent.reset(seed=0)
    observation, _ = real.reset(seed=0)
    for _ in range(4):
        decision = agent.act(observation)
        after, reward, *ends, info = real.step(decision.action)
        agent.observe(Transition(observation, decision, reward, after, *ends, info))
        observation = after
    state = agent._view.state(np.random.default_rng(0))
    assert state[0, 1] == 4 and abs(real.place) < 2
    world = WorldModelEnv(model, start=Line(), reanchor_every=2)
    world.reset(seed=0)
    for _ in range(2):
        shown, *_, info = world.step([0.25, 0.25])
    assert info["reanchored"] and shown == pytest.approx([3.0])
    assert world.state.tolist() == [[3.0, 3.0]]  # init and two steps were observed
    with pytest.raises(MismatchError, match="the real environment shows Box"):
        WorldModelEnv(model, start=WorldModelEnv(Pushed()))


def test_a_checkpoint_without_names_is_held_to_its_space(save):
    folder = save(action_space=space_to_json(PUSHES))
    again = load_world_model(folder)
    assert again.start.observations["where"][:, 0].tolist() == ["1", "-2.5"]
    check_world_model(again)
    with pytest.raises(MismatchError, match=r"acts in Box\(-1.0, 1.0, \(2,\).*config of .* in Box"):
        load_world_model(save(action_space=space_to_json(spaces.Box(-1, 1, (3,)))))
    for config, said in (
        ({}, "where there is no config\\['action_space'\\]"),
        ({"action_names": []}, "where there is no config\\['action_space'\\]"),
        (
            {"action_names": [3], "action_space": space_to_json(PUSHES)},
            "list of words, got \\[3\\]",
        ),
        ({"action_space": {"space": "Grid"}}, "unknown space 'Grid'"),
        ({"action_space": space_to_json(spaces.Text(3))}, "one axis; config"),
    ):
        with pytest.raises(ConfigError, match=said):
            save(**config)


def test_a_checkpoint_with_a_damaged_space_is_refused(save):
    folder = save(action_space=space_to_json(PUSHES))
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"Box"', '"Bo"'))
    manifest = json.loads((folder / "manifest.json").read_text())
    raw = (folder / "config.json").read_bytes()
    entry = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    manifest["files"]["config.json"] = entry
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="unknown space 'Bo'"):
        load_world_model(folder)


def test_the_actions_of_a_checkpoint():
    named = Checkpoint(
        "catch", {"action_names": ["a"], "frame_skip": 1, "reward_transform": "none"}
    )
    assert named.action_names == ("a",) and named.action_space is None


def test_a_fit_is_of_names_or_of_spaces():
    model = Pushed()
    check_fit(model, (), 1, "the other", PUSHES)
    check_fit(model, ("0", "1"), 1, "the other", PUSHES)
    with pytest.raises(MismatchError, match=r"acts in Box.*the other in Discrete"):
        check_fit(model, ("0", "1"), 1, "the other", spaces.Discrete(2))
    with pytest.raises(MismatchError, match="frame skip 1; the other has 4"):
        check_fit(model, (), 4, "the other", PUSHES)
