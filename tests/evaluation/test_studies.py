"""Studies with many agents: own games and players, lessons, protocols, tables, and what is refused before anything is asked."""

from __future__ import annotations

import csv
import json

import numpy as np
import own_players
import pytest
import yaml

from atari_vlm import evaluate as program
from atari_vlm.errors import BudgetExhaustedError, ConfigError, UnknownNameError
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.results_files import COLUMNS, EPISODES
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.journal import Journal

LANE = "own_games:Lane-v0"


def config(tmp_path, **changes):
    options = {"games": [LANE], "seeds": [0, 1, 2], "save_dir": tmp_path, "run_name": "run"}
    return EvaluateConfig(**{**options, **changes})


def rows(folder, name):
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def test_own_agents_and_models_play_an_own_game(tmp_path):
    agents = [
        "half=own_players:Steering,skill=0.5",
        "own_players:Steering",
        "eye=own_players:LightVLM,frames=1,decide_every=2",
        "noop",
    ]
    folder, results = evaluate(config(tmp_path, agents=agents))
    table = rows(folder, "results.csv")
    assert list(table[0]) == COLUMNS
    assert [row["agent"] for row in table[::3]] == [
        *("random", "half", "own_players:Steering", "eye", "noop"),
    ]
    by_agent = {row["agent"]: row for row in table}
    eye = by_agent["eye"]
    assert (eye["model"], eye["model_served"], eye["calls"]) == ("light", "light-1", "6")
    assert float(eye["cost_usd"]) == pytest.approx(0.006) and int(eye["output_tokens"]) == 42
    assert eye["human_normalised"] == "" and eye["truncated"] == "0" and eye["steps"] == "12"
    assert by_agent["noop"]["calls"] == "0" and by_agent["noop"]["cost_usd"] == "0.0"
    scores = {a: np.mean([run.score for run in results.of(LANE, a)]) for a in results.agents}
    assert scores["own_players:Steering"] > scores["half"] > scores["noop"]
    episodes = rows(folder, "episodes.csv")
    assert list(episodes[0]) == EPISODES and len(episodes) == len(table)
    assert {(row["terminated"], row["truncated"]) for row in episodes} == {("true", "false")}


def test_pairs_are_the_mean_of_differences_on_shared_seeds(tmp_path):
    folder, results = evaluate(config(tmp_path, agents=["own_players:Steering", "noop"]))
    ours, theirs = (
        np.array([run.score for run in results.of(LANE, agent)])
        for agent in ("own_players:Steering", "noop")
    )
    (row,) = [
        row
        for row in rows(folder, "paired.csv")
        if (row["a"], row["b"]) == ("own_players:Steering", "noop")
    ]
    assert int(row["pairs"]) == 3 and float(row["difference"]) == pytest.approx(
        np.mean(ours - theirs)
    )
    better = np.mean((ours > theirs) + 0.5 * (ours == theirs))
    assert float(row["probability_of_improvement"]) == pytest.approx(better)
    assert float(row["low"]) <= float(row["difference"]) <= float(row["high"])
    content = json.loads((folder / "results.json").read_text())
    assert len(content["paired"]) == 6
    assert [facts["agent"] for facts in content["agents"]] == results.agents


def test_what_is_learned_from_lessons_is_frozen_and_counts_in_the_cost(tmp_path):
    """Demonstrations of another player make the imitator steer; without them it stays."""
    taught = "taught=nearest-example,use_icl=true,demonstrations=random,num_episodes=4,round_size=2"
    folder, results = evaluate(
        config(tmp_path, agents=["nearest-example", taught], games=[f"{LANE},steps=24"])
    )
    runs = results.of(LANE, "taught")
    assert [run.calls for run in runs] == [24, 24, 24]  # the lessons were played by somebody else
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        played = journal.episodes()
        lessons = [row for row in played if row.phase == "train"]
        assert len(lessons) == 12 and all(row.seed % 2 == 0 for row in lessons)
        assert not any(journal.calls(row.episode) for row in lessons)
        asked = journal.calls([r for r in played if r.phase == "eval"][-1].episode)
    assert len(asked[0].request) > 4  # instructions, examples with their answers, the question
    own = "own=own_players:LightVLM,use_icl=true,num_episodes=2,frames=1"
    _, results = evaluate(config(tmp_path / "own", agents=[own], seeds=[0]))
    assert results.of(LANE, "own")[0].calls == 3 * 12


