"""Whoever opens a cache, a VLM or a journal closes it, also after an error."""

import os

import pytest

from atari_vlm import VLMTrainer
from atari_vlm.errors import RunError
from atari_vlm.evaluation import entry
from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.plan_run import PlanExecution, PlanRun
from atari_vlm.evaluation.plan_settings import PlanSettings
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.run_folder import RunFolder
from atari_vlm.training.in_context import trainer as training
from atari_vlm.vlm import ScriptedVLM


class Closable(ScriptedVLM):
    """Knows whether it was closed."""

    closed = 0

    def close(self):
        self.closed += 1


def open_below(folder):
    """What this process holds open in a folder."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue
    return [path for path in found if path.startswith(str(folder))]


@pytest.fixture
def loaded(monkeypatch):
    """The VLMs that are loaded by name."""
    made = []

    def load(*_, **__):
        made.append(Closable())
        return made[-1]

    monkeypatch.setattr(training, "load_vlm", load)
    monkeypatch.setattr(entry, "load_vlm", load)
    return made


def test_trainers_that_are_kept_hold_nothing(tmp_path, loaded):
    kept = []
    for _ in range(3):
        with VLMTrainer(
            "Pong-v5", "gpt-4o", save_dir=tmp_path, cache=tmp_path / "cache", videos=0
        ) as trainer:
            assert any("cache" in path for path in open_below(tmp_path))
        kept.append(trainer)
    assert open_below(tmp_path) == [] and [vlm.closed for vlm in loaded] == [1, 1, 1]


def test_what_was_opened_is_closed_when_the_run_cannot_be(tmp_path, loaded, monkeypatch):
    def refuse(*_, **__):
        raise RunError("no")

    monkeypatch.setattr(RunFolder, "open", refuse)
    with pytest.raises(RunError):
        VLMTrainer("Pong-v5", "gpt-4o", save_dir=tmp_path, cache=tmp_path / "cache", videos=0)
    with pytest.raises(RunError):
        evaluate(EvaluateConfig(agents=["gpt-4o"], save_dir=tmp_path, cache=tmp_path / "cache"))
    with pytest.raises(RunError):
        execution = PlanExecution(save_dir=tmp_path, cache=tmp_path / "cache")
        PlanRun(PlanSettings(game="Catch", world_model="catch"), Closable(), execution, {})
    assert open_below(tmp_path) == []
    assert [vlm.closed for vlm in loaded] == [1, 1, 1]  # the trainer's; the study's two


def test_a_table_that_cannot_be_written_leaves_nothing_open(tmp_path, loaded, monkeypatch):
    trainer = VLMTrainer("Pong-v5", "gpt-4o", save_dir=tmp_path, cache=tmp_path / "cache", videos=0)

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, "_write_tables", full)
    with pytest.raises(OSError, match="No space"):
        trainer.close()
    assert open_below(tmp_path) == [] and loaded[0].closed == 1


def test_a_vlm_that_was_given_belongs_to_who_gave_it(tmp_path):
    vlm = Closable()
    with VLMTrainer("Pong-v5", vlm, save_dir=tmp_path, videos=0):
        pass
    assert vlm.closed == 0
