"""The Dreamer beside SheepRL: ratios, refusals and clean-up with sides that only count, and both real sides in small.

With the peer itself: ``SHEEPRL_PYTHON=P/bin/python python -m pytest -n 0 -m slow tests/bench/test_bench_dreamer.py``.
"""

import os
import sys
import types
from pathlib import Path

import pytest
import torch

from atari_vlm.bench import dreamer, dreamer_ours, dreamer_sheeprl, pairs
from atari_vlm.bench.__main__ import SUBJECTS, main
from atari_vlm.bench.dreamer import SHEEPRL, DreamerPair, Learning, rows_of
from atari_vlm.bench.measure import NO_PEER, measure, to_markdown
from atari_vlm.bench.pairs import check_alike
from atari_vlm.bench.worker import Worker, theirs
from atari_vlm.errors import ConfigError

QUICK = theirs(sys.executable)
SMALL = {"batch": 2, "length": 3, "steps": 2}
SIDE = """
import time

def spend(seconds):
    begin = time.process_time()
    while time.process_time() < begin + seconds:
        pass

def run(spec, serve):
    print("a library's word", flush=True)  # no answer
    assert spec["batch"] == 2, "a batch of 2"
    facts = {{"work": {{**spec, "preset": {preset!r}}}, "parameters": {parameters}}}
    serve(facts, {{"update": lambda: spend({seconds}), "imagine": lambda: {imagine}}})
"""


def side(folder, name, seconds=0.005, preset="1m", parameters=1000, imagine="spend(0.001)"):
    path = folder / f"{name}.py"
    path.write_text(
        SIDE.format(seconds=seconds, preset=preset, parameters=parameters, imagine=imagine)
    )
    return path


def pair(folder, python=sys.executable, preset="1m", **theirs_options):
    sides = {"ours": side(folder, "ours"), "sheeprl": side(folder, "sheeprl", **theirs_options)}
    return DreamerPair(Learning(preset, "f32", **SMALL), python, sides)


@pytest.fixture
def quick(monkeypatch):
    """Our side need not import this package either."""
    monkeypatch.setattr(pairs, "ours", lambda: QUICK)


def test_each_side_measures_itself_in_a_process_of_its_own(tmp_path):
    both = pair(tmp_path, seconds=0.03)
    with both:
        workers = list(both._open.values())
        results = [measure(case, rounds=2) for case in rows_of(both)]
    step, imagined, memory = results
    assert (
        3 < step.ratio < 12 and step.reached
    )  # 30 ms beside 5 of the processor, however busy it is
    assert imagined.ours < step.ours and imagined.peer_name == "SheepRL 0.8.4, dreamer_v3_5"
    assert (
        1 < memory.ours < 2500 and memory.unit == "MB" and memory.ratio == memory.ours / memory.peer
    )
    page = to_markdown("world-model", results)
    assert "x the peer's memory" in page and "<= 1, <= 2500 MB" in page
    assert len({worker._process.pid for worker in workers} | {os.getpid()}) == 3
    for worker in workers:
        assert worker._process.poll() == 0 and not Path(worker._folder.name).exists()


def test_without_a_peer_there_is_no_ratio(tmp_path, quick):
    alone = pair(tmp_path, python=None)
    with alone:
        results = [measure(case, rounds=1) for case in rows_of(alone)]
    assert [result.peer_name for result in results] == [NO_PEER] * 3
    assert all(result.ours > 0 and result.ratio is result.peer is None for result in results)
    assert to_markdown("x", results).count(f"| {NO_PEER} |") == 3
    assert f"| {NO_PEER} | 5," in to_markdown(
        "x", results
    ) and "| - | - | >= 1 | - |" in to_markdown("x", results)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"preset": "12m"}, "do not do the same work: preset 1m here and 12m there"),
        ({"parameters": 989}, "not learn networks of one size: 1,000 parameters here and 989 there"),
        ({"parameters": "1 / 0"}, "SheepRL does not work: ZeroDivisionError: division by zero"),
        ({"parameters": "__import__('os')._exit(7)"}, "SheepRL does not work: it ended with 7 (a library's word)"),
    ],
    ids=["other work", "other size", "cannot start", "ends"],
)  # fmt: skip
def test_what_is_not_the_same_is_not_compared(tmp_path, options, sentence, quick):
    both = pair(tmp_path)
    side(tmp_path, "sheeprl", **options)
    with pytest.raises(ConfigError) as caught, both:
        pass
    assert sentence in str(caught.value) and not both._open


