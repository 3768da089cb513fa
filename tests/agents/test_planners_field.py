"""What planning agents tell a world model: pictures and actions as they were, in its units and precision."""

import numpy as np
import pytest
from gymnasium import spaces
from track import BOX, FROM_ONE, THREE, Track, TrackModel, play

from atari_vlm.agents import CEMAgent, MCTSAgent
from atari_vlm.checker import check_agent
from atari_vlm.planning import CEMConfig, MCTSConfig
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.player import step_row
from atari_vlm.runs.recorded import RecordedAgent
from atari_vlm.runs.rollout import play_episode
from atari_vlm.types import Decision, Source, Transition

SMALL = CEMConfig(horizon=3, population=16, elites=4, iterations=2)
WIDE = spaces.Box(np.float32([-1, 0]), np.float32([1, 0.1]))


def searched_anew(decisions, simulations=12):
    return [sum(decision.details["visits"]) <= simulations for decision in decisions[1:]]


@pytest.mark.parametrize("paints", [True, False])
def test_contexts_hold_what_was_seen(paints):
    model = TrackModel(THREE)
    decisions = play(CEMAgent(model, SMALL), Track(THREE, paints=paints))
    columns = [2, *(2 + np.cumsum([d.action for d in decisions])).tolist()]
    assert [pair for pair, _ in model.contexts] == [
        [2],
        *([columns[t], columns[t + 1]] for t in range(4)),
    ]


@pytest.mark.parametrize("space", [THREE, FROM_ONE, BOX, WIDE, spaces.Discrete(4, start=-2)])
def test_contexts_hold_what_was_played(space):
    model = TrackModel(space)
    decisions = play(CEMAgent(model, SMALL), Track(space))
    for decision, (_, actions) in zip(decisions, model.contexts[1:], strict=False):
        assert space.contains(decision.action)
        assert actions.dtype == (np.int64 if isinstance(space, spaces.Discrete) else np.float32)
        assert actions.shape == (1, *space.shape) and np.array_equal(actions[0], decision.action)
    check_agent(lambda: CEMAgent(TrackModel(space), SMALL), Track(space), steps=3)


def test_a_played_array_is_copied():
    model, env = TrackModel(BOX), Track(BOX)
    agent = CEMAgent(model, SMALL)
    agent.reset(seed=0)
    observation, _ = env.reset(seed=0)
    played = np.array([0.5], np.float32)
    for _ in range(2):
        agent.act(observation)
        after, *rest = env.step(played)
        agent.observe(
            Transition(observation, Decision(played, Source.POLICY), *rest[:1], after, False, False)
        )
        observation = after
        played[:] += 0.25
    agent.act(observation)
    assert [actions.tolist() for _, actions in model.contexts[1:]] == [[[0.5]], [[0.75]]]


def test_the_tree_is_kept_while_the_model_is_right_and_searches_from_one():
    for pay in (0.5, 0.1, 1 / 3, 1e-7, 12345.678):
        config = MCTSConfig(num_simulations=12, depth=4)
        decisions = play(MCTSAgent(TrackModel(FROM_ONE, pay), config), Track(FROM_ONE, pay), 6)
        assert searched_anew(decisions) == [False] * 5
        assert all(FROM_ONE.contains(decision.action) for decision in decisions)


def test_a_real_surprise_drops_the_tree():
    config = MCTSConfig(num_simulations=12, depth=4)
    decisions = play(MCTSAgent(TrackModel(THREE, 0.1), config), Track(THREE, 0.2), 6)
    moved = [decision.action > 0 for decision in decisions]
    assert searched_anew(decisions) == moved[:-1] and any(moved)


def test_rewards_are_compared_in_the_model_s_units():
    model = TrackModel(THREE, 1.0)
    model.reward_transform = "sign"
    decisions = play(
        MCTSAgent(model, MCTSConfig(num_simulations=12, depth=4)), Track(THREE, 7.0), 6
    )
    assert searched_anew(decisions) == [False] * 5


def test_continuous_play_is_journalled_and_repeated(tmp_path):
    env, agent = Track(WIDE), CEMAgent(TrackModel(WIDE), SMALL)
    played = play_episode(env, agent, seed=0, max_steps=4)
    with Journal(tmp_path / "journal.sqlite") as journal:
        episode = journal.begin_episode(0, "eval", 0)
        for _ in range(2):  # a second time it must be the same
            for step, transition in enumerate(played.transitions):
                journal.record_step(step_row(0, step, transition, []))
        rows = journal.steps(0)
    assert [row.action for row in rows] == [action.tolist() for action in played.actions]
    again = play_episode(env, RecordedAgent(episode, rows), seed=0, max_steps=4)
    assert np.array_equal(again.actions, played.actions) and again.actions[0].dtype == np.float32


def test_decisions_with_arrays_are_compared():
    one, other = (Decision(np.float32([0.5, x]), Source.POLICY) for x in (0.1, 0.2))
    assert (
        one == one
        and one != other
        and one == Decision(np.float32([0.5, 0.1]), Source.POLICY)
        and one != 3
    )
    assert Decision(1, Source.POLICY) != Decision(1, Source.BUFFER)
