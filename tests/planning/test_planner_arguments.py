"""Planners take what their model's action space holds, and refuse the rest before anything is imagined."""

import numpy as np
import pytest
from gymnasium import spaces
from track import BOX, FROM_ONE, THREE, TrackModel

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.planning import (
    CEMConfig,
    MCTSConfig,
    MPPIConfig,
    cem,
    mcts,
    mppi,
    random_shooting,
    score_plans,
)
from atari_vlm.world_models.base import ModelStep

ZERO = np.zeros(1)
WIDE = spaces.Box(-1, 1, (2,), np.float32)


def rng():
    return np.random.default_rng(0)


PLANNERS = {
    "cem": lambda model, **o: cem(
        model, ZERO, CEMConfig(horizon=3, population=8, elites=2), rng=rng(), **o
    ),
    "mppi": lambda model, **o: mppi(
        model, ZERO, MPPIConfig(horizon=3, population=8), rng=rng(), **o
    ),
    "random": lambda model, **o: random_shooting(
        model, ZERO, num_plans=8, horizon=3, rng=rng(), **o
    ),
    "mcts": lambda model, **o: mcts(model, ZERO, MCTSConfig(8, depth=3), rng=rng(), **o),
}


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize(
    "space", [FROM_ONE, spaces.Discrete(2, start=-5), spaces.Discrete(1, start=7), WIDE]
)
def test_what_they_plan_is_of_the_space(planner, space):
    if planner == "mcts" and space is WIDE:
        pytest.skip("a tree search is for discrete actions")
    model = TrackModel(space)
    result = PLANNERS[planner](model)
    actions = [result.action] if planner == "mcts" else result.plans.reshape(-1, *space.shape)
    assert all(space.contains(action) for action in actions)
    given = np.concatenate(model.given)
    assert all(space.contains(action) for action in given)
    assert given.dtype == (np.float32 if space is WIDE else np.int64)


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiDiscrete([[2, 3]]),
        spaces.MultiBinary(3),
        spaces.Box(-1, 1, (2, 2), np.float32),
        spaces.Box(0, 3, (1,), np.int32),
        spaces.Box(-np.inf, np.inf, (1,)),
    ],
)
def test_other_spaces_are_refused(planner, space):
    model = TrackModel(THREE)
    model.action_space = space
    with pytest.raises(
        ConfigError, match="actions are Discrete, or a bounded Box of floats with one axis"
    ):
        PLANNERS[planner](model)
    assert not model.given


@pytest.mark.parametrize(
    ("space", "plans"),
    [
        (THREE, [[0, 3]]),
        (THREE, [[0.0, 1.0]]),
        (THREE, [[0], [0, 1]]),
        (THREE, [0, 1]),
        (THREE, []),
        (FROM_ONE, [[0, 1]]),
        (WIDE, np.full((1, 2, 2), 9.0)),
        (WIDE, np.full((1, 2, 2), np.nan)),
        (WIDE, np.zeros((1, 2, 3))),
        (BOX, np.zeros((1, 2))),
    ],
)
def test_plans_outside_the_space_are_refused(space, plans):
    with pytest.raises(ConfigError, match="plans must"):
        score_plans(TrackModel(space), ZERO, plans, rng=rng())
    with pytest.raises(ConfigError, match="initial_plans must"):
        cem(TrackModel(space), ZERO, CEMConfig(horizon=2), rng=rng(), initial_plans=plans)


@pytest.mark.parametrize(
    ("space", "plan"),
    [(THREE, [3]), (THREE, [0.5]), (THREE, 1), (FROM_ONE, [0]), (WIDE, [[9, 0]]), (WIDE, [0, 0])],
)
def test_warm_starts_outside_the_space_are_refused(space, plan):
    for planner in ("cem", "mppi"):
        with pytest.raises(ConfigError, match="warm_start must"):
            PLANNERS[planner](TrackModel(space), warm_start=plan)


