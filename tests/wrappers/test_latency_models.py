"""Models of latency: what a description makes, what they draw, and what they refuse in one sentence."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.wrappers.latency_models import (
    KINDS,
    Constant,
    Empirical,
    Lognormal,
    Uniform,
    checked_seconds,
    latency_model,
)

DESCRIPTIONS = {
    "constant": {"seconds": 0.5},
    "lognormal": {"median_s": 1.0, "sigma": 0.4},
    "uniform": {"low_s": 0.2, "high_s": 0.6},
    "empirical": {"seconds": [0.1, 0.2, 4.0]},
}


def draws(model, seed=0, count=400):
    rng = np.random.default_rng(seed)
    return [model.draw(rng) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_description_makes_its_model_and_equal_seeds_draw_equally(kind):
    model = latency_model({"kind": kind, **DESCRIPTIONS[kind]})
    assert type(model) is KINDS[kind]
    assert draws(model) == draws(pickle.loads(pickle.dumps(model)))
    assert all(
        type(value) is float and math.isfinite(value) and value >= 0 for value in draws(model)
    )


@given(st.floats(0, 1e6) | st.integers(0, 10**6))
def test_a_number_is_a_constant_that_draws_nothing(seconds):
    rng = np.random.default_rng(1)
    model = latency_model(seconds)
    assert model == Constant(float(seconds)) and model.draw(rng) == seconds
    assert rng.random() == np.random.default_rng(1).random()


@given(low=st.floats(0, 50), width=st.floats(0, 50), seed=st.integers(0, 99))
def test_uniform_stays_within_its_ends(low, width, seed):
    assert all(low <= value <= low + width for value in draws(Uniform(low, low + width), seed, 20))


def test_lognormal_has_its_median_and_no_spread_where_sigma_is_nothing():
    assert draws(Lognormal(2.0, 0.0), count=5) == [2.0] * 5
    values = draws(Lognormal(2.0, 1.0), count=4000)
    assert np.median(values) == pytest.approx(2.0, rel=0.1) and np.mean(values) > 2.8


def test_empirical_draws_each_of_its_seconds_equally():
    values = draws(Empirical((0.1, 0.2, 4.0)), count=3000)
    shares = [values.count(seconds) / len(values) for seconds in (0.1, 0.2, 4.0)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.05) and set(values) == {0.1, 0.2, 4.0}


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"kind": "constant"}, "takes seconds; got"),
        ({"kind": "uniform", "low_s": 1}, "takes low_s, high_s; got low_s"),
        ({"kind": "uniform", "low_s": 2, "high_s": 1}, "low_s must not be above high_s"),
        ({"kind": "lognormal", "median_s": 0, "sigma": 1}, "median_s must be greater than 0"),
        ({"kind": "lognormal", "median_s": 1, "sigma": -1}, "sigma must be a finite number"),
        ({"kind": "lognormal", "median_s": math.inf, "sigma": 1}, "median_s must be a finite"),
        ({"kind": "empirical", "seconds": []}, "at least one latency"),
        ({"kind": "empirical", "seconds": 3}, "at least one latency"),
        ({"kind": "empirical", "seconds": [1, "2"]}, "seconds must be a finite number"),
        ("fast", "neither 'measured' nor a dictionary"),
        (True, "neither 'measured' nor a dictionary"),
    ],
)
def test_a_wrong_description_is_one_sentence(description, words):
    with pytest.raises(ConfigError) as raised:
        latency_model(description)
    assert words in str(raised.value)


@pytest.mark.parametrize("kind", ["Constant", "normal", None, 3])
def test_an_unknown_kind_is_answered_with_the_known_ones(kind):
    with pytest.raises(UnknownNameError, match="known: constant, empirical, lognormal, uniform"):
        latency_model({"kind": kind})


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(2), 0, 1e-9])
def test_any_number_of_seconds_is_taken_as_a_float(value):
    assert type(checked_seconds(value)) is float and checked_seconds(value) == value
