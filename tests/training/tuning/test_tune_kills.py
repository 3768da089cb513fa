"""Tuning is killed by SIGKILL at random moments of work and saves, and ends as a run that nobody killed, to the bit.

The long form, a hundred kills of each instead of ten:
``python -m pytest -n 0 -m slow tests/training/tuning/test_tune_kills.py``.
"""

import functools
import os
import random
import signal
import time

import numpy as np
import pytest
import tuning_helpers as helpers
import tuning_runs
from forked import finish, in_child

from atari_vlm.training.tuning.learner import UpdateConfig
from atari_vlm.training.tuning.ppo import PPOConfig
from atari_vlm.training.tuning.thoughts import ThinkingConfig

ROUNDS = 7  # each ends with a checkpoint
MOST = {"sft": 2, "rl": 5, "thoughts": 5}  # updates, or steps of games, until a kill
CONFIG = UpdateConfig(updates=ROUNDS, batch_size=2)
PPO = PPOConfig(envs=2, steps=3, epochs=1, minibatch=6, value_warm_up=1)


class Telling(tuning_runs.Silent):
    """Writes a byte for each step or update."""

    def __init__(self, pipe):
        self.pipe = pipe

    def advanced(self, task, step=None, calls=0):
        os.write(self.pipe, b".")


def imitation(base, folder, progress):
    lessons = tuning_runs.catch_lessons()
    return tuning_runs.imitation(base, lessons, folder, "lora", CONFIG, progress=progress)


def reinforcement(base, folder, progress, **more):
    more = {"iterations": ROUNDS, "progress": progress, **more}
    return tuning_runs.reinforcement(base, folder, CONFIG, PPO, **more)


def with_thoughts(base, folder, progress):
    thinking = ThinkingConfig(tokens=6, state_reward=0.5)
    return reinforcement(base, folder, progress, thinking=thinking)


TRAINERS = {"sft": imitation, "rl": reinforcement, "thoughts": with_thoughts}
THINKING = pytest.param("thoughts", marks=pytest.mark.slow)


def train(make, folder, pipe):
    """Tells through the pipe of each unit of work, and where a save begins and that it is done."""
    trainer = make(folder, Telling(pipe))
    save = trainer._checkpoints.save

    def told(*arguments):
        os.write(pipe, b"[")
        save(*arguments)
        os.write(pipe, b"]")

    trainer._checkpoints.save = told
    trainer.train()


def kill(work, most, save_s, choice):
    """Start it and end it by SIGKILL: while it works, or in or just after a save; whether it was the latter."""
    child, pipe = in_child(work)
    in_save = choice.random() < 0.5
    wanted, count = (b"[", choice.randint(1, 2)) if in_save else (b".", choice.randint(1, most))
    while count:
        sign = os.read(pipe, 1)
        assert sign, "the run ended before it was killed"
        count -= sign == wanted
    if in_save:
        time.sleep(choice.uniform(0, save_s))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(pipe)
    return in_save


def newest(folder):
    """The number of the newest checkpoint, which must be whole: its arrays are finite and weights are among them."""
    from atari_vlm.world_models.checkpoint_files import unpack_tensors

    paths = sorted((folder / "checkpoints").glob("update-*.safetensors"))
    if not paths:
        return -1
    arrays = unpack_tensors(paths[-1].read_bytes(), str(paths[-1]))
    kept = [array for name, array in arrays.items() if name.startswith("weights.")]
    assert kept and all(np.isfinite(array).all() for array in kept)
    return int(arrays["updates"])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["sft", "rl", THINKING])
def test_a_killed_run_ends_as_one_that_nobody_killed(how, kills, bases, tmp_path):
    choice = random.Random(0)
    first, base = (tuning_runs.qwen(bases("qwen2-vl")) for _ in range(2))
    for name in ("whole", "again"):
        (tmp_path / name).mkdir()
    # what is imported on the way is, for all children
    TRAINERS[how](first, tmp_path / "whole", tuning_runs.Silent()).train()
    make = functools.partial(TRAINERS[how], base)
    save_s = finish(*in_child(functools.partial(train, make, tmp_path / "again")))
    wanted, done, in_save, runs = helpers.digests(tmp_path / "whole"), 0, 0, 0
    assert helpers.digests(tmp_path / "again") == wanted
    while done < kills:
        runs += 1
        folder = tmp_path / f"run-{runs}"
        folder.mkdir()
        work, seen = functools.partial(train, make, folder), -1
        while done < kills and seen < ROUNDS - 4:
            in_save += kill(work, MOST[how], save_s, choice)
            done += 1
            before, seen = seen, newest(folder)
            assert seen >= before, f"the checkpoint of update {before} was lost"
        finish(*in_child(work))
        assert helpers.digests(folder) == wanted
    assert in_save >= max(2, kills // 4)
