"""The statistics reproduce published aggregates from raw scores, and refuse what has no answer."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.errors import ConfigError, MismatchError, UnknownNameError
from atari_vlm.reporting import (
    BootstrapConfig,
    aggregate,
    aggregates,
    human_normalise,
    performance_profile,
    probability_of_improvement,
)
from atari_vlm.scores.statistics import few_runs_note

# Mean, median, IQM, its interval, optimality gap, games at or above human: the published figures for the same raw scores.
PUBLISHED = {
    "REM": (1.222, 0.280, 0.673, (0.618, 0.731), 0.482, 12),
    "REM_ablation_no-pop": (1.335, 0.208, 0.666, (0.605, 0.746), 0.500, 12),
    "IRIS": (1.046, 0.289, 0.501, (0.441, 0.566), 0.512, 10),
    "DreamerV3": (1.124, 0.485, 0.487, (0.434, 0.550), 0.510, 9),
    "TWM": (0.956, 0.505, 0.459, (0.403, 0.521), 0.513, 8),
    "SimPLe": (0.332, 0.134, 0.130, (0.100, 0.167), 0.729, 1),
    "DIAMOND": (1.459, 0.373, 0.641, (0.580, 0.709), 0.480, 11),
    "M3_Simulus": (1.645, 0.982, 0.990, (0.886, 1.112), 0.412, 13),
    "EfficientZero": (1.943, 1.090, 1.047, None, 0.367, 14),
}
PUBLISHED_IQM_ON_8_GAMES = {
    "REM_ablation_separate-wm-embeddings": 1.794,
    "REM_ablation_no-action-input": 1.535,
    "REM_ablation_no-latent-ac": 1.234,
    "REM_ablation_4x4-tokenizer": 1.026,
    "REM": 2.201,
    "REM_ablation_no-pop": 2.068,
}


@pytest.fixture(scope="module")
def normalised() -> dict[str, dict[str, np.ndarray]]:
    raw: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    text = (resources.files("atari_vlm") / "data" / "rem_atari100k_raw.csv").read_text()
    for row in csv.DictReader(text.splitlines()):
        raw[row["algorithm"]][row["game"]].append(float(row["score"]))
    return {
        name: {g: human_normalise(g, runs) for g, runs in games.items()}
        for name, games in raw.items()
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_aggregates(normalised, name):
    mean, median, iqm, interval, gap, superhuman = PUBLISHED[name]
    games = normalised[name]
    found = aggregates(games)
    assert found["mean"].value == pytest.approx(mean, abs=1e-3)
    assert found["median"].value == pytest.approx(median, abs=1e-3)
    assert found["iqm"].value == pytest.approx(iqm, abs=1e-3)
    assert found["optimality_gap"].value == pytest.approx(gap, abs=1e-3)
    assert sum(round(runs.mean(), 9) >= 1 for runs in games.values()) == superhuman
    if interval is None:
        assert not found["iqm"].has_interval
    else:
        assert (found["iqm"].low, found["iqm"].high) == pytest.approx(interval, abs=1e-2)


@pytest.mark.parametrize("name", PUBLISHED_IQM_ON_8_GAMES)
def test_published_ablation(normalised, name):
    games = {g: normalised[name][g] for g in normalised["REM_ablation_4x4-tokenizer"]}
    assert aggregate(games).value == pytest.approx(PUBLISHED_IQM_ON_8_GAMES[name], abs=1e-3)


def test_reference_scores_are_those_of_the_raw_file(normalised):
    assert all(runs == pytest.approx([0.0]) for runs in normalised["Random"].values())
    assert all(runs == pytest.approx([1.0]) for runs in normalised["Human"].values())


def test_array_and_mapping_agree(normalised):
    games = normalised["REM"]
    array = np.stack(list(games.values()), axis=1)
    assert array.shape == (5, 26)
    assert aggregate(array) == aggregate(games)


def test_equal_seeds_give_equal_intervals(normalised):
    games = normalised["IRIS"]
    assert aggregate(games, seed=3) == aggregate(games, seed=3)
    assert aggregate(games, seed=3).low != aggregate(games, seed=4).low
    assert aggregate(games, confidence=0.5).low > aggregate(games, confidence=0.99).low


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-50, 50), min_size=1, max_size=6), min_size=1, max_size=6))
def test_aggregates_against_plain_definitions(games):
    scores = {str(i): runs for i, runs in enumerate(games)}
    found = aggregates(scores, repetitions=100)
    means = [sum(runs) / len(runs) for runs in games]
    flat = sorted(score for runs in games for score in runs)
    cut = len(flat) // 4
    middle = flat[cut : len(flat) - cut]
    assert found["mean"].value == pytest.approx(sum(means) / len(means), abs=1e-9)
    assert found["median"].value == pytest.approx(float(np.median(means)), abs=1e-9)
    assert found["iqm"].value == pytest.approx(sum(middle) / len(middle), abs=1e-9)
    for estimate in found.values():
        assert (
            math.isnan(estimate.low) if max(map(len, games)) == 1 else estimate.low <= estimate.high
        )


@pytest.mark.parametrize(
    "scores",
    [
        [],
        [[]],
        {},
        {"Pong": []},
        [1.0, 2.0],
        [[1.0, math.nan]],
        {"Pong": [math.inf]},
        np.zeros((0, 3)),
        np.zeros((2, 2, 2)),
    ],
)
def test_scores_without_an_answer_are_refused(scores):
    with pytest.raises(ConfigError, match="scores must"):
        aggregate(scores)


def test_bad_options_are_refused():
    with pytest.raises(UnknownNameError, match="iqm"):
        aggregate([[1.0]], "iqr")
    with pytest.raises(ConfigError, match="confidence"):
        aggregate([[1.0]], confidence=95)
    with pytest.raises(ConfigError, match="repetitions"):
        aggregate([[1.0]], repetitions=1)
    with pytest.raises(ConfigError, match="Atari-57"):
        human_normalise("Adventure", 3.0)


def test_one_run_has_a_value_and_no_interval():
    estimate = aggregate([[0.5, 1.5]], "mean")
    assert estimate.value == 1.0 and not estimate.has_interval
    assert estimate.as_dict() == {"value": 1.0, "low": None, "high": None}
    assert str(estimate) == "1.000"


def test_note_on_few_runs():
    assert few_runs_note(np.zeros((3, 2))) == ""
    assert "only 2 runs" in few_runs_note(np.zeros((2, 2)))
    assert "only 1 run:" in few_runs_note({"Pong": [1.0, 2.0, 3.0], "Boxing": [1.0]})


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        estimate = aggregate(rng.normal(size=(10, 5)), "mean", repetitions=200, seed=trial)
        covered += estimate.low <= 0 <= estimate.high
    assert 170 <= covered <= 199  # 95% in the limit, somewhat less with ten runs


def test_performance_profile(normalised):
    profile = performance_profile(normalised["REM"], [0, 0.5, 1, 2])
    flat = np.stack(list(normalised["REM"].values()))
    assert profile.share == pytest.approx([(flat > t).mean() for t in (0, 0.5, 1, 2)])
    assert (profile.low <= profile.share).all() and (profile.share <= profile.high).all()
    with pytest.raises(ConfigError, match="rising"):
        performance_profile(normalised["REM"], [1, 0])
    assert np.isnan(performance_profile([[1.0]], [0.5]).low).all()


def test_probability_of_improvement(normalised):
    better = probability_of_improvement(normalised["M3_Simulus"], normalised["SimPLe"])
    assert better.low > 0.5
    opposite = probability_of_improvement(normalised["SimPLe"], normalised["M3_Simulus"])
    assert better.value + opposite.value == pytest.approx(1)
    assert (
        probability_of_improvement(
            [[1.0], [2.0]], [[1.0], [2.0]], BootstrapConfig(repetitions=100)
        ).value
        == 0.5
    )
    with pytest.raises(MismatchError, match="Boxing"):
        probability_of_improvement({"Pong": [1.0]}, {"Boxing": [1.0]})
