"""Tuning on two processes (gloo, CPU): the weights of one process, equal over the ranks, resumable; the program is slow."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tuning_helpers as helpers
import tuning_runs
from ranks import in_ranks

from atari_vlm.errors import BudgetExhaustedError, ConfigError, MismatchError, StoppedError
from atari_vlm.training.tuning.learner import UpdateConfig
from atari_vlm.training.tuning.ppo import PPOConfig
from atari_vlm.training.tuning.running import TimeLimit
from atari_vlm.training.tuning.thoughts import ThinkingConfig
from atari_vlm.world_models.checkpoint_files import unpack_tensors

NEAR = 1e-5
UPDATES = UpdateConfig(updates=4, batch_size=5, micro_batch=2, warm_up=0.0)  # parts of 2 and 3
PPO = PPOConfig(envs=3, steps=3, epochs=1, minibatch=4, kl=0.1, value_warm_up=1)
pytestmark = pytest.mark.timeout(900)


class StopAt:
    """Is set from so many questions on."""

    def __init__(self, count):
        self.left = count

    def is_set(self):
        self.left -= 1
        return self.left < 0


def arrays_of(folder):
    path = sorted((folder / "checkpoints").glob("update-*.safetensors"))[-1]
    return unpack_tensors(path.read_bytes(), str(path))


def trained(make, folder, **more):
    folder.mkdir(parents=True, exist_ok=True)
    return make(folder, **more).train()


def imitating(model, method, folder, **more):
    base = tuning_runs.qwen(model, "4bit" if method == "qlora" else None)
    return tuning_runs.imitation(base, tuning_runs.catch_lessons(), folder, method, UPDATES, **more)


def reinforcing(model, folder, **more):
    more = {"games": ("Catch", "SoloPong"), "iterations": 2, "max_steps": 6, **more}
    return tuning_runs.reinforcement(tuning_runs.qwen(model), folder, UPDATES, PPO, **more)


def near(alone, together):
    """What both runs' checkpoints hold: equal weights, but for the order of sums."""
    one, two = arrays_of(alone), arrays_of(together)
    assert one.keys() == two.keys()
    gaps = {name: np.abs(one[name] - two[name]).max() for name in one if "weights" in name}
    assert max(gaps.values()) < NEAR, max(gaps.items(), key=lambda item: item[1])
    return one, two


def is_of_nobody_stopped(make, whole, parts, after):
    """A run of two that one of them is told to stop ends to the byte as one that nobody stopped."""

    def work(team):
        trained(make, whole, team=team)
        with pytest.raises(StoppedError):
            trained(make, parts, team=team, stop=StopAt(after) if team.rank == 1 else None)
        trained(make, parts, team=team)

    in_ranks(work)
    one, two = arrays_of(whole), arrays_of(parts)
    assert one.keys() == two.keys()
    assert [name for name in one if not np.array_equal(one[name], two[name])] == []
    assert helpers.digests(whole) == helpers.digests(parts)


def test_imitation_by_two_is_imitation_by_one_and_goes_on_exactly(bases, tmp_path):
    make = functools.partial(imitating, bases("qwen2-vl"), "lora")
    found = trained(make, tmp_path / "alone")
    is_of_nobody_stopped(make, tmp_path / "whole", tmp_path / "parts", after=2)
    near(tmp_path / "alone", tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "results.json").read_text()) == found


@pytest.mark.parametrize("method", ["full", "qlora"])
def test_other_methods_learn_by_two_as_by_one(method, bases, tmp_path):
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    make = functools.partial(imitating, bases("qwen2-vl"), method)
    found = trained(make, tmp_path / "alone")
    in_ranks(lambda team: trained(make, tmp_path / "whole", team=team))
    near(tmp_path / "alone", tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "results.json").read_text()) == found


def test_reinforcement_by_two_is_reinforcement_by_one_and_goes_on_exactly(bases, tmp_path):
    make = functools.partial(reinforcing, bases("qwen2-vl"))
    found = trained(make, tmp_path / "alone")
    is_of_nobody_stopped(make, tmp_path / "whole", tmp_path / "parts", after=4)
    one, two = near(tmp_path / "alone", tmp_path / "whole")
    for name in ("lanes.episode", "lanes.actions", "updates"):
        assert np.array_equal(one[name], two[name]), name
    assert int(one["updates"]) == 3  # of four, four and one decision: one rank has none then
    assert json.loads((tmp_path / "whole" / "results.json").read_text()) == found


@pytest.mark.slow
def test_thoughts_of_two_are_thoughts_of_one(bases, tmp_path):
    thinking = ThinkingConfig(tokens=4, state_reward=0.5)
    make = functools.partial(reinforcing, bases("qwen2-vl"), thinking=thinking)
    found = trained(make, tmp_path / "alone")
    in_ranks(lambda team: trained(make, tmp_path / "whole", team=team))
    one, two = near(tmp_path / "alone", tmp_path / "whole")
    assert np.array_equal(one["lanes.actions"], two["lanes.actions"])
    assert json.loads((tmp_path / "whole" / "results.json").read_text()) == found


