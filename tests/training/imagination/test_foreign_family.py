"""A family of a foreign package, found through its entry point with no install step, goes through the same commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
        command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=120
    )


def toy(*words, cwd):
    done = python("-m", "atari_vlm.dream", *words, cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the toy: two epochs."""
    folder = tmp_path_factory.mktemp("foreign")
    toy("toy", *GAME, "--run-name", "whole", "--threads", "1", cwd=folder)
    return folder / "atari_vlm_results" / "whole"


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if "seconds" not in name} for line in lines
    ]


def test_it_trains_and_evaluates_while_it_does(run):
    """D3: an external algorithm, by its entry point."""
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


def test_a_run_that_is_extended_equals_one_of_that_length(run, tmp_path):
    toy("toy", *GAME, "--epochs", "1", "--run-name", "short", "--threads", "1", cwd=tmp_path)
    refused = python("-m", "atari_vlm.dream", "resume", "short", "--epochs", "2", cwd=tmp_path)
    assert (
        refused.returncode == 2 and "--game small_catch:SmallCatch-v0" in refused.stderr
    )  # a game is code
    toy("resume", "short", *GAME, "--epochs", "2", "--threads", "1", cwd=tmp_path)
    assert (
        metrics(tmp_path / "atari_vlm_results" / "short")[1]["model/loss"]
        == metrics(run)[1]["model/loss"]
    )


def test_its_model_is_evaluated_and_dreamed(run, tmp_path):
    model = ("eval", run / "model", "--episodes", "3", "--imagine-steps", "5")
    refused = python("-m", "atari_vlm.dream", *model, cwd=tmp_path)
    assert refused.returncode == 2 and "give --game to import it" in refused.stderr
    said = toy(*model, *GAME, cwd=tmp_path).stdout
    assert "mean return" in said and "in its dream" in said


def test_its_model_is_played_by_its_own_policy(run, tmp_path):
    words = [
        "--id",
        "dream",
        "--checkpoint",
        run / "model",
        "--agent",
        "policy",
        "--record",
        tmp_path / "dream.mp4",
    ]
    done = python("-m", "atari_vlm.play", *words, "--steps", "6", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "dream.mp4").stat().st_size > 500


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
