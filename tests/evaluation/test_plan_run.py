"""Runs with plans: killed and continued, compared, in Catch and in the emulator."""

import os
import signal
import time

import pytest
from training_helpers import CountingVLM, contents

from atari_vlm import plan
from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.plan_run import PlanExecution, PlanRun
from atari_vlm.evaluation.plan_settings import PlanSettings

SETTINGS = PlanSettings(
    game="Pong",
    use_action_buffer=True,
    action_buffer_threshold=-5.0,
    plan_horizon=4,
    num_episodes=1,
    max_steps=24,
)


class SlowVLM(CountingVLM):
    def complete(self, messages, *, sampling):
        time.sleep(0.05)
        return super().complete(messages, sampling=sampling)


def play(folder, vlm_class=SlowVLM):
    execution = PlanExecution(save_dir=folder, run_name="run", videos=0)
    with PlanRun(SETTINGS, vlm_class(folder / "calls"), execution, {"vlm_type": "scripted"}) as run:
        return run.play()


def test_a_killed_run_ends_as_if_it_had_not_been_killed(tmp_path):
    """Buffer included: each step's record holds its state."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    play(tmp_path / "whole", CountingVLM)
    for calls in (2, 4):
        child = os.fork()
        if child == 0:
            try:
                play(tmp_path / "killed")
            finally:
                os._exit(1)
        counter = CountingVLM(tmp_path / "killed" / "calls")
        while counter.calls < calls:
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    play(tmp_path / "killed", CountingVLM)
    whole, killed = (
        contents(tmp_path / name / "run" / "journal.sqlite") for name in ("whole", "killed")
    )
    assert whole["steps"] == killed["steps"] and whole["calls"] == killed["calls"]
    assert whole["episodes"] == killed["episodes"]
    assert any(
        step.source == "buffer" and step.decision["details"]["buffer"]["hits"] > 1
        for step in killed["steps"]
    )
    repeated = (
        CountingVLM(tmp_path / "killed" / "calls").calls
        - CountingVLM(tmp_path / "whole" / "calls").calls
    )
    assert 0 <= repeated <= 2
    page = (tmp_path / "killed" / "run" / "report.html").read_text()
    assert "predicted_reward" in page and "actions_remaining" in page and "chosen" in page


def test_the_program_compares_the_variants(tmp_path, capsys):
    arguments = [
        "--game",
        "Catch",
        "--world-model",
        "catch",
        "--plan-horizon",
        "7",
        "--num-episodes",
        "2",
    ]
    assert plan.main([*arguments, "--ablation", "--videos", "0", "--save-dir", str(tmp_path)]) == 0
    assert "plan, model, buffer" in capsys.readouterr().out
    (table,) = tmp_path.glob("*/ablation.md")
    rows = [line for line in table.read_text().splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == [
        "| no plan", "| plan", "| plan, model", "| plan, buffer", "| plan, model, buffer",
    ]  # fmt: skip
    assert " 1.000 | 0.0% |" in rows[3]  # the exact model's predictions agree with what happened


def test_what_does_not_fit_is_refused_before_a_run_is_made(tmp_path, capsys):
    for wrong in (
        ["--game", "Catch"],
        ["--game", "Pong", "--sticky", "0.25"],
        ["--game", "Pong", "--world-model", "catch"],
        ["--world-model", str(tmp_path / "nowhere")],
        ["--plan-horizon", "0"],
        ["--action-buffer-size", "0"],
    ):
        assert plan.main([*wrong, "--save-dir", str(tmp_path / "runs")]) != 0
        assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError):
        PlanSettings(game="Catch", world_model="catch", dream="somewhere")


def test_the_source_systems_command(monkeypatch):
    import runpy
    from pathlib import Path

    script = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "run_experiments_wm.py"))
    words = "--env ALE/Breakout-v5 --model gpt4o --use_action_buffer True --action_buffer_size 10 --seed 3".split()
    arguments = script["arguments_of"](words)
    assert arguments[:4] == ["--game", "ALE/Breakout-v5", "--vlm", "gpt-4o"]
    assert arguments[-3:] == ["--use-action-buffer", "--seed", "3"] and "10" in arguments
    assert script["arguments_of"](["--model", "rand"])[3] == "scripted"