def test_sizes_within_one_percent_are_one_size():
    work = {"work": {"batch": 16}}
    check_alike({**work, "parameters": 1009}, {**work, "parameters": 1000})
    with pytest.raises(ConfigError, match="batch 16 here and None there"):
        check_alike({**work, "parameters": 1}, {"work": {}, "parameters": 1})


def test_a_side_that_breaks_off_or_is_late_ends_in_a_sentence(tmp_path, quick):
    broken = pair(tmp_path, imagine="1 / 0")
    with broken, pytest.raises(ConfigError, match="SheepRL does not work: ZeroDivisionError"):
        broken.seconds("sheeprl", "imagine")
    late = side(tmp_path, "late", imagine="time.sleep(60)")
    worker = Worker("a side", QUICK, late, {"batch": 2})
    worker.patience_s = 0.1
    with pytest.raises(ConfigError, match=r"a side does not work: no answer within 0\.1 s"):
        worker.work("imagine")
    with pytest.raises(ConfigError, match="a side does not work"):
        worker.work("update")
    worker.close()
    assert worker._process.poll() == -9 and not Path(worker._folder.name).exists()


def a_python(folder, says):
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        ("""echo '{"sheeprl": "0.5.7", "torch": "1"}'""", "sheeprl==0.8.4; {} has 0.5.7"),
        ("""echo '{"sheeprl": "0.8.4", "torch": "1.0+cpu"}'""", "both sides compute with one torch: {} has 1.0+cpu"),
        ("echo 'no package called sheeprl' >&2; exit 1", "{} is not: no package called sheeprl"),
        ("echo Lua 5.4", "{} is no Python"),
        (None, "No such file or directory"),
    ],
    ids=["version", "torch", "without it", "no Python", "nothing"],
)  # fmt: skip
def test_another_environment_is_refused_before_anything_runs(
    says, sentence, tmp_path, monkeypatch, capsys
):
    python = str(tmp_path / "python") if says is None else a_python(tmp_path, says)
    monkeypatch.setattr("atari_vlm.bench.__main__.pin_to_one_core", lambda: None)
    assert main(["world-model", "--peer", f"sheeprl={python}"]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("error: ") and error.count("\n") == 1 and sentence.format(python) in error
    )


def test_this_python_is_taken_where_it_says_what_is_wanted(tmp_path):
    SHEEPRL.check(
        a_python(tmp_path, f"""echo '{{"sheeprl": "0.8.4", "torch": "{torch.__version__}"}}'""")
    )


PAIRS = []


def counted_cases(peers):
    return [case for both in PAIRS for case in rows_of(both)]


def test_the_program_opens_a_pair_for_its_rows_and_no_other(tmp_path, monkeypatch, capsys, quick):
    monkeypatch.setattr("atari_vlm.bench.__main__.pin_to_one_core", lambda: None)
    monkeypatch.setitem(SUBJECTS, "world-model", "test_bench_dreamer:counted_cases")
    never = pair(tmp_path, preset="xs")
    never.sides.clear()  # would be an error to open
    monkeypatch.setattr(sys.modules[__name__], "PAIRS", [pair(tmp_path), never])
    monkeypatch.setitem(sys.modules, "test_bench_dreamer", sys.modules[__name__])
    assert main(
        ["world-model", "--rounds", "1", "--only", "1m, gradient", "--out", str(tmp_path)]
    ) in (0, 3)
    page = (tmp_path / "bench_world-model_1m_gradient.md").read_text()
    assert (
        page in capsys.readouterr().out and page.count("| DreamerV3 1m, gradient step, f32 |") == 1
    )
    assert "xs of paper-v1" not in page and not PAIRS[0]._open


def test_the_cases_are_those_of_the_issue():
    made = dreamer.cases(None)
    assert len({case.name for case in made}) == len(made) == 18
    assert {case.goal for case in made} == {1.0} and all(case.peer is None for case in made)
    assert {case.scope.learning.starts for case in made} == {1024}


