"""Metrics of a REM run in W&B, trackio and TensorBoard; the real libraries where they are installed."""

import dataclasses
import json
import sqlite3
import sys
import types

import pytest
from rem_helpers import rem_trainer, toy_settings

from atari_vlm import dream
from atari_vlm.errors import MissingDependencyError, UnknownNameError
from atari_vlm.runs.metrics import MetricsLog
from atari_vlm.runs.trackers import LogConfig, open_trackers


class Calls(list):
    """A module with the documented signatures of ``init``, ``Run.log`` and ``Run.finish``; keeps what it is told."""

    def __init__(self, name, fails_at=()):
        super().__init__()
        self.fails_at = fails_at
        self.module = types.ModuleType(name)
        self.module.init = self.wandb_init if name == "wandb" else self.trackio_init

    def wandb_init(
        self, *, project=None, dir=None, id=None, name=None, config=None, mode=None, resume=None
    ):
        assert resume in ("allow", "never", "must", "auto") and mode in (
            "online",
            "offline",
            "disabled",
            "shared",
        )
        return self.begin(("init", project, name, id, dir, mode))

    def trackio_init(self, project, name=None, config=None, resume="never"):
        assert resume in ("allow", "never", "must")
        return self.begin(("init", project, name))

    def begin(self, call):
        self.call(call)
        return types.SimpleNamespace(log=self.log, finish=lambda: self.call(("finish",)))

    def log(self, data, step=None):
        self.call(("log", step, data))

    def call(self, call):
        self.append(call)
        if call[0] in self.fails_at:
            raise ConnectionError("the server\nis away")


@pytest.fixture
def fake(monkeypatch):
    def make(name, fails_at=()):
        calls = Calls(name, fails_at)
        monkeypatch.setitem(sys.modules, name, calls.module)
        return calls

    monkeypatch.delenv("WANDB_MODE", raising=False)
    return make


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_tells_every_epoch_once_over_stops(name, fake, tmp_path):
    calls = fake(name)
    options = {"settings": dataclasses.replace(toy_settings(), epochs=2), "log": LogConfig((name,))}
    rem_trainer(tmp_path / "toy", **options).train()
    steps = [call for call in calls if call[0] == "log"]
    assert [step for _, step, _ in steps] == [1, 2] and calls[-1] == ("finish",)
    lines = [
        json.loads(line) for line in (tmp_path / "toy" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [data for *_, data in steps] == lines
    began = calls[0]
    assert began[1] == "atari-vlm" and began[2].startswith("toy-")
    calls.clear()
    options["settings"] = dataclasses.replace(toy_settings(), epochs=3)
    again = rem_trainer(tmp_path / "toy", **options)
    again.train()
    assert calls[0] == began and [call[1] for call in calls if call[0] == "log"] == [3]


def test_a_tracker_that_is_added_later_gets_the_epochs_before(fake, tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.add(1, {"a/b": 1.0})
    log.add(2, {"a/b": 2.0})
    log.close()
    calls = fake("wandb")
    MetricsLog(tmp_path, 1, LogConfig(("wandb",)))  # epoch 2 is done again
    assert calls[0][4:] == (str(tmp_path), "offline")
    assert [call for call in calls if call[0] == "log"] == [("log", 1, {"a/b": 1.0, "epoch": 1})]


@pytest.mark.parametrize("fails_at", ["init", "log", "finish"])
def test_a_failing_tracker_is_said_once_and_ends_nothing(fails_at, fake, tmp_path):
    calls, said = fake("wandb", (fails_at,)), []
    log = MetricsLog(tmp_path, 0, LogConfig(("wandb",)), said.append)
    for epoch in (1, 2, 3):
        log.add(epoch, {"a/b": 0.5})
    log.close()
    assert (
        len(said) == 1
        and "wandb failed" in said[0]
        and "ConnectionError: the server is away" in said[0]
    )
    assert sum(call[0] == fails_at for call in calls) == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_library_warns_of_a_failing_tracker(fake, tmp_path):
    fake("trackio", ("init",))
    with pytest.warns(RuntimeWarning, match="trackio failed"):
        MetricsLog(tmp_path, 0, LogConfig(("trackio",)))


def test_unknown_and_absent_trackers_are_refused_before_anything_is_played(
    monkeypatch, tmp_path, capsys
):
    with pytest.raises(UnknownNameError, match="tensorboard, trackio, wandb"):
        LogConfig(("wandbb",))
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    with pytest.raises(MissingDependencyError, match=r"atari-vlm\[wandb\]"):
        open_trackers(tmp_path, LogConfig(("wandb",)), [], print)
    line = ["rem", "--game", "Pong", "--preset", "tiny", "--save-dir", str(tmp_path), "--log"]
    assert dream.main([*line, "wandb"]) == 2 and "pip install" in capsys.readouterr().err
    assert (
        dream.main([*line, "mlflow"]) == 2 and "unknown tracker 'mlflow'" in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_has_every_epoch_once(tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for begin in (0, 1):
        log = MetricsLog(tmp_path, begin, LogConfig(("tensorboard",)))
        log.add(begin + 1, {"a/b": float(begin)})
        log.close()
    events = reading.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [(e.step, float(e.tensor_proto.float_val[0])) for e in events.Tensors("a/b")]
    assert found == [(1, 0.0), (2, 1.0)]


def test_the_real_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    said = []
    log = MetricsLog(tmp_path, 0, LogConfig(("wandb",), {"seed": 1}), said.append)
    log.add(1, {"a/b": 1.0})
    log.close()
    assert said == [] and len(list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))) == 1


def test_the_real_trackio_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    said = []
    for begin in (0, 1):
        log = MetricsLog(tmp_path / "run", begin, LogConfig(("trackio",), {"seed": 1}), said.append)
        log.add(begin + 1, {"a/b": 1.5 + begin})
        log.close()
    rows = (
        sqlite3.connect(tmp_path / "trackio" / "atari-vlm.db")
        .execute("select step, run_name from metrics")
        .fetchall()
    )
    assert (
        said == [] and [step for step, _ in rows] == [1, 2] and len({name for _, name in rows}) == 1
    )
