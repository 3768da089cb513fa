"""What tables are made of: runs, their scores per game and over games, notes, and the three kinds of file."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.results import (
    Results,
    Run,
    agent_scores,
    all_notes,
    cut_games,
    fallback_rate,
    game_scores,
)
from atari_vlm.evaluation.results_files import to_csv, to_json, to_markdown
from atari_vlm.scores.statistics import human_normalise


def run(game="Pong", agent="vlm", seed=0, returns=(1.0, 3.0), **changes):
    values = {"steps": 100, "fallbacks": 10, "cost_usd": 0.5, **changes}
    return Run(game, agent, seed, tuple(returns), **values)


def table(*agents, seeds=3, games=("Pong", "Breakout")):
    """A run of each agent, game and seed; the agents' scores differ."""
    return Results(
        tuple(
            run(game, agent, seed, (float(at + seed),))
            for game in games
            for at, agent in enumerate(agents)
            for seed in range(seeds)
        )
    )


def test_a_run_without_episodes_is_none():
    with pytest.raises(ConfigError, match="the run of vlm on Pong with seed 4 holds no episode"):
        run(seed=4, returns=())


def test_the_score_of_a_run_is_the_mean_of_its_returns():
    one = run(returns=(-20.0, -18.0, -22.0))
    assert one.score == -20.0
    assert one.normalised == pytest.approx(float(human_normalise("Pong", -20.0)))


@pytest.mark.parametrize("changes", [{"cut": 1}, {"game": "Tetris"}])
def test_cut_and_unknown_games_have_no_normalised_score(changes):
    one = run(**changes)
    assert one.normalised is None
    (score,) = game_scores(Results((one,)))
    assert score.normalised is None and score.score.value == 2.0
    assert agent_scores(Results((one,))) == []


def test_games_and_agents_stand_in_the_order_they_were_played_in():
    results = Results((run("Pong", "b"), run("Alien", "a"), run("Pong", "a")))
    assert results.games == ["Pong", "Alien"] and results.agents == ["b", "a"]
    assert [(s.game, s.agent) for s in game_scores(results)] == [
        ("Pong", "b"),
        ("Pong", "a"),
        ("Alien", "a"),
    ]


def test_fallbacks_are_weighed_by_steps():
    rate = fallback_rate([run(steps=100, fallbacks=50), run(steps=300, fallbacks=0)])
    assert rate == 0.125
    assert fallback_rate([run(steps=0, fallbacks=0)]) == 0


def test_a_cost_that_is_unknown_makes_the_sum_unknown():
    known = Results((run(seed=0), run(seed=1, cost_usd=1.25)))
    unknown = Results((run(seed=0), run(seed=1, cost_usd=None)))
    assert game_scores(known)[0].cost_usd == 1.75
    assert game_scores(unknown)[0].cost_usd is None
    assert "unknown" in to_markdown(unknown) and "$1.75" in to_markdown(known)


def test_over_games_counts_only_what_all_agents_have_played_whole():
    results = table("one", "two")
    missing = Results((*results.runs, run("Alien", "one")))
    cut = Results((*results.runs, run("Boxing", "one", cut=1), run("Boxing", "two")))
    for more in (missing, cut):
        assert [s.games for s in agent_scores(more)] == [("Pong", "Breakout")] * 2
    assert cut_games(cut) == ["Boxing"] and cut_games(missing) == []


def test_the_better_agent_has_the_better_aggregates():
    one, two = agent_scores(table("one", "two"))
    for metric in ("mean", "median", "iqm"):
        assert two.aggregates[metric].value > one.aggregates[metric].value
    assert two.aggregates["optimality_gap"].value < one.aggregates["optimality_gap"].value


def test_notes_say_what_a_reader_must_know():
    results = Results(
        (run("Tetris"), run("Boxing", cut=2), run("Pong"), run("Pong", "other")), notes=("first",)
    )
    notes = all_notes(results)
    assert notes[0] == "first"
    assert "Not in the Atari-57 human reference, so raw scores only: Tetris." in notes
    assert any("Cut episodes" in note and note.endswith("Boxing.") for note in notes)
    assert any("Not played by every agent yet" in n and "Tetris, Boxing" in n for n in notes)
    assert all_notes(Results(())) == []


def test_csv_has_one_line_a_run_and_loses_no_digit():
    results = Results((run(returns=(1 / 3,)), run("Tetris", cost_usd=None)))
    first, second = csv.DictReader(io.StringIO(to_csv(results)))
    assert float(first["score"]) == 1 / 3 and float(first["human_normalised"]) == (
        results.runs[0].normalised
    )
    assert first["fallback_rate"] == "0.1" and first["episodes"] == "1"
    assert second["human_normalised"] == second["cost_usd"] == ""


def test_json_holds_everything_as_plain_numbers():
    content = json.loads(to_json(table("one", "two")))
    assert len(content["runs"]) == 12 and len(content["games"]) == 4
    assert {agent["agent"] for agent in content["over_games"]} == {"one", "two"}
    assert content["over_games"][0]["games"] == ["Pong", "Breakout"]
    assert set(content["games"][0]["score"]) >= {"value", "low", "high"}


def test_markdown_says_how_it_was_made():
    results = Results((run(),), conditions=(("sticky actions", "0.25"),), command="python -m x")
    lines = to_markdown(results).splitlines()
    assert "- sticky actions: 0.25" in lines and lines[-1] == "    python -m x"
    assert "Run it again:" not in to_markdown(Results((run(),)))
    over = to_markdown(table("one", games=("Pong",)))
    assert "## Over 1 game, human-normalised" in over
    assert "## Over 2 games, human-normalised" in to_markdown(table("one"))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=4),
        min_size=2,
        max_size=5,
        unique_by=sum,
    )
)
def test_the_score_of_a_game_is_the_mean_over_runs_inside_its_interval(returns):
    results = Results(tuple(run("Tetris", "a", seed, one) for seed, one in enumerate(returns)))
    (score,) = game_scores(results)
    assert score.score.value == pytest.approx(np.mean([np.mean(one) for one in returns]))
    assert score.score.low - 1e-9 <= score.score.value <= score.score.high + 1e-9
    assert score.runs == len(returns) and score.episodes == sum(map(len, returns))