def test_other_arguments_are_refused():
    model = TrackModel(THREE)
    with pytest.raises(
        ConfigError, match="initial_plans have 2 actions, the search's horizon is 5"
    ):
        cem(model, ZERO, CEMConfig(horizon=5), rng=rng(), initial_plans=[[2, 2]])
    for empty in (np.array([], int), []):
        with pytest.raises(ConfigError, match="warm_start must"):
            cem(model, ZERO, rng=rng(), warm_start=empty)
        with pytest.raises(ConfigError, match="warm_start must"):
            mppi(model, ZERO, rng=rng(), warm_start=empty)
    for discount in (0, 1.5, -1, np.nan):
        with pytest.raises(ConfigError, match="discount"):
            score_plans(model, ZERO, [[0, 1]], discount=discount, rng=rng())
        for config in (CEMConfig, MPPIConfig, MCTSConfig):
            with pytest.raises(ConfigError, match="discount"):
                config(discount=discount)
    for config in (CEMConfig, MPPIConfig):
        with pytest.raises(ConfigError, match="whole number"):
            config(horizon=2.5)
    for state in (np.zeros(2), np.zeros(0), (np.zeros(1), np.zeros(3))):
        for planner in (score_plans, cem, mppi, mcts, random_shooting):
            plans = {"plans": [[0, 1]]} if planner is score_plans else {}
            with pytest.raises(MismatchError, match="one row"):
                planner(model, state, rng=rng(), **plans)
    assert not model.given


def test_other_numbers_are_cast():
    model = TrackModel(WIDE)
    score_plans(model, ZERO, np.zeros((1, 2, 2), int), rng=rng())
    assert model.given[0].dtype == np.float32
    warm = np.zeros((9, 2))
    assert (
        cem(model, ZERO, CEMConfig(horizon=3), rng=rng(), warm_start=warm).plans.dtype == np.float32
    )


class Table(TrackModel):
    """Pays a fixed amount per action, for ever."""

    def __init__(self, pays):
        super().__init__(spaces.Discrete(len(pays)))
        self.pays = np.array(pays, np.float32)

    def step(self, state, action, *, rng):
        self.given.append(np.array(action))
        return ModelStep(state + 1, self.pays[action], np.zeros(len(state), bool))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rule", ["uct", "puct"])
@pytest.mark.parametrize("backup", ["mean", "max"])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("batch", [1, 8])
def test_a_search_never_plays_what_is_no_number(wrong, rule, backup, keep, batch):
    config = MCTSConfig(64, depth=4, rule=rule, backup=backup, keep_rollouts=keep, batch_size=batch)
    for pays, best in (([0.0, 0.1, wrong], 1), ([wrong, 0.1, 0.0], 1), ([wrong, wrong, -1.0], 2)):
        result = mcts(Table(pays), ZERO, config, rng=rng())
        numbers = np.isfinite(pays)
        assert numbers[result.action] and np.isfinite(result.values[numbers]).all()
        assert (result.values[~numbers] == -np.inf).all() and result.simulations == 64
        following = result.tree.advance(best)
        again = mcts(Table(pays), ZERO, config, rng=rng(), tree=following)
        plain = MCTSConfig(64, depth=4, rule=rule, backup=backup, rollout_steps=0, batch_size=batch)
        assert mcts(Table(pays), ZERO, plain, rng=rng()).action == best
        assert np.isfinite(pays[again.action])


def test_the_other_edges_are_worth_what_they_are_without_it():
    """Longer than a plan is, their values are means of many rollouts, which go round the reward that is none."""
    config = MCTSConfig(512, depth=3, rollout_steps=6, discount=1.0)
    values = [
        mcts(Table(pays), ZERO, config, rng=rng()).values
        for pays in ([0.0, 0.1, np.nan], [0.0, 0.1])
    ]
    np.testing.assert_allclose(values[0][:2], values[1], atol=0.03)


def test_where_nothing_is_a_number_nothing_is_invented():
    for pays in ([np.nan], [np.nan, np.inf]):
        for keep in (True, False):
            result = mcts(Table(pays), ZERO, MCTSConfig(16, depth=3, keep_rollouts=keep), rng=rng())
            assert (result.values == -np.inf).all() and result.tree.advance(result.action) is None
    first = mcts(Table([np.nan, 1.0]), ZERO, MCTSConfig(1, depth=3), rng=rng())
    assert first.action == 1 and first.visits.tolist() == [1, 0]


def test_elites_are_numbers():
    model = Table([np.nan, 0.1, 0.0])
    result = cem(model, ZERO, CEMConfig(horizon=3, population=32, elites=16), rng=rng())
    assert result.plans[result.best].tolist() == [1, 1, 1]
