"""When a learner learns, and the settings that say so."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.errors import ConfigError
from atari_vlm.world_models.learned.learner import Stage
from atari_vlm.world_models.learned.schedule import (
    ActorCriticTraining,
    Play,
    PolicyGradient,
    ReplayRatio,
    TrainingSettings,
    Updates,
)


@given(
    st.floats(0.01, 8),
    st.integers(0, 50),
    st.lists(st.integers(0, 300), min_size=1, max_size=8),
)
def test_a_ratio_gives_the_same_updates_wherever_it_is_cut(ratio, prefill, cuts):
    schedule, marks = ReplayRatio(ratio, prefill), [0, *sorted(cuts)]
    parts = [schedule.due(n, pair) for n, pair in enumerate(itertools.pairwise(marks), 1)]
    assert all(part >= 0 for part in parts)
    assert sum(parts) == schedule.due(1, (0, marks[-1]))
    assert sum(parts) == int(max(0, marks[-1] - prefill) * ratio)


@pytest.mark.parametrize(("epoch", "due"), [(1, 0), (2, 0), (3, 7), (4, 7), (5, 0)])
def test_updates_by_epochs_begin_and_end(epoch, due):
    updates = Updates(steps=7, first_epoch=3, last_epoch=4)
    assert updates.due(epoch, (0, 1000)) == Stage("model", updates).updates(epoch, (5, 5)) == due


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Updates(batch=0), "batch"),
        (lambda: Updates(learning_rate=-1e-3), "learning_rate"),
        (lambda: Updates(micro_batch=0), "micro_batch"),
        (lambda: Updates(first_epoch=0), "first_epoch"),
        (lambda: PolicyGradient(discount=0.0), "discount"),
        (lambda: PolicyGradient(lam=1.1), "lam"),
        (lambda: PolicyGradient(value_weight=0.0), "value_weight"),
        (lambda: ActorCriticTraining(horizon=2), "horizon"),
        (lambda: ActorCriticTraining(burn_in=0), "burn_in"),
        (lambda: ActorCriticTraining(imagine_temperature=-1.0), "imagine_temperature"),
        (lambda: ActorCriticTraining(discount=2.0), "discount"),
        (lambda: Play(steps=10, envs=3), "multiple of envs"),
        (lambda: Play(epsilon=1.5), "epsilon"),
        (lambda: Play(eval_episodes=0), "eval_episodes"),
        (lambda: Play(temperature=float("nan")), "temperature"),
        (lambda: TrainingSettings(epochs=0), "epochs"),
        (lambda: TrainingSettings(capacity=-5), "capacity"),
        (lambda: ReplayRatio(1.0, prefill=-1), "prefill"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(make, word):
    with pytest.raises(ConfigError, match=word):
        make()


def test_settings_are_plain_data_all_the_way_down():
    plain = TrainingSettings(play=Play(steps=6, envs=3)).as_dict()
    assert plain["play"]["envs"] == 3 and plain["epochs"] == 600
