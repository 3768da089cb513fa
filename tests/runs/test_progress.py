"""Progress: every task of a run is shown, on a terminal as bars or a live table, elsewhere as lines."""

import dataclasses
import io
import itertools
import re

import pytest
from rem_helpers import rem_trainer, toy_settings
from rich.console import Console

from atari_vlm.errors import RunError
from atari_vlm.runs import bars as bars_module
from atari_vlm.runs.bars import Bars
from atari_vlm.runs.display import ProgressDisplay
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.progress import Pace, Quiet, Task, running


class Heard(Quiet):
    def __init__(self):
        self.stages, self.open = [], False

    def began(self, task, recorded=0):
        assert not self.open
        self.stages.append([task.epoch, task.name, task.total, task.unit, 0])
        self.open = True

    def advanced(self, task, step=None, calls=0):
        self.stages[-1][-1] += 1

    def ended(self, task, result=None):
        self.open = False


def test_every_stage_is_told_unit_by_unit(tmp_path):
    hook = Heard()
    rem_trainer(
        tmp_path, settings=dataclasses.replace(toy_settings(), epochs=3), progress=hook
    ).train()
    assert [(epoch[0], name, total, unit) for epoch, name, total, unit, _ in hook.stages] == [
        (1, "collection", 15, "steps"),
        (1, "tokenizer", 2, "updates"),
        (2, "collection", 15, "steps"),
        (2, "tokenizer", 2, "updates"),
        (2, "world model", 2, "updates"),
        (3, "collection", 15, "steps"),
        (3, "tokenizer", 2, "updates"),
        (3, "world model", 2, "updates"),
        (3, "actor critic", 2, "updates"),
        (3, "evaluation", 3, "games"),
    ]
    assert all(total == done for _, _, total, _, done in hook.stages) and not hook.open


def test_bars_on_a_terminal_show_counts_and_the_time_left():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with (
        Bars(console) as bars,
        running(bars, Task("world model", 4, "updates", (2, 600))) as advanced,
    ):
        for _ in range(3):
            advanced()
        bars._bars.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert re.search(r"run .* 1/600 +epochs", shown)
    assert re.search(r"world model .* 3/4 +updates .* left +(\d+:\d\d:\d\d|-:--:--)", shown)


def test_lines_where_there_is_no_terminal(monkeypatch):
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(bars_module.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with Bars(Console(file=out, width=200), line_every_s=60) as bars:
        with running(bars, Task("collection", 20, "steps", (1, 34))) as advanced:
            for _ in range(12):
                advanced()
        bars.say("a tracker failed")
    lines = out.getvalue().splitlines()
    assert lines[-1] == "a tracker failed" and 1 <= len(lines[:-1]) <= 3
    assert re.fullmatch(r"epoch 1/34 collection: \d+/20 steps, \d+:\d\d left", lines[0])


def test_short_stages_print_no_lines():
    out = io.StringIO()
    with (
        Bars(Console(file=out)) as bars,
        running(bars, Task("tokenizer", 2, "updates", (1, 3))) as advanced,
    ):
        advanced()
    assert out.getvalue() == ""


def test_a_stage_that_fails_is_ended():
    hook = Heard()
    with pytest.raises(RunError), running(hook, Task("collection", 5, "steps", (1, 2))):
        raise RunError("full")
    assert not hook.open


def test_one_protocol_two_views_either_shows_stages_and_episodes():
    """Episodes side by side, one of them read from the journal, and a stage: no view needs to know which run it watches."""
    out, episodes = io.StringIO(), [Task(f"train episode {i} (seed {i})") for i in range(3)]
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    for view in (Bars(console), ProgressDisplay(console)):
        with view, running(view, Task("collection", 5)) as advanced:
            advanced()
            for task in episodes[:2]:
                view.began(task)
            view.advanced(episodes[1])
            view.ended(episodes[0])
            view.ended(episodes[2], EpisodeRow(2, "train", 2, "done", 3.0, 7, 0.0, None))
            assert {task.name for task in view._running} == {"collection", episodes[1].name}


def test_the_table_counts_the_units_of_a_stage_and_gives_it_no_return():
    out = io.StringIO()
    display = ProgressDisplay(Console(file=out, width=120))
    with running(display, Task("collection", 5)) as advanced:
        advanced()
        display._console.print(display._table())
    assert re.search(r"^collection +1/5 *$", out.getvalue(), re.M)
    assert "0 episodes done" in out.getvalue()


def test_a_task_of_unknown_length_has_no_time_left(monkeypatch):
    clock = itertools.count(0.0, 100.0)
    monkeypatch.setattr(bars_module.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    bars = Bars(Console(file=out, width=200))
    with running(bars, Task("eval episode 0 (seed 1)")) as advanced:
        advanced()
    assert out.getvalue() == "eval episode 0 (seed 1): 1 steps\n"


def test_the_time_left_is_that_of_the_last_rounds():
    ends = iter([0.0, 100.0, 110.0, 120.0, 150.0])
    pace = Pace(2, now=lambda: next(ends))
    assert [pace.left(rounds) for rounds in (3, 2, 1, 0)] == [300.0, 110.0, 10.0, 0.0]


def test_rounds_of_another_kind_are_forgotten():
    ends = iter([0.0, 1.0, 2.0, 12.0])
    pace = Pace(5, now=lambda: next(ends))
    assert [pace.left(10), pace.left(9)] == [10.0, 9.0]
    pace.forget()
    assert pace.left(8) == 80.0