def test_a_suite_brings_its_protocol_and_what_is_given_goes_before_it(tmp_path):
    folder, results = evaluate(
        config(tmp_path, games=None, suite="quick", agents=["noop"], seeds=[5], max_steps=3)
    )
    protocol = json.loads((folder / "results.json").read_text())["protocol"]
    assert protocol["name"] == "quick, max_steps=3, seeds=5" and protocol["version"] == 1
    assert protocol["repeat_action_probability"] == 0.0 and protocol["noops"] == [1, 30]
    assert results.games == ["Pong", "Breakout", "Freeway"]
    assert all(run.cut == 1 and run.normalised is None and run.steps == 3 for run in results.runs)
    written = (folder / "results.md").read_text()
    assert "Protocol: quick, max_steps=3, seeds=5" in written


def test_atari_gpt_begins_with_no_ops_and_decides_at_every_second_step(tmp_path):
    folder, results = evaluate(
        config(
            tmp_path,
            games=["Pong"],
            protocol="atari-gpt",
            agents=["scripted"],
            seeds=[0],
            max_steps=21,
        )
    )
    run = results.of("Pong", "scripted")[0]
    assert (run.steps, run.calls) == (21, 3)
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        (row,) = [row for row in journal.episodes() if row.fallback_rate == 0][-1:]
        asked = [call.step for call in journal.calls(row.episode)]
    assert asked == [15, 17, 19]


def test_planners_in_the_emulator_play_under_a_protocol_without_sticky_actions(tmp_path):
    agents = [
        "mcts@emulator,num_simulations=4",
        "cem@emulator,population=8,elites=2,horizon=2,iterations=1",
        "plan@emulator",
    ]
    _, results = evaluate(
        config(tmp_path, games=["Freeway"], protocol="quick", agents=agents, seeds=[0], max_steps=2)
    )
    facts = {fact["agent"]: fact["model"] for fact in results.agent_facts}
    assert facts["mcts@emulator"] == "emulator" and facts["plan@emulator"] == "scripted"
    assert all(run.steps == 2 and run.fallbacks == 0 for run in results.runs)


