"""Runs of one protocol merged: seeds of one agent joined, different agents kept apart, two protocols refused."""

from __future__ import annotations

import csv
import json

import pytest

from atari_vlm import report
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.evaluation.compare import compare
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig

LANE = "own_games:Lane-v0"


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Two halves of one study, another agent under the same label, another length of the game, and another cut."""
    folder = tmp_path_factory.mktemp("studies")

    def played(name, agent, seeds, **changes):
        more = {"games": [LANE], "save_dir": folder, "run_name": name, **changes}
        config = EvaluateConfig(agents=[agent], seeds=seeds, **more)
        return evaluate(config)[0]

    return {
        "first": played("first", "mine=own_players:Steering", [0, 1]),
        "second": played("second", "mine=own_players:Steering", [2]),
        "other": played("other", "mine=own_players:Steering,skill=0.0", [0]),
        "long": played("long", "mine=own_players:Steering", [3], games=[f"{LANE},steps=16"]),
        "cut": played("cut", "mine=own_players:Steering", [0], max_steps=5),
    }


def rows(folder, name="results.csv"):
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def test_two_halves_are_a_whole(studies, tmp_path):
    results = compare([studies["first"], studies["second"]], tmp_path / "out")
    assert results.agents == ["random", "mine"]
    assert [run.seed for run in results.of(LANE, "mine")] == [0, 1, 2]
    whole = [*rows(studies["first"]), *rows(studies["second"])]
    merged = rows(tmp_path / "out")
    assert len(merged) == len(whole) == 6 and all(row in whole for row in merged)
    assert len(rows(tmp_path / "out", "episodes.csv")) == 6
    assert {row["pairs"] for row in rows(tmp_path / "out", "paired.csv")} == {"3"}
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [facts["agent"] for facts in content["agents"]] == ["random", "mine"]


def test_different_agents_of_one_label_stay_apart(studies, tmp_path):
    results = compare([studies["first"], studies["other"]], tmp_path / "out")
    assert results.agents == ["random", "mine", "mine (other)"]


def test_a_game_with_other_keywords_is_another_game(studies, tmp_path):
    content = json.loads((studies["long"] / "results.json").read_text())
    assert content["protocol"]["games"] == {LANE: {"steps": 16}}
    with pytest.raises(MismatchError, match=r"two protocols .*steps None and 16"):
        compare([studies["first"], studies["long"]], tmp_path / "out")
    assert compare([studies["long"]], tmp_path / "out").protocol == content["protocol"]


def test_two_protocols_are_refused_and_so_is_the_cut(studies, tmp_path, capsys):
    with pytest.raises(MismatchError, match=r"two protocols .*max_steps None and 5"):
        compare([studies["first"], studies["cut"]], tmp_path / "out")
    words = ["compare", str(studies["first"]), str(studies["cut"]), "--out", str(tmp_path / "out")]
    assert report.main(words) == 2
    assert "two protocols" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_program_writes_and_shows_the_tables(studies, tmp_path, capsys):
    words = ["compare", str(studies["first"]), str(studies["second"]), "--out", str(tmp_path / "o")]
    assert report.main(words) == 0
    assert "| own_games:Lane-v0 | mine |" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "o").iterdir()} == {
        *("results.csv", "results.json", "results.md", "results.tex", "episodes.csv", "paired.csv")
    }


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content.pop("protocol"), "names no protocol"),
        (lambda content: content["runs"][0].update(returns=[]), "holds no episode"),
        (lambda content: content["runs"][0].pop("steps"), "cannot be read"),
        (lambda content: content["runs"][0].update(seed="x"), "cannot be read"),
    ],
    ids=range(4),
)
def test_damaged_tables_are_one_sentence(studies, tmp_path, damage, sentence):
    folder = tmp_path / "run"
    folder.mkdir()
    content = json.loads((studies["first"] / "results.json").read_text())
    damage(content)
    (folder / "results.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=sentence):
        compare([folder], tmp_path / "out")


def test_two_results_of_one_seed_are_refused(studies, tmp_path):
    folder = tmp_path / "again"
    folder.mkdir()
    content = json.loads((studies["first"] / "results.json").read_text())
    content["runs"][-1]["returns"] = [99.0]
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "episodes.csv").write_text((studies["first"] / "episodes.csv").read_text())
    with pytest.raises(MismatchError, match="with seed 1, one of them"):
        compare([studies["first"], folder], tmp_path / "out")
    with pytest.raises(ConfigError, match="no results"):
        compare([tmp_path], tmp_path / "out")
