"""Progress of a REM run: every stage is told, on a terminal as bars with the time left, elsewhere as lines."""

import dataclasses
import io
import itertools
import re

import pytest
from rem_helpers import rem_trainer, toy_settings
from rich.console import Console

from atari_vlm.errors import RunError
from atari_vlm.runs import progress
from atari_vlm.runs.progress import Bars, Quiet, stage


class Heard(Quiet):
    def __init__(self):
        self.stages, self.open = [], False

    def began(self, stage, total, unit, epoch):
        assert not self.open
        self.stages.append([epoch, stage, total, unit, 0])
        self.open = True

    def advanced(self):
        self.stages[-1][-1] += 1

    def ended(self):
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
    with Bars(console) as bars, stage(bars, "world model", 4, "updates", (2, 600)):
        for _ in range(3):
            bars.advanced()
        bars._bars.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert re.search(r"run .* 1/600 +epochs", shown)
    assert re.search(r"world model .* 3/4 +updates .* left +(\d+:\d\d:\d\d|-:--:--)", shown)


def test_lines_where_there_is_no_terminal(monkeypatch):
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with Bars(Console(file=out, width=200), line_every_s=60) as bars:
        with stage(bars, "collection", 20, "steps", (1, 34)):
            for _ in range(12):
                bars.advanced()
        bars.say("a tracker failed")
    lines = out.getvalue().splitlines()
    assert lines[-1] == "a tracker failed" and 1 <= len(lines[:-1]) <= 3
    assert re.fullmatch(r"epoch 1/34 collection: \d+/20 steps, \d+:\d\d left", lines[0])


def test_short_stages_print_no_lines():
    out = io.StringIO()
    with Bars(Console(file=out)) as bars, stage(bars, "tokenizer", 2, "updates", (1, 3)):
        bars.advanced()
    assert out.getvalue() == ""


def test_a_stage_that_fails_is_ended():
    hook = Heard()
    with pytest.raises(RunError), stage(hook, "collection", 5, "steps", (1, 2)):
        raise RunError("full")
    assert not hook.open
