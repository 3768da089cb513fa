import math

import numpy as np
import pytest
from planning_models import Counted, Point, Table

from atari_vlm.errors import ConfigError, NotSupportedError, UnknownNameError
from atari_vlm.planning import MCTSConfig, mcts
from atari_vlm.planning.rollouts import held
from atari_vlm.trees import take_rows
from atari_vlm.world_models import CatchWorldModel

CONFIGS = {
    "uct": MCTSConfig(),
    "puct": MCTSConfig(rule="puct"),
    "one leaf": MCTSConfig(batch_size=1),
    "wide": MCTSConfig(200, batch_size=32),
    "best return": MCTSConfig(num_simulations=40, backup="max", keep_rollouts=True),
}


def play_catch(config, column, *, reuse, value=None):
    """The return of one ball caught, or not, by searching at every step."""
    model, rng = CatchWorldModel(), np.random.default_rng(column)
    state = take_rows(model.init(model.start.observations, model.start.actions, rng=rng), [column])
    total, tree = 0.0, None
    while not state.over[0]:
        result = mcts(model, state, config, rng=rng, tree=tree, value=value)
        step = model.step(state, np.array([result.action]), rng=rng)
        state, total = step.state, total + float(step.reward[0])
        tree = result.tree.advance(result.action) if reuse else None
    return total


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_ball_is_caught(config, reuse):
    assert [play_catch(config, column, reuse=reuse) for column in range(8)] == [1.0] * 8


def test_a_value_function_stands_in_for_rollouts():
    def value(state):
        return np.where(np.abs(state.ball_column - state.paddle) <= 6 - state.ball_row, 1.0, -1.0)

    config = MCTSConfig(num_simulations=20, rollout_steps=0)
    assert [play_catch(config, column, reuse=True, value=value) for column in range(8)] == [1.0] * 8


def test_a_value_replaces_rollouts_in_the_count_of_model_calls():
    model = Counted(Table([0, 1]))
    mcts(
        model,
        np.zeros(1),
        MCTSConfig(64, batch_size=8),
        rng=np.random.default_rng(0),
        value=lambda s: np.zeros(len(s)),
    )
    assert sum(model.steps) <= 64 and model.decodes == 0
    assert max(model.steps) > 1


def test_simulations_are_counted_and_add_up():
    result = mcts(Table([0, 1]), np.zeros(1), MCTSConfig(50), rng=np.random.default_rng(0))
    assert result.simulations == result.visits.sum() == 50
    again = mcts(
        Table([0, 1]),
        np.ones(1),
        MCTSConfig(50),
        rng=np.random.default_rng(0),
        tree=result.tree.advance(1),
    )
    assert again.simulations == 50 and again.visits.sum() > 50


def test_the_tree_holds_what_the_model_says():
    model = Table([1, 2, 3], end=2)
    config = MCTSConfig(60, rollout_steps=0, discount=0.5)
    tree = mcts(model, np.zeros(1), config, rng=np.random.default_rng(0)).tree
    nodes = [tree.root]
    for node in nodes:
        children = [child for child in node.children if child is not None]
        for child in children:
            assert child.reward == model.rewards[child.via] and child.over == (child.via == 2)
            assert tree.states[child.row] == child.depth
        assert all(count == 0 for count in node.pending)
        assert [v > 0 for v in node.visits] == [math.isfinite(value) for value in node.values]
        nodes.extend(children)
    assert tree.root.values[2] == 3


def test_an_end_is_not_searched_beyond():
    result = mcts(Table([0, 1], end=1), np.zeros(1), MCTSConfig(30), rng=np.random.default_rng(0))
    assert result.action == 1 and result.tree.advance(1) is None


def test_a_prior_steers_where_nothing_else_does():
    config = MCTSConfig(30, rule="puct", rollout_steps=0)
    flat = Table([0, 0, 0])
    result = mcts(
        flat, np.zeros(1), config, rng=np.random.default_rng(0), prior=np.array([0.1, 0.8, 0.1])
    )
    assert result.action == 1 and result.visits[1] > 15


def test_best_returns_are_remembered():
    """One of 3**6 paths pays; a tree of kept rollouts that once found it goes on to it without finding it again."""

    class Lock(Table):
        def step(self, state, action, *, rng):
            step = super().step(state, action, rng=rng)
            right = (state >= 0) & (np.asarray(action) == np.abs(state.astype(int)) % 3)
            following = np.where(right, state + 1, -9.0)
            return type(step)(following, (following == 6).astype(np.float32), step.terminated)

    model, rng = Lock([0, 0, 0]), np.random.default_rng(0)
    config = MCTSConfig(600, rollout_steps=6, backup="max", keep_rollouts=True)
    state, tree, total = np.zeros(1), None, 0.0
    for _ in range(6):
        result = mcts(model, state, config, rng=rng, tree=tree)
        config = MCTSConfig(1, rollout_steps=6, backup="max", keep_rollouts=True)
        step = model.step(state, np.array([result.action]), rng=rng)
        state, total, tree = step.state, total + step.reward[0], result.tree.advance(result.action)
    assert total == 1


def test_numbers_that_are_none_do_not_enter():
    result = mcts(
        Table([0, 1]),
        np.zeros(1),
        MCTSConfig(20),
        rng=np.random.default_rng(0),
        value=lambda s: np.full(len(s), np.nan),
    )
    assert result.action == 1 and np.isfinite(result.values).all()


def test_rollouts_hold_their_actions():
    rng = np.random.default_rng(0)
    plans = held(rng.integers(5, size=(200, 12)), (3, 6), rng)
    for plan in plans:
        changes = np.flatnonzero(np.diff(plan)) + 1
        assert any((changes % length == 0).all() for length in (3, 4, 5, 6))
    assert (held(plans, (1, 1), rng) == plans).all()


def test_bad_options_are_refused():
    with pytest.raises(NotSupportedError):
        mcts(Point(), np.zeros(1), rng=np.random.default_rng(0))
    for wrong in ([1, 2, 3], [-1, 2], [np.nan, 1], [0, 0]):
        with pytest.raises(ConfigError):
            mcts(Table([0, 1]), np.zeros(1), rng=np.random.default_rng(0), prior=np.array(wrong))
    for option in (
        {"num_simulations": 0},
        {"rollout_steps": -1},
        {"rollout_hold": (0, 3)},
        {"rollout_hold": (4, 3)},
    ):
        with pytest.raises(ConfigError):
            MCTSConfig(**option)
    for option in ({"rule": "ucb"}, {"backup": "median"}):
        with pytest.raises(UnknownNameError):
            MCTSConfig(**option)
