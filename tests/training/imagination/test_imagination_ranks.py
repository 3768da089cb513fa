"""REM and Dreamer on two processes (gloo, CPU): the same gradients, equal weights, resumable; also through the program (slow)."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import rank_checks
from dreamers import dreamer_trainer
from ranks import in_ranks
from rem_helpers import ENVIRONMENT, GAME, rem_trainer, toy_settings

from atari_vlm.training.imagination.checkpoints import Checkpoints

pytestmark = pytest.mark.timeout(900)


def torchrun(*command):
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launcher, *map(str, command)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=900,
    )


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """A folder with a run of two processes of each family; what must hold between them held."""
    folder = tmp_path_factory.mktemp("ranks")
    in_ranks(lambda team: rank_checks.check(team, folder))
    return folder


def test_two_halves_of_a_batch_are_the_batch_and_ranks_stay_equal(checked):
    assert {path.name for path in checked.iterdir()} == {"rem", "dreamer", "sequences"}


def test_a_run_of_two_goes_on_alone(checked):
    folder = checked / "rem" / "whole"
    steps = Checkpoints(folder / "checkpoints").newest()[1].provenance["steps"]
    trainer = rem_trainer(folder, settings=dataclasses.replace(toy_settings(), epochs=7), seed=4)
    assert trainer.epoch == 6
    found = trainer.train()
    assert (
        found["collection/steps"] == steps + 15
        and "ranks.numpy" not in trainer.checkpoints.newest()[1].tensors
    )


def test_a_dreamer_of_two_goes_on_alone(checked):
    folder = checked / "dreamer" / "whole"
    trainer = dreamer_trainer(folder, epochs=rank_checks.EPOCHS + 1, seed=4)
    assert trainer.epoch == rank_checks.EPOCHS
    assert np.isfinite(trainer.train()["dreamer/loss"])
    assert "ranks.numpy" not in trainer.checkpoints.newest()[1].tensors


QUICK = {
    "rem": {
        name: {"updates": {"batch": 4, "steps": 2, "first_epoch": 1}}
        for name in ("tokenizer", "world_model", "actor_critic")
    },
    "dreamer": {
        "networks": {"deter": 32, "hidden": 16, "units": 16, "groups": 4, "classes": 4, "frame_px": 16},
        "learning": {"batch": 4, "length": 5, "prefill": 20, "ratio": 0.1},
        "behaviour": {"steps": 2, "imag_last": 2},
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", QUICK)
def test_the_program_under_torchrun(family, tmp_path):
    play = {"eval_every": 2, "final_episodes": 2, "steps": 40}
    settings = QUICK[family] | {"epochs": 2, "play": play}
    (tmp_path / "quick.yaml").write_text(json.dumps({"settings": settings}))
    line = ["-m", "atari_vlm.dream", family, "--game", f"rem_helpers:{GAME}", "--preset", "tiny"]
    line += ["--config", tmp_path / "quick.yaml", "--save-dir", tmp_path / "runs"]
    done = torchrun(*line)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = list((tmp_path / "runs").iterdir())
    assert len(runs) == 1 and done.stderr.count("model: ") == 1  # rank 0 alone writes and talks
    lines = [json.loads(row) for row in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in lines] == [1, 2] and "evaluation/return" in lines[1]
    assert "processes: 2" in (runs[0] / "config.yaml").read_text()