@pytest.fixture
def threads(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_our_side_in_small(precision, threads):
    served = []
    spec = {**SMALL, "preset": "tiny", "precision": precision}
    dreamer_ours.run(spec, lambda facts, works: served.append((facts, works)))
    facts, works = served[0]
    assert facts["work"] == {
        "batch": 2, "length": 3, "starts": 6, "steps": 2, "picture": [64, 64, 3], "actions": 2, "precision": precision,
    }  # fmt: skip
    assert facts["parameters"] > 10_000 and works["update"]()["loss"] > 0
    works["imagine"]()


class Config(dict):
    """As its config: entries are attributes."""

    def __getattr__(self, name):
        return self[name]


class Rssm(torch.nn.Linear):
    """A latent step of 4 groups of 3 from 8 numbers and 2 actions."""

    steps = 0

    def imagination(self, prior, recurrent, action):
        Rssm.steps += 1
        assert (
            prior.shape == (1, 6, 12) and action.shape == (1, 6, 2) and not torch.is_grad_enabled()
        )
        return prior.view(1, 6, 4, 3), recurrent


def fake_sheeprl(monkeypatch, trained):
    """Modules that stand for SheepRL: its program makes one gradient step on what its words ask for."""

    def train(fabric, cfg, world_model, actor, critic, data, actions_dim):
        trained.append(data["rgb"])

    def start():
        words = dict(word.split("=", 1) for word in sys.argv[1:])
        assert words["exp"] == "dreamer_v3_5" and words["algo"] == "dreamer_v3_5_1M"
        assert words["algo.cnn_keys.encoder"] == "[rgb]" and words["algo.mlp_keys.decoder"] == "[]"
        rows, batch = (
            int(words["algo.per_rank_sequence_length"]) + 1,
            int(words["algo.per_rank_batch_size"]),
        )
        sizes = Config(
            stochastic_size=4, discrete_size=3, recurrent_model=Config(recurrent_state_size=8)
        )
        algo = Config(replay_context=1, horizon=int(words["algo.horizon"]), world_model=sizes)
        config = Config(algo=algo, fabric=Config(precision=words["fabric.precision"]))
        world_model = torch.nn.ModuleDict({"rssm": Rssm(9, 1)})
        world_model.rssm = world_model["rssm"]
        data = {"rgb": torch.zeros(rows, batch, 3, 64, 64, dtype=torch.uint8)}
        program.train(
            "fabric",
            config,
            world_model,
            torch.nn.Linear(1, 4),
            torch.nn.Linear(2, 3),
            data=data,
            actions_dim=(2,),
        )
        raise AssertionError("the program goes on")

    program = types.SimpleNamespace(train=train)
    tools = types.SimpleNamespace(
        autocast_cache_scope=lambda fabric: torch.autocast("cpu", enabled=False)
    )
    monkeypatch.setitem(sys.modules, "sheeprl.algos.dreamer_v3_5.dreamer_v3_5", program)
    monkeypatch.setitem(sys.modules, "sheeprl.cli", types.SimpleNamespace(run=start))
    monkeypatch.setitem(sys.modules, "sheeprl.utils.fabric", tools)


def test_their_program_is_stopped_at_its_first_gradient_step(monkeypatch):
    trained = []
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    fake_sheeprl(monkeypatch, trained)

    def serve(facts, works):
        assert facts == {
            "work": {"batch": 2, "length": 3, "starts": 6, "steps": 2, "picture": [64, 64, 3], "actions": 2, "precision": "bf16"},
            "parameters": 10 + 8 + 9,
        }  # fmt: skip
        works["update"]()
        works["imagine"]()

    with pytest.raises(SystemExit):
        dreamer_sheeprl.run({**SMALL, "preset": "1m", "precision": "bf16"}, serve)
    assert len(trained) == 1 and trained[0].float().std() > 50 and Rssm.steps == 2


@pytest.mark.slow
@pytest.mark.skipif("SHEEPRL_PYTHON" not in os.environ, reason="needs SHEEPRL_PYTHON=P/bin/python")
@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("preset", ["1m", "12m", "xs"])
def test_sheeprl_itself_does_the_same_work(preset, precision):
    SHEEPRL.check(os.environ["SHEEPRL_PYTHON"])
    both = DreamerPair(Learning(preset, precision, 2, 4, 2), os.environ["SHEEPRL_PYTHON"])
    with both:
        assert all(measure(case, rounds=1).ratio > 0 for case in rows_of(both))
