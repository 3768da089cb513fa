"""Runs that ask a VLM have the trackers and the display of every other run."""

from __future__ import annotations

import io
import re
import sys
import types

import pytest

from atari_vlm import evaluate, plan, train
from atari_vlm.runs.display import ProgressDisplay
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.player import EpisodeSpec
from atari_vlm.runs.terminal import Terminal
from atari_vlm.runs.trackers import EpisodeLog, LogConfig
from atari_vlm.types import Decision, Reply, Source, Transition
from atari_vlm.vlm.layers.budget import Budget


class FakeTrackio(types.ModuleType):
    def __init__(self):
        super().__init__("trackio")
        self.lines = []

    def init(self, **options):
        self.options = options
        return self

    def log(self, values, step):
        self.lines.append((step, values))

    def finish(self):
        self.lines.append("finished")


@pytest.fixture
def trackio(monkeypatch):
    module = FakeTrackio()
    monkeypatch.setitem(sys.modules, "trackio", module)
    return module


def row(number, status="done"):
    return EpisodeRow(number, "train", number, status, 2.0, 5, 0.0, 0.1)


def test_episodes_are_told_in_order_and_once(tmp_path, trackio):
    log = EpisodeLog(tmp_path, LogConfig(("trackio",), {"seed": 3}), pytest.fail)
    log.update([row(0), row(1, "running"), row(2)])
    log.update([row(0), row(1), row(2)])
    log.close()
    again = EpisodeLog(tmp_path, LogConfig(("trackio",)), pytest.fail)
    again.update([row(number) for number in range(4)])
    again.close()
    assert [line[0] if line != "finished" else line for line in trackio.lines] == [
        1,
        2,
        3,
        "finished",
        4,
        "finished",
    ]
    assert trackio.lines[0][1] == {
        "epoch": 1, "train/episode_return": 2.0, "train/length": 5.0, "train/fallback_rate": 0.0, "train/cost_usd": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (train.main, ["--num-episodes", "1", "--num-eval-episodes", "0", "--videos", "0"]),
        (
            plan.main,
            ["--game", "Catch", "--world-model", "catch", "--num-episodes", "1", "--videos", "0"],
        ),
        (evaluate.main, ["--games", "Pong", "--seeds", "0"]),
    ],
)
def test_every_program_tells_its_trackers(tmp_path, trackio, program, words):
    assert (
        program([*words, "--max-steps", "3", "--log", "trackio", "--save-dir", str(tmp_path)]) == 0
    )
    assert trackio.lines[-1] == "finished" and trackio.lines[0][0] == 1
    assert any(name.endswith("/episode_return") for name in trackio.lines[0][1])
    assert "seed" in trackio.options["config"] or "seeds" in trackio.options["config"]


def test_a_tracker_that_is_none_is_refused_before_anything_is_played(tmp_path, capsys):
    assert train.main(["--log", "mlflow", "--save-dir", str(tmp_path)]) == 2
    assert "unknown tracker 'mlflow'" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_live_table_says_how_far_it_is(monkeypatch):
    out = io.StringIO()
    display = ProgressDisplay(Terminal(file=out, width=120))
    display.expect(4, Budget(2.0, 50))
    spec, reply = EpisodeSpec(0, "train", 0), Reply("go [bold]LEFT\x1b[31m", "m", cost_usd=0.1)
    display.began(spec.task, 1)
    for _ in range(3):
        decision = Decision(1, Source.MODEL, None, (reply,))
        display.advanced(spec.task, Transition({}, decision, 1.0, {}, False, False, {}), 1)
    display.ended(spec.task, row(0))
    display._console.print(display._table())
    shown = out.getvalue()
    assert (
        "1 of 4 episodes done, 2 decisions" in shown and " left, 0 of 2 usd, 0 of 50 calls" in shown
    )
    assert "last reply: go [bold]LEFT\\x1b[31m" in shown


def display_with(*steps, recorded=0):
    display = ProgressDisplay(Terminal(file=io.StringIO(), width=160))
    spec = EpisodeSpec(7, "eval", 3)
    display.began(spec.task, recorded)
    for source, cost in steps:
        replies = (Reply("UP", "m", cost_usd=cost),)
        decision = Decision(1, source, None, replies, ("illegal: JUMP",))
        display.advanced(spec.task, Transition({}, decision, 2.0, {}, False, False, {}))
    return display, spec.task


def printed(display):
    display._console.print(display._table())
    return display._console.file.getvalue()


def test_one_unknown_price_makes_the_total_unknown():
    display, _ = display_with((Source.MODEL, 0.1), (Source.MODEL, None), (Source.MODEL, 0.1))
    assert display.totals.cost_usd is None and "unknown" in printed(display)


def test_recorded_steps_count_for_the_episode_and_not_for_what_is_done_now():
    display, task = display_with(*[(Source.FALLBACK, 0.0)] * 3, recorded=3)
    assert display.totals.decisions == 0 and display.totals.rate == 0.0
    assert re.search(rf"{re.escape(task.name)} +3 +6 +100.0%", printed(display))


def test_several_fallbacks_in_a_row_are_warned_of_above_the_table():
    display, _ = display_with(*[(Source.FALLBACK, 0.0)] * 5)
    out = printed(display)
    assert out.count("decisions in a row are not the model's (illegal: JUMP)") == 1


def test_an_episode_that_broke_off_leaves_the_table_and_is_no_result():
    display, task = display_with((Source.MODEL, 0.0))
    display.ended(task)
    out = printed(display)
    assert task.name not in out and "0 episodes done, 1 decisions" in out


def test_an_episode_that_was_read_says_so_where_there_is_no_terminal():
    display, _ = display_with()
    display.ended(EpisodeSpec(0, "train", 0).task, row(0))
    assert re.search(
        r"^train episode 0 \(seed 0\): return .*, read from the journal$", printed(display), re.M
    )
