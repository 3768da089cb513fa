import numpy as np
import pytest
from planning_models import Point, Table

from atari_vlm.errors import ConfigError
from atari_vlm.planning import CEMConfig, MPPIConfig, cem, mppi
from atari_vlm.planning.cross_entropy import ICEM, Categorical, coloured_noise
from atari_vlm.trees import take_rows
from atari_vlm.world_models import CatchWorldModel

STARTS = range(8)


def catch_state(model, column):
    return take_rows(model.init(model.start.observations, model.start.actions, rng=None), [column])


@pytest.mark.parametrize(
    "config", [CEMConfig(horizon=7), CEMConfig(horizon=7, keep_elites=0.3, population_decay=1.25)]
)
def test_cem_and_icem_catch_every_ball(config):
    model = CatchWorldModel()
    for column in STARTS:
        found = cem(model, catch_state(model, column), config, rng=np.random.default_rng(column))
        assert found.scores[found.best] == 1, column


def test_mppi_catches_every_ball():
    model = CatchWorldModel()
    for column in STARTS:
        found = mppi(
            model,
            catch_state(model, column),
            MPPIConfig(horizon=7),
            rng=np.random.default_rng(column),
        )
        assert found.scores[found.best] == 1, column


@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_continuous_actions_reach_the_goal(beta):
    config = CEMConfig(
        horizon=4, population=64, elites=8, iterations=6, keep_elites=0.3, noise_beta=beta
    )
    found = cem(Point(), np.zeros(1), config, rng=np.random.default_rng(0))
    assert found.plans.dtype == np.float32 and np.abs(found.plans).max() <= 1
    assert (
        found.scores[found.best] > -1.5
    )  # the best is -1 (two full pushes, then rest), resting from the start gives -8
    followed = mppi(
        Point(), np.zeros(1), MPPIConfig(horizon=4, iterations=8), rng=np.random.default_rng(0)
    )
    assert followed.scores[followed.best] > -1.4


def test_a_given_plan_survives_where_it_is_best():
    model, rng = Table([0, 0, 0, 1]), np.random.default_rng(0)
    config = CEMConfig(horizon=12, population=4, elites=2, iterations=2)
    alone = cem(model, np.zeros(1), config, rng=rng)
    helped = cem(model, np.zeros(1), config, rng=rng, initial_plans=[[3] * 12, [0] * 12])
    assert alone.scores[alone.best] < 12 and helped.scores[helped.best] == 12
    assert helped.plans[helped.best].tolist() == [3] * 12


def test_a_warm_start_begins_at_the_rest_of_the_last_plan():
    sampler = Categorical(4, 3)
    sampler.shift_to(np.array([0, 1, 2]))
    assert sampler.mode().tolist() == [1, 2, 2]
    np.testing.assert_allclose(sampler.probabilities.sum(1), 1)


def test_no_number_never_wins():
    found = cem(
        Table([np.nan, -1]),
        np.zeros(1),
        CEMConfig(horizon=2, population=32),
        rng=np.random.default_rng(0),
    )
    assert found.plans[found.best].tolist() == [1, 1]
    nothing = mppi(
        Table([np.nan]), np.zeros(1), MPPIConfig(horizon=2), rng=np.random.default_rng(0)
    )
    assert not np.isfinite(nothing.scores).any()


def test_coloured_noise_is_smooth_over_time_and_of_unit_variance():
    noise = coloured_noise(2.0, (500, 30, 1), np.random.default_rng(0))
    assert 0.9 < noise.var() < 1.1
    assert np.diff(noise, axis=1).var() < 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon": 0},
        {"elites": 200},
        {"smoothing": 1.0},
        {"keep_elites": 2.0},
        {"noise_beta": -1.0},
        {"discount": 0},
    ],
)
def test_bad_options_are_refused(wrong):
    with pytest.raises(ConfigError):
        CEMConfig(**wrong)
    assert ICEM.keep_elites > 0
    with pytest.raises(ConfigError):
        MPPIConfig(temperature=0)
