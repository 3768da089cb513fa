"""The harness ablation with players of known skill and latency: every number equals what is computed by hand."""

from __future__ import annotations

import csv
import json

import numpy as np
import own_games
import own_players
import pytest

from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.pairing import ABLATION
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.seeds import eval_seed

LANE, STEPS, SEEDS = "own_games:Lane-v0", 40, (0, 1, 2)
FPS = own_games.Lane.metadata["render_fps"]


def by_hand(seed, *, decide_every=1, latency_s=0.0):
    """What steering to the light pays: asked at steps 0, k, 2k ..., and at each answer the last action goes on for a while."""
    game = own_games.Lane(STEPS)
    picture, _ = game.reset(seed=eval_seed(seed, 0))
    total = owed = 0.0
    step, action, last, over = 0, 0, 0, False
    while not over:
        asked = step % decide_every == 0
        if asked:
            action = own_players.direction(picture)
        owed += latency_s * FPS * asked
        while owed >= 1 and not over:  # the wait comes before the action
            owed -= 1
            picture, reward, over, _, _ = game.step(last)
            total += reward
        if not over:
            picture, reward, over, _, _ = game.step(action)
            last = action
            total += reward
        step += 1
    return total


def ablated(tmp_path, factor, agent):
    config = EvaluateConfig(
        [f"{LANE},steps={STEPS}"],
        [f"eye=own_players:LightVLM,frames=1,{agent}".rstrip(",")],
        list(SEEDS),
        ablate=[factor],
        save_dir=tmp_path,
        run_name="run",
    )
    folder, _ = evaluate(config)
    with (folder / "ablation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ABLATION
    return folder, {row["condition"]: row for row in rows}


def compare(row, ours, base):
    assert float(row["score"]) == pytest.approx(np.mean(ours))
    assert float(row["difference"]) == pytest.approx(np.mean(np.subtract(ours, base)))
    assert int(row["pairs"]) == len(SEEDS)


def test_deciding_less_often_costs_what_it_costs_by_hand(tmp_path):
    folder, rows = ablated(tmp_path, "decide_every", "latency_s=0.25")
    assert list(rows) == ["1", "2", "4", "8"]
    base = [by_hand(seed) for seed in SEEDS]
    for condition, row in rows.items():
        compare(row, [by_hand(seed, decide_every=int(condition)) for seed in SEEDS], base)
        calls = len(SEEDS) * STEPS / int(condition)
        assert float(row["cost_usd"]) == pytest.approx(0.001 * calls)
        assert float(row["latency_s"]) == pytest.approx(0.25)
    assert float(rows["1"]["difference"]) == 0.0 and float(rows["8"]["difference"]) < -1
    content = json.loads((folder / "results.json").read_text())
    varied = [run for run in content["runs"] if "factor" in run]
    assert {(run["factor"], run["condition"]) for run in varied} == {
        ("decide_every", n) for n in (2, 4, 8)
    }
    with (folder / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * len(SEEDS)


def test_waiting_costs_game_time_as_computed_by_hand(tmp_path):
    _, rows = ablated(tmp_path, "latency", "latency_s=0.25")
    assert list(rows) == ["none", "0.5", "1.0", "2.0", "measured"]
    base = [by_hand(seed) for seed in SEEDS]
    waits = {"none": 0.0, "measured": 0.25}
    for condition, row in rows.items():
        seconds = waits[condition] if condition in waits else float(condition)
        compare(row, [by_hand(seed, latency_s=seconds) for seed in SEEDS], base)


def test_the_studys_own_value_is_a_row_whatever_it_is(tmp_path):
    _, rows = ablated(tmp_path, "decide_every", "decide_every=3")
    assert list(rows) == ["3", "1", "2", "4", "8"] and float(rows["3"]["difference"]) == 0.0
    base = [by_hand(seed, decide_every=3) for seed in SEEDS]
    compare(rows["4"], [by_hand(seed, decide_every=4) for seed in SEEDS], base)


@pytest.mark.parametrize("factor", ["prompt", "frames", "turns", "icl", "plan"])
def test_every_factor_is_played(tmp_path, factor):
    config = EvaluateConfig(
        [f"{LANE},steps=6"],
        ["a=nearest-example"],
        [0, 1],
        ablate=[factor],
        save_dir=tmp_path,
        run_name="run",
    )
    _, results = evaluate(config)
    conditions = {run.condition for run in results.ablation}
    assert len(results.ablation) == 2 * len(conditions) and conditions


def test_text_has_four_conditions_and_says_which_are_privileged(tmp_path):
    config = EvaluateConfig(
        ["Freeway"],
        ["a=nearest-example,frames=1"],
        [0],
        ablate=["text"],
        max_steps=4,
        save_dir=tmp_path,
        run_name="run",
    )
    folder, results = evaluate(config)
    calls = {run.condition: run.calls for run in results.ablation}
    assert calls == {"reading": 8, "objects": 4, "objects-only": 4}
    assert "privileged" in (folder / "results.md").read_text()
