"""Evaluation plays games x agents x seeds, stops and continues, and says what its numbers rest on."""

from __future__ import annotations

import csv
import io
import json
import threading

import pytest
import yaml
from fake_server import FakeVendorServer

from atari_vlm import evaluate as program
from atari_vlm.errors import BudgetExhaustedError, ConfigError, StoppedError, UnknownNameError
from atari_vlm.evaluation.cells import cells
from atari_vlm.evaluation.evaluate import Watching, evaluate
from atari_vlm.evaluation.results import (
    Results,
    Run,
    agent_scores,
    game_scores,
)
from atari_vlm.evaluation.results_files import to_csv, to_json, to_markdown
from atari_vlm.evaluation.study import Study
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.reporting.page.run_report import write_report
from atari_vlm.runs.progress import Quiet


class StopAfter(Quiet):
    """Ends the run after so many steps."""

    def __init__(self, steps: int):
        self.left, self.stop = steps, threading.Event()

    def advanced(self, task, step=None, calls=0) -> None:
        self.left -= 1
        if self.left == 0:
            self.stop.set()


def config(tmp_path, **changes) -> EvaluateConfig:
    options = {
        "games": ["Pong", "ALE/Adventure-v5"],
        "agents": [],
        "seeds": [3, 1],
        "max_steps": 4,
        "save_dir": tmp_path,
    }
    return EvaluateConfig(**{**options, **changes})


def test_all_agents_get_the_same_seeds_and_baselines_are_always_there(tmp_path):
    laid_out = cells(Study(config(tmp_path, agents=["noop"], episodes=2)))
    assert [(cell.game.name, cell.agent) for cell in laid_out[:3]] == [
        ("Pong", "random"),
        ("Pong", "scripted"),
        ("Pong", "noop"),
    ]
    seeds = {tuple(spec.seed for spec in cell.specs) for cell in laid_out}
    assert len(seeds) == 1 and len(set(seeds.pop())) == 4
    numbers = [spec.episode for cell in laid_out for spec in cell.specs]
    assert numbers == list(range(len(laid_out) * 4))


def test_a_stopped_evaluation_continues_and_ends_the_same(tmp_path):
    whole_folder, whole = evaluate(config(tmp_path / "whole"))
    watch = StopAfter(18)
    with pytest.raises(StoppedError):
        evaluate(config(tmp_path / "parts"), Watching(watch, watch.stop))
    partial = json.loads(next((tmp_path / "parts").glob("*/results.json")).read_text())
    assert "Unfinished" in partial["notes"][0] and 0 < len(partial["runs"]) < 8
    folder, parts = evaluate(config(tmp_path / "parts", parallel=3))
    assert folder == next((tmp_path / "parts").iterdir())
    assert parts.runs == whole.runs
    for name in (
        "results.md",
        "results.csv",
        "results.json",
        "results.tex",
        "episodes.csv",
        "paired.csv",
    ):
        assert (folder / name).read_text().replace(" --parallel 3", "") == (
            whole_folder / name
        ).read_text()


