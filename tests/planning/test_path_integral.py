"""Path integral control: weights by exp(return), plans of the asked shape, whatever the scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning_models import Point, Table

from atari_vlm.errors import ConfigError
from atari_vlm.planning import MPPIConfig, mppi
from atari_vlm.planning.path_integral import _weights

SMALL = MPPIConfig(horizon=4, population=24, iterations=3)


def search(model, config=SMALL, seed=0, **options):
    state = model.init(np.zeros((1, 1, 1), np.float32), np.zeros((1, 0), np.int64), rng=None)
    return mppi(model, state, config, rng=np.random.default_rng(seed), **options)


@given(
    scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    temperature=st.floats(1e-3, 1e3),
)
def test_weights_are_shares_in_the_order_of_the_scores(scores, temperature):
    scores = np.array(scores)
    weights = _weights(scores, temperature)
    assert np.isclose(weights.sum(), 1) and (weights >= 0).all()
    assert (np.diff(weights[np.argsort(scores)]) >= -1e-12).all()


@given(shift=st.floats(-1e3, 1e3), scale=st.floats(0.1, 10))
def test_weights_do_not_depend_on_the_unit_of_the_reward(shift, scale):
    scores = np.array([0.0, 1.0, 5.0, 2.0])
    assert np.allclose(_weights(scores, 0.3), _weights(scores * scale + shift, 0.3), atol=1e-6)


def test_what_is_not_finite_weighs_nothing_and_nothing_finite_weighs_equally():
    weights = _weights(np.array([1.0, np.nan, -np.inf, 1.0]), 0.3)
    assert weights.tolist() == [0.5, 0.0, 0.0, 0.5]
    assert _weights(np.array([np.nan, np.inf]), 0.3).tolist() == [0.5, 0.5]
    assert _weights(np.full(4, 7.0), 0.3).tolist() == [0.25] * 4


def test_a_small_temperature_is_greedy_and_a_large_one_is_not():
    scores = np.array([0.0, 1.0, 2.0])
    assert _weights(scores, 0.01)[2] > 0.999
    assert np.allclose(_weights(scores, 1e6), 1 / 3, atol=1e-3)


def test_the_best_action_of_a_table_is_held():
    config = MPPIConfig(horizon=4, population=64, iterations=5, temperature=0.1)
    result = search(Table([0.0, 1.0, -1.0]), config)
    assert result.plans.shape == (1 + 1 + 64, 4)  # the mode, the last mode, the samples
    assert result.plans[0].tolist() == [1] * 4 and result.scores[0] == 4


def test_equal_seeds_give_equal_plans_and_others_do_not():
    first, again, other = (search(Table([0.0, 0.1, 0.2]), seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.plans, again.plans) and np.array_equal(first.scores, again.scores)
    assert not np.array_equal(first.plans, other.plans)


def test_continuous_plans_stay_within_the_bounds_and_push_towards_the_goal():
    result = search(Point())
    assert result.plans.shape[1:] == (SMALL.horizon, 1)
    assert (np.abs(result.plans) <= 1).all() and result.plans[0].sum() > 0
    assert result.scores[0] >= np.median(result.scores)


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0},
        {"population": 1.5},
        {"iterations": 0},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"discount": 1.5},
    ],
)
def test_wrong_options_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MPPIConfig(**wrong)