def test_a_run_of_two_goes_on_alone_and_one_of_one_by_two(bases, tmp_path):
    make = functools.partial(imitating, bases("qwen2-vl"), "lora")
    trained(make, tmp_path / "whole")

    def stopped(team):
        with pytest.raises(StoppedError):
            trained(make, tmp_path / "two", team=team, stop=StopAt(2))

    in_ranks(stopped)
    assert int(arrays_of(tmp_path / "two")["updates"]) == 2
    trained(make, tmp_path / "two")
    near(tmp_path / "whole", tmp_path / "two")
    with pytest.raises(StoppedError):
        trained(make, tmp_path / "one", stop=StopAt(2))
    in_ranks(lambda team: trained(make, tmp_path / "one", team=team))
    near(tmp_path / "whole", tmp_path / "one")


def test_what_differs_or_cannot_be_shared_is_refused_and_one_clock_ends_all(bases, tmp_path):
    make = functools.partial(imitating, bases("qwen2-vl"), "lora")

    def work(team):
        with pytest.raises(MismatchError, match="weights differ between the processes"):
            (tmp_path / "differs").mkdir(exist_ok=True)
            trainer = make(tmp_path / "differs", team=team)
            if team.rank == 1:
                next(iter(trainer.learner.weights.values())).data[0] += 1e-7
            trainer.train()
        limit = TimeLimit(1e-9 if team.rank == 1 else 1e9, team)
        with pytest.raises(BudgetExhaustedError, match="after 1 updates"):
            trained(make, tmp_path / "late", team=team, limit=limit)
        base, lessons = tuning_runs.qwen(bases("qwen2-vl")), tuning_runs.catch_lessons()
        few = dataclasses.replace(UPDATES, batch_size=1)
        with pytest.raises(ConfigError, match="2 processes cannot share a batch of 1"):
            tuning_runs.imitation(base, lessons, tmp_path, "lora", few, team=team)
        other = dataclasses.replace(lessons, digest=f"{team.rank:064x}")
        with pytest.raises(MismatchError, match="the decisions of the teacher differ"):
            tuning_runs.imitation(base, other, tmp_path, "lora", UPDATES, team=team)

    in_ranks(work)
    assert not list((tmp_path / "differs").glob("checkpoints/*"))


def torchrun(*words, kill_when=None):
    """``torchrun`` of two; ``kill_when()``: then the second process is killed. The launcher's exit code and what was said."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    line = [*launcher, "-m", "atari_vlm.tune", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment) as program:
        while kill_when is not None and program.poll() is None and not kill_when():
            time.sleep(0.02)
        if kill_when is not None:
            os.kill(rank_of(program.pid, 1), signal.SIGKILL)
        said = program.communicate(timeout=600)[1]
    return program.returncode, said


def rank_of(launcher, rank):
    """The process of that rank that ``torchrun`` started."""
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(launcher)], capture_output=True, text=True, check=True
    )
    for pid in map(int, children.stdout.split()):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if f"RANK={rank}".encode() in file.read().split(b"\0"):
                return pid
    raise AssertionError(f"no process of rank {rank}")


RL = (
    *("--game", "Catch", "--iterations", "3", "--envs", "2", "--steps", "3", "--minibatch", "4"),
    *("--eval-every", "1", "--eval-episodes", "1", "--seed", "1", "--threads", "1"),
    *("--device", "cpu"),
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds a process by /proc")
@pytest.mark.parametrize(("how", "words"), [("sft", helpers.SMALL), ("rl", RL)])
def test_the_program_ends_with_one_that_is_killed_and_goes_on(how, words, tmp_path):
    line = (how, *words, "--base", "tiny", "--model", "new", "--save-dir", tmp_path)
    code, said = torchrun(*line, "--run-name", "whole")
    assert code == 0, said[-3000:]
    assert said.count("adapter: ") == 1  # rank 0 alone talks
    assert "processes: 2" in (tmp_path / "whole" / "config.yaml").read_text()
    checkpoints = tmp_path / "killed" / "checkpoints"
    code, said = torchrun(
        *line, "--run-name", "killed", kill_when=lambda: list(checkpoints.glob("update-*"))
    )
    assert code != 0 and "Signal 9" in said
    assert not (tmp_path / "killed" / "results.json").exists()
    code, said = torchrun(*line, "--run-name", "killed")
    assert code == 0, said[-3000:]
    assert helpers.digests(tmp_path / "killed") == helpers.digests(tmp_path / "whole")
    code, said = torchrun(*line, "--run-name", "killed")
    assert code == 0 and said.count("is finished") == 1
    code, said = torchrun(*line, "--run-name", "killed", "--seed", "9")
    assert (
        code != 0 and said.count("other settings") == 1 and "Error" not in said.split("elastic")[0]
    )
