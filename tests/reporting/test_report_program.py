"""The report of a real run: pictures from the emulator, conditions, size limit, and what does not repeat."""

from __future__ import annotations

import base64
import io
import re
import sqlite3

import numpy as np
import pytest
import yaml
from conftest import embedded
from PIL import Image

from atari_vlm import report
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.journal_schema import COLUMNS, VERSION, insert, select
from atari_vlm.runs.seeds import eval_seed


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder, _ = evaluate(
        EvaluateConfig(
            ["Breakout"], seeds=[0], max_steps=25, save_dir=tmp_path_factory.mktemp("runs")
        )
    )
    return folder


def test_pictures_are_those_of_the_emulator(run_folder):
    path = report.write_report(run_folder)
    assert path == run_folder / "report.html"
    data = embedded(path.read_text(), "data")
    scripted = data["episodes"][1]
    assert scripted["label"] == "Breakout, scripted"
    env = AtariVLMEnvironment("Breakout-v5", image_format="numpy")
    observation, _ = env.reset(seed=eval_seed(0, 0))
    for step, action in enumerate([*scripted["detail"]["action"], None]):
        shown = data["images"][scripted["detail"]["frames"][step]]
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")),
            observation["image"],
        )
        if action is not None:
            observation, reward, *_ = env.step(action)
            assert reward == scripted["detail"]["reward"][step]
    assert scripted["detail"]["names"] == env.get_action_meanings()


def test_prompts_share_the_pictures_of_the_frames(run_folder):
    data = embedded(report.write_report(run_folder).read_text(), "data")
    frames = set(data["episodes"][0]["detail"]["frames"] + data["episodes"][1]["detail"]["frames"])
    sent = {i for _, parts in data["messages"] for kind, i in parts if kind == "image"}
    assert sent and sent <= frames


def test_page_opens_and_names_its_conditions(tab, run_folder, tmp_path):
    path = tmp_path / "elsewhere" / "report.html"
    report.write_report(run_folder, path)
    tab.events.clear()
    tab.open(path, "#e=1&s=10")
    tab.wait_for("document.getElementById('frame').naturalWidth === 224")
    conditions = tab.evaluate("document.getElementById('conditions').innerText")
    assert "Breakout" in conditions and "ale-py" in conditions and "prompt version" in conditions
    command = tab.evaluate("document.getElementById('command').textContent")
    assert command == "python -m atari_vlm.evaluate --games Breakout --seeds 0 --max-steps 25"
    assert tab.faults() == []


def test_program(run_folder, tmp_path, capsys):
    out = tmp_path / "small.html"
    assert report.main([str(run_folder), "--out", str(out), "--max-mb", "0.11"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.stat().st_size < 140_000
    assert "limited to 0.11 MB" in embedded(out.read_text(), "data")["run"]["notices"][0]
    assert report.main([str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err


def test_equal_journals_give_equal_pages(run_folder):
    pages = [
        report.write_report(run_folder, run_folder / name).read_text()
        for name in ("a.html", "b.html")
    ]
    assert pages[0] == pages[1]
    assert not re.search(r"\b20\d\d-\d\d-\d\d", pages[0].split('id="clocks"')[0])


def test_an_episode_that_does_not_repeat_is_said(run_folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.yaml").write_text((run_folder / "config.yaml").read_text())
    with (
        sqlite3.connect(run_folder / "journal.sqlite") as source,
        sqlite3.connect(copy / "journal.sqlite") as target,
    ):
        source.backup(target)
        row = list(
            target.execute(select("steps", VERSION) + "WHERE episode = 1 AND step = 4").fetchone()[
                :-1
            ]
        )
        row[COLUMNS["steps"].index("reward")] = 5.0
        insert(target, "steps", row)  # as a whole row that somebody else wrote, not as damage
        target.commit()
    source.close()
    target.close()
    data = embedded(report.write_report(copy).read_text(), "data")
    detail = data["episodes"][1]["detail"]
    assert "does not repeat: step 4" in detail["frame_note"]
    assert any("does not repeat" in notice for notice in data["run"]["notices"])
    assert detail["frames"][3] >= 0 and detail["frames"][6] == -1 and len(detail["action"]) == 25


def test_keys_in_a_config_do_not_reach_the_page(run_folder):
    command = yaml.safe_load((run_folder / "config.yaml").read_text())["command"]
    assert "api_key" not in command and "api_key" not in report.write_report(run_folder).read_text()