def test_program_writes_tables_and_names_its_conditions(tmp_path, capsys):
    flags = [
        "--games",
        "Freeway",
        "--seeds",
        "0",
        "1",
        "2",
        "--max-steps",
        "10",
        "--save-dir",
        str(tmp_path),
    ]
    assert program.main(flags) == 0
    shown = capsys.readouterr().out
    folder = next(tmp_path.iterdir())
    written = (folder / "results.md").read_text()
    assert written.strip() in shown
    for words in (
        "| Freeway | random |",
        "| Freeway | scripted |",
        "seeds: 0, 1, 2",
        "hardware: ",
        "| Fallback |",
        "cut after 10",
    ):
        assert words in written
    assert "python -m atari_vlm.evaluate --games Freeway --seeds 0 1 2 --max-steps 10" in written
    rows = list(csv.DictReader(io.StringIO((folder / "results.csv").read_text())))
    assert len(rows) == 6 and {row["fallback_rate"] for row in rows} == {"0.0"}
    assert "api_key" not in yaml.safe_load((folder / "config.yaml").read_text())["command"]
    assert program.main(["--resume", str(folder)]) == 0
    assert (folder / "results.md").read_text() == written


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"games": ["Pung"]}, UnknownNameError, "Pong"),
        ({"agents": ["gpt-5o"]}, UnknownNameError, "gpt-4o"),
        ({"seeds": [1, 1]}, ConfigError, "different"),
        ({"seeds": []}, ConfigError, "at least one"),
        ({"episodes": 0}, ConfigError, "episodes"),
        ({"prompt_type": "loud"}, UnknownNameError, "cot"),
        ({"agents": ["gpt-4o", "claude"], "model": "x"}, ConfigError, "one agent"),
        ({"model": "x"}, ConfigError, "none"),
    ],
)
def test_bad_input_is_refused_before_anything_is_played(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        evaluate(config(tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_program_prints_one_line_for_an_error(tmp_path, capsys):
    assert program.main(["--games", "Pung", "--save-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: unknown game 'Pung'")


def test_a_missing_key_is_said_before_anything_is_played(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert program.main(["--agents", "gpt-4o", "--save-dir", str(tmp_path)]) == 77
    assert "OPENAI_API_KEY" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_spent_budget_leaves_a_resumable_run(tmp_path):
    """A real SDK against a local server: ten calls are paid, then the run stops; raised, it goes on without asking again."""
    key = "sk-canary-0123456789"
    with FakeVendorServer(answer=lambda text, images: f"my key is {key}\nACTION: FIRE") as server:
        asked = {
            "agents": ["gpt-4o"],
            "api_key": key,
            "base_url": server.openai_url,
            "games": ["Pong"],
            "max_steps": 8,
        }
        with pytest.raises(BudgetExhaustedError):
            evaluate(config(tmp_path, **asked, max_calls=10))
        first = len(server.requests)
        _, found = evaluate(config(tmp_path, **asked, max_calls=100))
    assert first == 10 and len(server.requests) == 16
    assert [run.steps for run in found.of("Pong", "gpt-4o")] == [8, 8]
    assert len(list(tmp_path.iterdir())) == 1
    write_report(next(tmp_path.iterdir()))
    assert not any(
        key.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()
    )


RUNS = tuple(
    Run(game, agent, seed, (score + seed, score), 100, fallbacks, cost)
    for game, scores in {
        "Pong": (-20.0, 10.0),
        "Breakout": (2.0, 30.0),
        "Adventure": (0.0, 1.0),
    }.items()
    for agent, score, fallbacks, cost in (
        ("random", scores[0], 0, 0.0),
        ("gpt-4o", scores[1], 7.0, None),
    )
    for seed in (0, 1, 2)
)


def test_games_outside_the_reference_stay_raw():
    results = Results(RUNS)
    by_name = {(s.game, s.agent): s for s in game_scores(results)}
    assert by_name["Adventure", "gpt-4o"].normalised is None
    assert by_name["Adventure", "gpt-4o"].score.value == pytest.approx(1.5)
    assert by_name["Pong", "gpt-4o"].normalised.value == pytest.approx((10.5 + 20.7) / 35.3)
    assert [s.games for s in agent_scores(results)] == [("Pong", "Breakout")] * 2
    assert "raw scores only: Adventure" in to_markdown(results)


def test_tables_show_fallbacks_and_unknown_costs():
    text = to_markdown(Results(RUNS))
    assert "| 7.0% | 3 | 6 | unknown |" in text and "| 0.0% | 3 | 6 | $0 |" in text
    content = json.loads(to_json(Results(RUNS, (("seeds", "0, 1, 2"),), "python -m x")))
    assert content["games"][0]["normalised"]["low"] <= content["games"][0]["normalised"]["value"]
    assert content["conditions"] == {"seeds": "0, 1, 2"} and content["command"] == "python -m x"
    assert content["runs"][-1]["human_normalised"] is None
    assert len(to_csv(Results(RUNS)).splitlines()) == 1 + len(RUNS)


def test_a_game_that_an_agent_lacks_is_left_out_over_games_and_said():
    results = Results(tuple(run for run in RUNS if (run.game, run.agent) != ("Breakout", "gpt-4o")))
    assert [s.games for s in agent_scores(results)] == [("Pong",)] * 2
    assert "left out over games: Breakout" in to_markdown(results)


def test_nothing_played_yet_and_pipes_in_names():
    assert "## Conditions" in to_markdown(Results(()))
    assert "a\\|b" in to_markdown(Results((Run("Pong", "a|b", 0, (1.0,), 1, 0, 0.0),)))
    with pytest.raises(ConfigError, match="no episode"):
        Run("Pong", "random", 0, (), 0, 0, 0.0)
