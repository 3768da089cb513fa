"""A family of a foreign package, found through its entry point with no install step, goes through the same commands."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("torch")
HELPERS = Path(__file__).parents[2] / "helpers"
GAME = ["--game", "small_catch:SmallCatch-v0"]


def python(*words, cwd):
    paths = [HELPERS / "foreign", HELPERS, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=600
    )


TOGETHER = """
import contextlib, io, json, sys
from atari_vlm import dream, play

programs = {"dream": dream.main, "play": play.main}
for name, (program, *words) in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = programs[program](words)
    print(json.dumps([name, code, out.getvalue(), err.getvalue()]))
"""
MODEL = "atari_vlm_results/whole/model"
SHORT = ["dream", "resume", "short", "--epochs", "2"]
EVAL = ["dream", "eval", MODEL, "--episodes", "3", "--imagine-steps", "5"]
PLAY = ["play", "--id", "dream", "--checkpoint", MODEL, "--agent", "policy"]
LINES = {
    "train": ["dream", "toy", *GAME, "--run-name", "whole", "--threads", "1"],
    "less": ["dream", "toy", *GAME, "--epochs", "1", "--run-name", "short", "--threads", "1"],
    "no code of a run": SHORT,
    "more": [*SHORT, *GAME, "--threads", "1"],
    "no code of a model": EVAL,
    "eval": [*EVAL, *GAME],
    "play": [*PLAY, "--record", "dream.mp4", "--steps", "6"],
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The toy's commands, one after the other in one process: exit code, output and errors of each, and the folder."""
    folder = tmp_path_factory.mktemp("foreign")
    ended = python("-c", TOGETHER, json.dumps(LINES), cwd=folder)
    assert ended.returncode == 0, ended.stderr[-3000:]
    said = [json.loads(line) for line in ended.stdout.splitlines()]
    return {name: Done(*rest) for name, *rest in said}, folder


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if "seconds" not in name} for line in lines
    ]


def test_it_trains_and_evaluates_while_it_does(done):
    """D3: an external algorithm, by its entry point."""
    commands, folder = done
    assert commands["train"].code == 0, commands["train"].err
    run = folder / "atari_vlm_results" / "whole"
    lines = metrics(run)
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[1]["model/loss"] < lines[0]["model/loss"]
    assert {
        "actor/loss",
        "evaluation/return",
        "held_out/loss",
        "evaluation/imagined_return",
    } <= lines[0].keys()
    assert (run / "media" / "imagination").is_dir()


def test_a_run_that_is_extended_equals_one_of_that_length(done):
    commands, folder = done
    refused, runs = commands["no code of a run"], folder / "atari_vlm_results"
    assert commands["less"].code == 0, commands["less"].err
    assert refused.code == 2 and "--game small_catch:SmallCatch-v0" in refused.err  # a game is code
    assert commands["more"].code == 0, commands["more"].err
    extended, whole = metrics(runs / "short"), metrics(runs / "whole")
    assert extended[1]["model/loss"] == whole[1]["model/loss"]


def test_its_model_is_evaluated_and_dreamed(done):
    commands, _ = done
    refused, evaluated = commands["no code of a model"], commands["eval"]
    assert refused.code == 2 and "give --game to import it" in refused.err
    assert evaluated.code == 0, evaluated.err
    assert "mean return" in evaluated.out and "in its dream" in evaluated.out


def test_its_model_is_played_by_its_own_policy(done):
    commands, folder = done
    assert commands["play"].code == 0, commands["play"].err
    assert (folder / "dream.mp4").stat().st_size > 500


def test_its_dreamed_ids_are_registered(tmp_path):
    code = (
        "import gymnasium, atari_vlm; print(gymnasium.spec('AtariVLM/Pong-Toy-v5').kwargs['kind'])"
    )
    assert python("-c", code, cwd=tmp_path).stdout.strip() == "toy"


def test_a_second_package_with_the_same_name_is_named(tmp_path):
    """D3: a name that is taken is an error with the names of both packages."""
    twin = tmp_path / "twin-0.1.dist-info"
    twin.mkdir()
    (twin / "METADATA").write_text("Metadata-Version: 2.1\nName: twin\nVersion: 0.1\n")
    (twin / "entry_points.txt").write_text("[atari_vlm.families]\ntoy = twin:FAMILY\n")
    source = (
        "from atari_vlm.world_models.families import Family\nFAMILY = Family('toy', 'twin:load')\n"
    )
    (tmp_path / "twin.py").write_text(source)
    done = python("-c", "import atari_vlm", cwd=tmp_path)
    assert "toy-family" in done.stderr and "twin" in done.stderr and done.returncode == 0
