"""What is made from a journal: summaries, evaluations, tables, results, and which episodes were cut."""

import csv
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.runs import outputs
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.player import step_row
from atari_vlm.runs.seeds import eval_seed, train_seed
from atari_vlm.runs.videos import worth_filming
from atari_vlm.types import Decision, Source, Transition


def row(episode, result, length=4, phase="train", rate=0.0, cost=0.1):
    return EpisodeRow(episode, phase, episode, "done", result, length, rate, cost)


def journal_of(path, *rows, terminated=True, groups=()):
    journal = Journal(path / "journal.sqlite")
    for each in rows:
        journal.begin_episode(each.episode, each.phase, each.seed)
        for number in range(each.length or 0):
            last = terminated and number == each.length - 1
            step = Transition({}, Decision(0, Source.MODEL), 0.0, {}, last, False, {})
            journal.record_step(step_row(each.episode, number, step, []))
        if each.status == "done":
            journal.finish_episode(each)
    journal.set_meta(groups=list(groups))
    return journal


def test_a_summary_weighs_fallbacks_by_steps_and_sums_costs():
    summary = outputs.summarise([row(0, 2.0, 1, rate=1.0), row(1, -4.0, 9)])
    assert summary["mean_reward"] == -1.0 and summary["std_reward"] == 3.0
    assert (summary["min_reward"], summary["max_reward"], summary["mean_length"]) == (-4.0, 2.0, 5)
    assert summary["fallback_rate"] == pytest.approx(0.1)
    assert summary["cost_usd"] == pytest.approx(0.2) and summary["seeds"] == [0, 1]


def test_an_unknown_cost_makes_the_sum_unknown_and_no_episodes_have_no_summary():
    assert outputs.summarise([row(0, 1.0), row(1, 1.0, cost=None)])["cost_usd"] is None
    assert outputs.summarise([]) == {}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
def test_a_summary_lies_within_what_was_played(returns):
    summary = outputs.summarise([row(i, value) for i, value in enumerate(returns)])
    assert summary["episode_rewards"] == returns
    low, high = summary["min_reward"], summary["max_reward"]
    assert low - 1e-6 <= summary["mean_reward"] <= high + 1e-6
    assert summary["std_reward"] <= high - low + 1e-6


def test_an_evaluation_counts_once_all_its_episodes_are_done(tmp_path):
    unfinished = EpisodeRow(3, "eval", 3)
    groups = [
        {"phase": "train", "episodes": [0]},
        {"phase": "eval", "episodes": [1, 2], "strategy": "best", "after": 1},
        {"phase": "eval", "episodes": [3], "strategy": "none", "after": 1},
    ]
    rows = (row(0, 0.0), row(1, 1.0, phase="eval"), row(2, 3.0, phase="eval"), unfinished)
    with journal_of(tmp_path, *rows, groups=groups) as journal:
        (only,) = outputs.evaluations(journal)
        assert len(outputs.done_episodes(journal)) == 3
    assert (only["strategy"], only["after"], only["mean_reward"]) == ("best", 1, 2.0)


@pytest.mark.parametrize(
    ("settings", "terminated", "cut"),
    [
        ({"max_steps": 4}, False, [0]),
        ({"max_steps": 4}, True, []),  # the game was over in the very last step
        ({"max_steps": 5}, False, []),
        ({"max_steps": None}, False, []),
        ({"env": {"max_episode_steps": 4}}, False, [0]),
        ({"max_steps": 9, "env": {"max_episode_steps": 3}}, False, [0]),
        ({"max_steps": None, "env": {"max_episode_steps": None}}, False, []),
    ],
)
def test_a_cut_episode_reached_the_lower_limit_before_its_game_was_over(
    tmp_path, settings, terminated, cut
):
    with journal_of(tmp_path, row(0, 0.0), terminated=terminated) as journal:
        assert outputs.cut_episodes(journal, journal.episodes(), settings) == cut


def test_tables_and_results_hold_the_finished_episodes(tmp_path):
    rows = [row(i, float(value)) for i, value in enumerate((1, 5, 5, -2, 0, 3))]
    with journal_of(tmp_path, *rows, EpisodeRow(6, "train", 6)) as journal:
        outputs.write_tables(tmp_path, journal)
        path = outputs.write_results(tmp_path, {"game": "Pong"}, journal)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["episode_return"] for line in lines] == [1, 5, 5, -2, 0, 3]
    assert {line["kind"] for line in lines} == {"episode"} and "status" not in lines[0]
    with (tmp_path / "episodes.csv").open() as file:
        assert [float(line["episode_return"]) for line in csv.DictReader(file)] == [
            1,
            5,
            5,
            -2,
            0,
            3,
        ]
    content = json.loads(path.read_text())
    assert content["game"] == "Pong" and content["evaluations"] == []
    assert [best["total_reward"] for best in content["best_trajectories"]] == [5, 5, 3, 1, 0]
    assert math.isclose(content["training"]["mean_reward"], 2.0)


def test_evaluations_are_filmed_before_training_and_the_best_first():
    rows = [
        row(0, 9.0),
        row(1, 1.0, phase="eval"),
        row(2, 3.0, phase="eval"),
        row(3, 3.0, phase="eval"),
        row(4, 5.0, length=0, phase="eval"),
        EpisodeRow(5, "eval", 5),
    ]
    assert [each.episode for each in worth_filming(rows, 4)] == [2, 3, 1, 0]
    assert worth_filming(rows, 0) == []


@given(st.integers(0, 2**31), st.integers(0, 9_999), st.integers(0, 9_999), st.integers(0, 3))
def test_seeds_of_training_and_evaluation_never_meet(seed, first, second, other):
    assert train_seed(seed, first) != eval_seed(seed + other, second)
    assert (train_seed(seed, first) == train_seed(seed + other, second)) == (
        (first, 0) == (second, other)
    )
