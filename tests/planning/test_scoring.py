import numpy as np
import pytest
from planning_models import Counted, Point, Table

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.planning import random_shooting, score_plans
from atari_vlm.trees import take_rows
from atari_vlm.world_models import CatchWorldModel

RNG = np.random.default_rng(0)
ROOT = np.zeros(1)


def catch_states(model):
    start = model.start
    return model.init(start.observations, start.actions, rng=RNG)


def test_one_batched_rollout_without_decoding():
    model = Counted(Table([0, 1]))
    score_plans(model, ROOT, [[0, 1, 0], [1, 1, 1]], rng=RNG)
    assert model.steps == [2, 2, 2] and model.decodes == 0


def test_scores_are_discounted_and_stop_at_the_end():
    model = Table([1, 2, 4], end=2)
    scores = score_plans(model, ROOT, [[0, 0, 0], [1, 2, 1], [2, 1, 1]], discount=0.5, rng=RNG)
    assert scores.scores.tolist() == [1.75, 2 + 2, 4]
    assert scores.lengths.tolist() == [3, 2, 1]
    assert scores.rewards.tolist() == [[1, 1, 1], [2, 4, 0], [4, 0, 0]]


def test_a_rollout_whose_rows_have_all_ended_is_not_continued():
    model = Counted(Table([0, 1], end=1))
    score_plans(model, ROOT, [[1, 0, 0, 0], [0, 1, 0, 0]], rng=RNG)
    assert len(model.steps) == 2


def test_equal_scores_keep_the_order_of_the_plans():
    scores = score_plans(Table([1, 1, 2]), ROOT, [[0], [1], [2], [2]], rng=RNG)
    assert scores.order.tolist() == [2, 3, 0, 1] and scores.best == 2


def test_the_value_of_the_last_state_counts_where_nothing_ended():
    model = Table([1, 1], end=1)
    scores = score_plans(
        model, ROOT, [[0, 0], [0, 1]], discount=0.5, rng=RNG, value=lambda state: 8 * state
    )
    assert scores.scores.tolist() == [1.5 + 0.25 * 16, 1.5]


def test_pessimism_over_futures_prefers_the_safe_plan():
    model = Table([1.0, 1.5], noise=[0.0, 4.0])
    risky = score_plans(model, ROOT, [[0], [1]], rng=np.random.default_rng(3), num_futures=64)
    safe = score_plans(
        model, ROOT, [[0], [1]], rng=np.random.default_rng(3), num_futures=64, pessimism=1.0
    )
    assert risky.spread[0] == 0 and 3 < risky.spread[1] < 5
    assert safe.best == 0
    np.testing.assert_allclose(safe.scores, risky.scores - risky.spread)


def test_futures_are_one_batch():
    model = Counted(Table([0, 1]))
    score_plans(model, ROOT, [[0, 1]] * 3, rng=RNG, num_futures=5)
    assert model.steps == [15, 15]


def test_an_ensemble_is_averaged_and_its_disagreement_subtracted():
    models = [Table([0, 3]), Table([2, 3])]
    scores = score_plans(models, [ROOT, ROOT], [[0], [1]], rng=RNG, pessimism=0.5)
    assert scores.scores.tolist() == [1 - 0.5, 3]
    with pytest.raises(MismatchError):
        score_plans(models, [ROOT], [[0]], rng=RNG)


def test_no_number_is_the_worst_score():
    scores = score_plans(Table([np.nan, -5, np.inf]), ROOT, [[0], [1], [2]], rng=RNG)
    assert scores.scores.tolist() == [-np.inf, -5, -np.inf] and scores.best == 1


@pytest.mark.parametrize(
    "plans", [[], [[]], [[0, 1], [0]], [[2]], [[-1]], [[0.5]], [0, 1], np.zeros((1, 2, 3), int)]
)
def test_bad_plans_are_refused(plans):
    with pytest.raises(ConfigError):
        score_plans(Table([0, 1]), ROOT, plans, rng=RNG)


def test_bad_numbers_are_refused():
    for wrong in ({"num_futures": 0}, {"discount": 0}):
        with pytest.raises(ConfigError):
            score_plans(Table([0, 1]), ROOT, [[0]], rng=RNG, **wrong)


def test_continuous_plans_are_checked_and_scored():
    scores = score_plans(Point(), ROOT, [[[1.0], [1.0]], [[0.0], [0.0]]], rng=RNG)
    assert scores.scores.tolist() == [-1, -4]
    with pytest.raises(ConfigError):
        score_plans(Point(), ROOT, [[1.0, 1.0]], rng=RNG)


def test_random_shooting_catches_every_ball():
    model = CatchWorldModel()
    states = catch_states(model)
    for column in range(model.columns):
        found = random_shooting(
            model, take_rows(states, [column]), num_plans=512, horizon=7, rng=RNG
        )
        assert found.scores[found.best] == 1, column
