"""One-pass PPO beside TRL's GRPO: ratios and refusals with sides that only count, our own side in small, and what TRL's is told.

With the peer itself: ``TRL_PYTHON=P/bin/python python -m pytest -n 0 -m slow tests/bench/test_bench_tune.py``.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from atari_vlm.bench import pairs, tune, tune_trl
from atari_vlm.bench.__main__ import main
from atari_vlm.bench.measure import NO_PEER, measure, to_markdown
from atari_vlm.bench.tune import GROUP, TRL, Tuning, TuningPair
from atari_vlm.bench.worker import theirs

QUICK = theirs(sys.executable)
SIDE = """
import os, time

def spend(seconds):
    begin = time.process_time()
    while time.process_time() < begin + seconds:
        pass

def run(spec, serve):
    assert os.path.isdir(spec["folder"]) and spec["group"] == 2
    works = {{name: lambda: spend({seconds}) for name in ("decide", "update", "step", "think")}}
    serve({{"work": {{"rows": spec["rows"], "tokens": {tokens!r}}}, "parameters": 1000}}, works)
"""


def pair(folder, form="turns", python=sys.executable, seconds=0.03, tokens="a"):
    sides = {}
    for name, options in (("ours", (0.003, "a")), ("trl", (seconds, tokens))):
        sides[name] = folder / f"{name}.py"
        sides[name].write_text(SIDE.format(seconds=options[0], tokens=options[1]))
    return TuningPair(Tuning(form, rows=4), python, sides)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(pairs, "ours", lambda: QUICK)


@pytest.mark.parametrize("form", ["turns", "games"])
def test_both_sides_are_told_the_same_and_measured_in_turn(form, tmp_path, quick):
    both = pair(tmp_path, form)
    with both:
        folder = Path(both.spec["folder"])
        results = [measure(case, rounds=2) for case in tune.rows_of(both)]
    assert not folder.exists()
    *fast, memory = results
    assert all(4 < r.ratio < 30 and r.goal == 10 for r in fast) and memory.goal is None
    assert memory.unit == "MB" and memory.ours > 1 and results[0].peer_name == "TRL 1.16.0, GRPO"
    if form == "turns":  # a decision's share of a step of four
        assert results[0].ours == pytest.approx(results[2].ours / 4, rel=0.7)


def test_other_prompts_are_not_compared(tmp_path, quick):
    both = pair(tmp_path, tokens="b")
    with pytest.raises(pairs.ConfigError, match="not do the same work: tokens a here and b there"):
        both.__enter__()
    assert not both._open and not Path(both.spec["folder"]).exists()


def test_without_the_peer_the_row_says_so(tmp_path, quick):
    alone = pair(tmp_path, python=None)
    with alone:
        results = [measure(case, rounds=1) for case in tune.turns(alone)]
    page = to_markdown("tune", results)
    assert page.count(f"| {NO_PEER} |") == 5 and all(result.ratio is None for result in results)


def test_wrong_peers_are_refused_before_anything_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("atari_vlm.bench.__main__.pin_to_one_core", lambda: None)
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho '" + json.dumps({"trl": "0.9.0"}) + "'\n")
    old.chmod(0o755)
    for peer, sentence in (
        (f"trl={old}", f"environment with trl==1.16.0 and atari-vlm; {old} has 0.9.0"),
        ("verl=/x", "unknown peer of bench tune 'verl'"),
    ):
        assert main(["tune", "--peer", peer]) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1


def test_our_side_makes_model_and_prompts_and_learns_from_them(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("peft")
    from atari_vlm.bench import tune_ours

    served = []
    spec = {
        "form": "turns",
        "rows": 2,
        "steps": 1,
        "thought": 1,
        "group": 2,
        "folder": str(tmp_path),
    }
    tune_ours.run(spec, lambda facts, works: served.append((facts, works)))
    facts, works = served[0]
    assert facts["parameters"] == 646_336 and (tmp_path / "base" / "config.json").is_file()
    told = json.loads((tmp_path / "prompts.json").read_text())
    pictures = np.load(tmp_path / "pictures.npy")
    assert pictures.shape == (4, 224, 224, 3) and len(told["rows"]) == 2
    row = tune_trl.row_of(told["rows"][1], iter(pictures[2:]))
    user = row["prompt"][1]["content"]
    assert [part["type"] for part in user] == ["image", "image", "text"] and "Step: 1" in user[2][
        "text"
    ]
    assert np.array_equal(np.asarray(row["images"][1]), pictures[3])
    given = works["update"].__self__
    before = {name: w.detach().clone() for name, w in given._learner.weights.items()}
    works["step"]()
    first, second = given._now[1].messages[1].images
    assert np.array_equal(first.pixels[1:], pictures[2][1:]) and second.pixels[0, 0].tolist() == [
        *(0, 0, 2)
    ]
    changed = [n for n, w in given._learner.weights.items() if not torch.equal(w, before[n])]
    assert len(changed) > 40


class Trainer:
    """Counts what TRL's trainer is asked for."""

    def __init__(self):
        self.generated = self.clipped = self.stepped = 0
        self.accelerator = self.optimizer = self.lr_scheduler = self
        self.args = type("Args", (), {"max_grad_norm": 1.0})

    def _prepare_inputs(self, given):
        self.generated += 1
        return f"answers {self.generated}"

    def clip_grad_norm_(self, parameters, most):
        self.clipped += most

    def step(self):
        self.stepped += 1


def test_their_update_takes_answers_that_were_there_and_their_step_new_ones():
    class Model:
        def parameters(self):
            return []

        def zero_grad(self):
            pass

    trainer, seen = Trainer(), []

    def training_step(model, inputs, count):
        seen.append(trainer._prepare_inputs(inputs))

    steps = tune_trl.Steps(trainer, training_step, (Model(), ["row"], None))
    for work in (steps.step, steps.update, steps.update, steps.step):
        work()
    assert seen == ["answers 1", "answers 2", "answers 2", "answers 3"]
    assert trainer.clipped == 4 and trainer.stepped == 8  # optimizer and schedule


def test_a_turn_of_theirs_is_a_call_of_our_tool():
    call = tune_trl.words_of(1, 3)
    inner = json.loads(call.removeprefix("<tool_call>\n").split("\n</tool_call>")[0])
    assert inner == {"name": "press", "arguments": {"button": "LEFT"}} and GROUP == 2
    assert tune_trl.words_of(3, 3) == "<|im_end|>"


@pytest.mark.slow
@pytest.mark.skipif("TRL_PYTHON" not in os.environ, reason="needs TRL_PYTHON=P/bin/python")
@pytest.mark.parametrize("form", ["turns", "games"])
def test_trl_itself_reads_the_same_tokens_and_pixels(form):
    TRL.check(os.environ["TRL_PYTHON"])
    with TuningPair(Tuning(form), os.environ["TRL_PYTHON"]) as both:
        assert both._open["trl"].facts == both._open["ours"].facts
        assert all(measure(case, rounds=1).ratio > 0 for case in tune.rows_of(both))
