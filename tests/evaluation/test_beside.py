"""Perception beside a study's scores: whose rows are taken, what is refused; a file stays words and numbers."""

from __future__ import annotations

import csv
import json

import pytest

from atari_vlm import report
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.evaluation.perception.beside import put_beside
from atari_vlm.evaluation.results_files import EPISODES
from atari_vlm.reporting.study.page import Shown, study_page
from atari_vlm.reporting.study.perceived import Perceived, beside_scores, perceived

ROW = {
    **{"agent": "eye", "model": "m-1", "game": "Pong", "questions": 75, "f1": 0.5},
    **{"field_accuracy": None, "direction_accuracy": 0.25, "direction_chance": 0.2},
    **{"flip_rate": 0.0, "decoy_echo": 1.0, "failed": 2, "cost_usd": 0.125},
}
STUDY = {
    "protocol": {"name": "quick", "version": 1},
    "runs": [],
    "agents": [{"agent": name, "name": name, "model_served": "m-1"} for name in ("eye", "b")],
}


def perception(folder, *rows, **changes):
    folder.mkdir(exist_ok=True)
    content = {"rows": list(rows), "conditions": {"seeds": "0"}, "settings": {}, **changes}
    (folder / "perception.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(STUDY))
    (folder / "episodes.csv").write_text(",".join(EPISODES) + "\n")
    return folder


def test_rows_of_the_studys_agents_are_kept_in_its_folder(study, tmp_path):
    asked = perception(tmp_path / "asked", ROW, {**ROW, "agent": "stranger"})
    more = perception(tmp_path / "more", ROW, {**ROW, "game": "Skiing"})
    assert [row["game"] for row in put_beside(study, [asked, more])] == ["Pong", "Skiing"]
    kept = perceived(study)
    assert kept.rows[0] == ROW and len(kept.rows) == 2
    assert kept.conditions["runs"] == "asked, more" and kept.conditions["more: seeds"] == "0"
    assert kept.conditions["not in this study"] == "stranger"
    table = list(csv.DictReader((study / "perception.csv").read_text().splitlines()))
    assert [row["f1"] for row in table] == ["0.5", "0.5"] and table[0]["field_accuracy"] == ""
    assert "| eye | m-1 | Skiing |" in (study / "perception.md").read_text()


def test_another_model_of_one_label_and_two_figures_are_refused(study, tmp_path):
    other = perception(tmp_path / "other", {**ROW, "model": "m-2"})
    with pytest.raises(MismatchError, match=r"eye is m-2 in .* and m-1 in .*two models"):
        put_beside(study, [other])
    one, two = (perception(tmp_path / str(f), {**ROW, "f1": f}) for f in (0.5, 0.75))
    with pytest.raises(MismatchError, match="eye was asked about Pong in more than one"):
        put_beside(study, [one, two])
    nobody = perception(tmp_path / "nobody", {**ROW, "agent": "c"})
    with pytest.raises(ConfigError, match=r"none of the agents that were asked \(c\) plays"):
        put_beside(study, [nobody])
    with pytest.raises(ConfigError, match="no run of perceive"):
        put_beside(study, [tmp_path])
    assert not (study / "perception.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"f1": "1"}, "f1 is no number"),
        ({"f1": 1.5}, "f1 is no share"),
        ({"f1": True}, "f1 is no number"),
        ({"failed": -1}, "failed is no count"),
        ({"questions": None}, "questions is no count"),
        ({"cost_usd": 1e300}, "cost_usd is no number"),
        ({"agent": ["x"]}, "'agent' is no text"),
        ({"game": "x" * 500}, "'game' is no text"),
    ],
)  # fmt: skip
def test_a_row_that_is_none_is_refused_with_its_column(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        perceived(perception(tmp_path / "bad", {**ROW, **changes}))


def test_a_file_that_is_none_is_one_sentence(tmp_path):
    folder = tmp_path / "bad"
    for changes in ({"rows": {}}, {"rows": [[]]}, {"conditions": []}, {"conditions": {"a": 1}}):
        with pytest.raises(ConfigError, match=r"perception\.json cannot be read"):
            perceived(perception(folder, ROW, **changes))
    for text in ("[1]", "{", '{"rows": [NaN]}', '{"a": 1, "a": 2}', "[" * 100_000):
        (folder / "perception.json").write_text(text)
        with pytest.raises(ConfigError, match=r"perception\.json cannot be read"):
            perceived(folder)
    (folder / "perception.json").unlink()
    (folder / "perception.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        perceived(folder)


def test_rows_stand_beside_the_score_of_their_agent_and_what_they_say_is_text():
    estimate = {"value": 2.0, "low": 1.0, "high": 3.0}
    score = {"game": "Pong", "agent": "<b>eye", "score": estimate, "normalised": None}
    score |= {"fallback_rate": 0.0, "runs": 3, "episodes": 3, "cost_usd": 0.0}
    row = {**ROW, "agent": "<b>eye", "model": "<script>"}
    skiing = {**row, "game": "Skiing"}
    assert beside_scores([skiing, row], [score]) == [(row, score), (skiing, None)]
    content = {
        **STUDY,
        **{"games": [score], "over_games": [], "paired": [], "ablation": [], "agents": []},
        **{"conditions": {}, "notes": [], "command": ""},
    }
    seen = Perceived((skiing, row), {"<i>": "\x1b[0m"})
    page = study_page("t", content, Shown(seen=seen))
    assert "<h2>Perception</h2>" in page and "2 [1, 3]" in page and "not played" in page
    assert "0.25 (0.20)" in page and "n/a" in page and "$0.125" in page
    assert "<b>eye" not in page and "<script" not in page and "<i>" not in page
    assert "\x1b" not in page
    assert "<h2>Perception</h2>" not in study_page("t", content)


def test_the_program_asks_for_one_page(study, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.html")]
    assert report.main([str(study), "--perception", str(tmp_path), *out]) == 2
    assert "leave --out away" in capsys.readouterr().err
    assert report.main([str(tmp_path), "--perception", str(tmp_path)]) == 2
    assert "no results.json" in capsys.readouterr().err
