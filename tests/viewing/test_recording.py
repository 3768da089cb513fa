"""Sessions and recordings of every kind of action: whole numbers, numbers that do not begin at 0, floats ``(A,)``."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from atari_vlm.actions import random_actions
from atari_vlm.errors import ConfigError
from atari_vlm.experience.episode_files import read_data_set, read_episodes
from atari_vlm.types import Decision, Source
from atari_vlm.viewing.episode_browser import EpisodeBrowser
from atari_vlm.viewing.game_session import GameSession
from atari_vlm.viewing.panels import action_text
from atari_vlm.viewing.recording import Recording

BOX = Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 2.0], np.float32))


class Field(gymnasium.Env):
    """Shows the number of its steps as a grey picture; the reward is the sum of the action; over after 4 steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    render_mode = "rgb_array"
    observation_space = Box(0, 255, (16, 16, 3), np.uint8)

    def __init__(self, action_space, names=()):
        self.action_space, self.played, self.names = action_space, [], names

    def get_action_meanings(self):
        return list(self.names)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self.render(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.played.append(action)
        self.at += 1
        return self.render(), float(np.sum(action)), self.at == 4, False, {}

    def render(self):
        return np.full((16, 16, 3), 40 * self.at, np.uint8)


class Fixed:
    """Plays the same action; keeps what it is told of."""

    def __init__(self, action):
        self.action, self.transitions = action, []

    def reset(self, *, seed=None):
        pass

    def act(self, observation):
        return Decision(self.action, Source.POLICY)

    def observe(self, transition):
        self.transitions.append(transition)


class Sampling(Fixed):
    """Plays random actions of a space."""

    def __init__(self, space):
        super().__init__(None)
        self.space, self.rng = space, np.random.default_rng(0)

    def act(self, observation):
        return Decision(random_actions(self.space, (), self.rng), Source.POLICY)


def played(session, steps):
    session.begin()
    for _ in range(steps):
        if session.over:
            session.begin()
        session.step()


def test_floats_are_recorded_and_shown_again(tmp_path):
    env = Field(BOX)
    session = GameSession(env, Sampling(BOX), seed=3)
    session.recording = Recording(tmp_path / "floats.mp4", 10, BOX)
    played(session, 6)
    session.stop_recording()
    data = read_data_set(str(tmp_path / "floats.npz"))
    assert data.action_space == BOX
    kept = np.concatenate([episode.actions for episode in data.episodes])
    assert kept.dtype == np.float32
    np.testing.assert_array_equal(kept, np.stack(env.played))
    assert [len(episode) for episode in data.episodes] == [4, 2]
    browser = EpisodeBrowser(read_episodes(tmp_path / "floats.npz"))
    browser.move(1)
    first = kept[0]
    assert f"action [{first[0]:.3g} {first[1]:.3g}]" in browser.status()
    np.testing.assert_array_equal(browser.outcome()[0], first)


def test_a_person_may_play_floats_beside_a_watching_agent():
    agent = Fixed(np.zeros(2, np.float32))
    session = GameSession(Field(BOX), agent, seed=0)
    session.begin()
    session.step([0.5, 1.25])
    (transition,) = agent.transitions
    assert transition.decision.action.dtype == np.float32
    assert transition.decision.action.tolist() == [0.5, 1.25]
    assert transition.decision.source is Source.POLICY
    assert "action [0.5 1.25]   reward 1.75" in session.status()


@pytest.mark.parametrize("action", [[0.0, 3.0], [0.0], 1, [np.nan, 0.0]])
def test_what_is_no_action_never_reaches_the_game(action):
    env = Field(BOX)
    session = GameSession(env, None, seed=0)
    session.begin()
    with pytest.raises(ConfigError, match="action must"):
        session.step(action)
    assert env.played == [] and session.status().startswith("step 0 ")


def test_numbers_that_begin_elsewhere_keep_their_names_and_their_file(tmp_path):
    space = Discrete(3, start=5)
    env = Field(space, names=("STAY", "LEFT", "RIGHT"))
    session = GameSession(env, Fixed(np.int64(6)), seed=0)
    session.recording = Recording(tmp_path / "shifted.mp4", 10, space)
    played(session, 2)
    session.stop_recording()
    assert "action LEFT" in session.status()
    assert [type(action) for action in env.played] == [int, int]
    assert read_data_set(str(tmp_path / "shifted.npz")).action_space.start == 5


def test_actions_in_parts_are_recorded_and_shown_again(tmp_path):
    space = MultiDiscrete([2, 3], start=[0, 5])
    env = Field(space)
    session = GameSession(env, Fixed(np.array([1, 7])), seed=0)
    session.recording = Recording(tmp_path / "parts.mp4", 10, space)
    played(session, 2)
    session.stop_recording()
    assert "action [1 7]" in session.status()
    data = read_data_set(str(tmp_path / "parts.npz"))
    assert data.action_space == space and data.episodes[0].actions.tolist() == [[1, 7]] * 2


@pytest.mark.parametrize(
    ("space", "kind"), [(BOX, "f"), (MultiDiscrete([2, 3]), "i"), (Discrete(2), "i"), (None, "i")]
)
def test_a_recording_without_steps_keeps_the_kind_of_its_actions(tmp_path, space, kind):
    recording = Recording(tmp_path / "still.mp4", 10, space)
    recording.start(np.zeros((8, 8, 3), np.uint8), np.zeros((16, 16, 3), np.uint8))
    recording.close()
    with np.load(tmp_path / "still.npz") as content:
        assert content["actions"].dtype.kind == kind
        assert content["actions"].shape == (0, *(space.shape if space else ()))
        assert content["observations"].shape == (1, 8, 8, 3)


def test_an_abandoned_recording_leaves_nothing(tmp_path):
    recording = Recording(tmp_path / "gone.mp4", 10)
    recording.start(np.zeros((8, 8, 3), np.uint8), np.zeros((16, 16, 3), np.uint8))
    recording.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_step_needs_a_player():
    session = GameSession(Field(BOX), None, seed=0)
    session.begin()
    with pytest.raises(ConfigError, match="no agent to choose"):
        session.step()


def test_nothing_happens_after_the_end():
    env = Field(BOX)
    session = GameSession(env, Fixed(np.ones(2, np.float32)), seed=0)
    session.begin()
    for _ in range(6):
        session.step()
    assert len(env.played) == 4 and session.status().endswith("return 8   over")


@pytest.mark.parametrize(
    ("action", "names", "first", "text"),
    [
        (1, ("A", "B"), 0, "B"),
        (np.int64(6), ("A", "B"), 5, "B"),
        (4, ("A", "B"), 5, "4"),
        (2, ("A", "B"), 0, "2"),
        (-1, ("A", "B"), 0, "-1"),
        (7, (), 0, "7"),
        (np.array([1 / 3, -20.0], np.float32), ("A",), 0, "[0.333 -20]"),
    ],
)
def test_the_text_of_an_action(action, names, first, text):
    assert action_text(action, names, first) == text
