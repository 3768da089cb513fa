"""A study's page: its tables, its drawings, a strip per game and agent; nothing in it runs, whatever a model said."""

from __future__ import annotations

import json
import re

import pytest

from atari_vlm import report
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.reporting.study.drawing import Bar, Curve, bars, curves
from atari_vlm.reporting.study.page import study_page

LANE = "own_games:Lane-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = EvaluateConfig(
        [LANE],
        ["eye=own_players:LightVLM,frames=1", "<b>=noop"],
        [0, 1],
        ablate=["decide_every"],
        save_dir=tmp_path_factory.mktemp("runs"),
        run_name="run",
    )
    return evaluate(config)[0]


def test_the_page_shows_every_table_and_a_strip_for_each_agent(folder):
    page = (folder / "report.html").read_text()
    for words in (
        *(
            "Scores per game",
            "Agents on the same seeds",
            "Ablation",
            "Cost and answers",
            "Conditions",
        ),
        *("protocol standard", "light-1", "Probability that the agent", "decide_every: eye"),
    ):
        assert words in page, words
    assert len(re.findall(r'class="strip"', page)) == 3 + 3  # three agents, three conditions
    assert page.count("data:image/png;base64,") == 6 * 8
    assert (folder / "steps.html").is_file()
    ways = set(re.findall(r'href="steps.html#e=(\d+)&amp;s=0"', page))
    assert len(ways) == 6 * 2  # every episode: two seeds of each
    for name in re.findall(r'href="([^"#]+)"', page):
        assert (folder / name).is_file(), name
    assert 'href="results.tex"' in page and 'href="ablation.csv"' in page


def test_nothing_in_the_page_runs_and_labels_are_text(folder):
    page = (folder / "report.html").read_text()
    assert "<script" not in page and "&lt;b&gt;" in page and "<b>=" not in page
    assert "default-src 'none'" in page and "img-src data:" in page


def test_the_report_program_makes_the_page_anew_and_asks_before_it_imports(
    folder, monkeypatch, capsys
):
    before = (folder / "report.html").read_text()
    assert report.main([str(folder)]) == 0
    assert (folder / "report.html").read_text() == before
    monkeypatch.setattr(
        "atari_vlm.reporting.page.run_report.module_of", lambda name: "nobodys_games"
    )
    assert report.main([str(folder)]) == 0
    assert "--trust-module nobodys_games" in (folder / "report.html").read_text()
    assert report.main([str(folder), "--trust-module", "nobodys_games"]) == 0
    assert (folder / "report.html").read_text() == before


def test_perception_put_beside_stays_in_the_page(folder, tmp_path, capsys):
    row = {"agent": "eye", "model": "light-1", "game": LANE, "questions": 15, "f1": 0.375}
    row |= dict.fromkeys(("field_accuracy", "direction_accuracy", "direction_chance"))
    row |= {"flip_rate": 0.5, "decoy_echo": 0.0, "failed": 0, "cost_usd": 0.0}
    content = {"rows": [row], "conditions": {"seeds": "7, 8"}}
    (tmp_path / "perception.json").write_text(json.dumps(content))
    assert report.main([str(folder), "--perception", str(tmp_path)]) == 0
    page = (folder / "report.html").read_text()
    assert "<h2>Perception</h2>" in page and "<td>0.38</td>" in page and "seeds: 7, 8" in page
    assert report.main([str(folder)]) == 0
    assert (folder / "report.html").read_text() == page


def test_drawings_hold_what_they_are_given():
    drawn = bars([Bar("a & b", 2.0, 1.0, 3.0, "2"), Bar("c", -1.0, None, None)], "scores")
    assert drawn.count("<circle") == 2 and drawn.count('class="whisker"') == 1
    assert "a &amp; b" in drawn and bars([], "none") == ""
    lines = curves([Curve("x", [(0.0, 1.0), (1.0, 0.0)])], "profile", "score")
    assert "<polyline" in lines and curves([], "none", "score") == ""


def test_a_page_of_whole_games_has_profiles():
    run = {
        **dict.fromkeys(("model", "model_served", "base_url"), ""),
        **{"game": "Pong", "seed": 0, "episodes": 1, "score": 3.0, "human_normalised": 0.6},
        **{"truncated": 0, "steps": 9, "calls": 0, "input_tokens": 0, "output_tokens": 0},
        **{"fallback_rate": 0.0, "cost_usd": 0.0},
    }
    estimate = {"value": 0.6, "low": None, "high": None}
    agents = ("a", "b")
    content = {
        "protocol": {"name": "standard", "version": 1},
        "runs": [{**run, "agent": agent} for agent in agents],
        "agents": [{"agent": a, "name": a, "model": "", "model_served": ""} for a in agents],
        "games": [],
        "paired": [],
        "ablation": [],
        "over_games": [
            {
                **{"agent": a, "games": ["Pong"], "fallback_rate": 0.0, "cost_usd": None},
                "aggregates": dict.fromkeys(("mean", "median", "iqm", "optimality_gap"), estimate),
            }
            for a in agents
        ],
        **{"conditions": {}, "notes": [], "command": ""},
    }
    page = study_page("t", content)
    assert page.count("<polyline") == 2 and "Performance profiles" in page