WRONG = {
    "an unknown agent": ({"agents": ["scriptedd"]}, UnknownNameError, "did you mean scripted"),
    "an unknown option": (
        {"agents": ["scripted,frmes=2"], "games": ["Pong"]},
        UnknownNameError,
        "option of the agent 'scripted' 'frmes': did you mean frames",
    ),
    "a player that knows no game": (
        {"agents": ["x=scripted,frames=2"]},
        ConfigError,
        "x knows none",
    ),
    "an option of another sort": ({"agents": ["noop,frames=2"]}, UnknownNameError, "'frames'"),
    "a value of another type": (
        {"agents": ["x=nearest-example,frames=many"]},
        ConfigError,
        "frames",
    ),
    "an unknown class": ({"agents": ["own_players:Sterring"]}, UnknownNameError, "Steering"),
    "neither agent nor VLM": (
        {"agents": ["own_players:NoPlayer"]},
        ConfigError,
        "lacks reset, act, observe",
    ),
    "a broken contract": (
        {"agents": ["own_players:SaysANumber"]},
        ConfigError,
        "breaks the contract of agents: .*act\\(\\) returns a Decision, not int",
    ),
    "a class that raises": (
        {"agents": ["own_players:Forgets"]},
        ConfigError,
        "KeyError.*own_players.py, line",
    ),
    "a planner without emulator": (
        {"agents": ["mcts@emulator"]},
        ConfigError,
        f"mcts@emulator on {LANE}",
    ),
    "a planner's unknown option": ({"agents": ["mcts@emulator,deep=3"]}, UnknownNameError, "depth"),
    "a model that is none": ({"agents": ["mcts@emulatr"]}, UnknownNameError, "mean emulator"),
    "a policy from nowhere": ({"agents": ["policy@nowhere"]}, UnknownNameError, "folder"),
    "an option of plans": (
        {"agents": ["x=nearest-example,follow=first"]},
        ConfigError,
        "plan=true",
    ),
    "a limit of the whole study": ({"agents": ["gpt-4o,max_calls=3"]}, ConfigError, "--max-calls"),
    "examples without learning": (
        {"agents": ["x=nearest-example,icl_examples=3"]},
        ConfigError,
        "icl-examples",
    ),
    "examples of no name on the Hub": (
        {"agents": ["x=nearest-example,use_icl=true,demonstrations=hub:nonsense"]},
        ConfigError,
        "'hub:nonsense' is no name on the Hub",
    ),
    "a game without pictures": (
        {"games": ["own_games:BlindLane-v0"], "agents": ["nearest-example"]},
        ConfigError,
        "nearest-example on own_games:BlindLane-v0: .*shows none",
    ),
    "objects of a game that has no reader": (
        {"agents": ["x=nearest-example,text=objects"]},
        ConfigError,
        "x on own_games",
    ),
    "a sticky game for the emulator": (
        {"games": ["Pong"], "agents": ["mcts@emulator"]},
        ConfigError,
        "repeat_action_probability",
    ),
    "a price that is unknown": (
        {"agents": ["own_players:LightVLM,price_known=false"], "budget_usd": 1.0},
        ConfigError,
        "the price of 'light' is unknown",
    ),
    "a policy of no checkpoint": ({"agents": ["policy@emulator"]}, ConfigError, "has no policy"),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_bad_input_is_one_sentence_and_nothing_is_asked(tmp_path, what):
    changes, error, sentence = WRONG[what]
    own_players.LightVLM.calls = 0
    with pytest.raises(error, match=sentence):
        evaluate(config(tmp_path, **changes))
    assert not list(tmp_path.iterdir()) and own_players.LightVLM.calls == 0


def test_the_program_says_it_in_one_line_with_exit_code_2(tmp_path, capsys):
    flags = ["--games", LANE, "--agents", "own_players:SaysANumber", "--save-dir", str(tmp_path)]
    assert program.main(flags) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and "\n" not in said


def test_a_budget_is_shared_and_a_spent_one_continues(tmp_path):
    agents = ["a=own_players:LightVLM,frames=1", "b=own_players:LightVLM,frames=1"]
    asked = {"agents": agents, "seeds": [0]}
    with pytest.raises(BudgetExhaustedError):
        evaluate(config(tmp_path, **asked, max_calls=15))
    partial = rows(tmp_path / "run", "results.csv")
    assert {row["agent"] for row in partial} == {"random", "a"}
    folder, results = evaluate(config(tmp_path, **asked, max_calls=24))
    assert [run.calls for run in results.runs] == [0, 12, 12]
    whole, _ = evaluate(config(tmp_path / "whole", **asked))
    for name in ("results.csv", "episodes.csv", "paired.csv"):
        assert (folder / name).read_text() == (whole / name).read_text()


def test_more_agents_and_seeds_extend_a_study(tmp_path):
    first, _ = evaluate(config(tmp_path, agents=["noop"], seeds=[0]))
    before = rows(first, "episodes.csv")
    agents = ["noop", "own_players:Steering"]
    _, results = evaluate(config(tmp_path, agents=agents, seeds=[0, 1], resume="run"))
    assert results.agents == ["random", "noop", "own_players:Steering"]
    assert all(row in rows(first, "episodes.csv") for row in before)


def test_a_run_folder_is_continued_from_its_own_words_but_runs_no_code(tmp_path, capsys):
    flags = ["--games", "Pong", "--agents", "noop", "--seeds", "0", "--max-steps", "2"]
    assert program.main([*flags, "--save-dir", str(tmp_path), "--run-name", "plain"]) == 0
    assert program.main(["--resume", str(tmp_path / "plain")]) == 0
    config_of = yaml.safe_load((tmp_path / "plain" / "config.yaml").read_text())
    assert "estimate" not in config_of["command"] and "study" not in config_of["command"]
    own = ["--games", LANE, "--agents", "own_players:Steering", "--seeds", "0"]
    assert program.main([*own, "--save-dir", str(tmp_path), "--run-name", "own"]) == 0
    capsys.readouterr()
    assert program.main(["--resume", str(tmp_path / "own")]) == 2
    said = capsys.readouterr().err
    assert "--games own_games:Lane-v0" in said and "--agents own_players:Steering" in said
