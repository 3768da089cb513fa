"""``python kill_dream_runs.py FAMILY KILLS FOLDER``: train a small learner, with SIGKILL at random moments of work and saves.

After each kill the newest checkpoint must be whole and no older than one that was seen before. A run that was killed a few times
is finished, and must then be, to the bit, what FOLDER/whole is, which nobody killed. AssertionError where it is not. Prints how
many kills, how many of them during a save, and how many runs there were.
"""

import functools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from dreamers import dreamer_trainer
from forked import finish, in_child
from rem_helpers import rem_trainer

from atari_vlm.runs.progress import Quiet
from atari_vlm.training.imagination.checkpoints import Checkpoints
from atari_vlm.training.imagination.media import MediaConfig

TRAINERS = {"rem": rem_trainer, "dreamer": dreamer_trainer}
EPOCHS = 6
MOST = 50  # steps, updates and games until a kill: up to about two epochs


class Telling(Quiet):
    """Writes a byte for each step, update and game."""

    def __init__(self, pipe: int):
        self.pipe = pipe

    def advanced(self, task, step=None, calls=0):
        os.write(self.pipe, b".")


def trainer_of(family: str, folder: Path, **run):
    return TRAINERS[family](folder, seed=4, media=MediaConfig(episodes=0), **run)


def train(family: str, folder: Path, pipe: int) -> None:
    """Tells through the pipe of each unit of work, and of saves: where one begins and that it is done."""
    trainer = trainer_of(family, folder, progress=Telling(pipe))
    save = trainer.save

    def told_save():
        os.write(pipe, b"[")
        save()
        os.write(pipe, b"]")

    trainer.save = told_save
    trainer.train()


def wait_for(signs: bytes, count: int, pipe: int) -> None:
    """Until so many of these signs have come."""
    while count:
        sign = os.read(pipe, 1)
        assert sign, "the run ended before it was killed"
        count -= sign in signs


def metrics_of(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in lines]


def kept_by(family: str, folder: Path) -> dict[str, np.ndarray]:
    """All that the last checkpoint holds, and what lies beside it of the steps that are kept."""
    epoch, checkpoint = Checkpoints(folder / "checkpoints").newest()
    assert epoch == EPOCHS and len(checkpoint.tensors) > 100
    replay = trainer_of(family, folder).replay
    beside = {f"steps.{name}": replay.read(name, replay.kept()) for name in replay.columns}
    return {**checkpoint.tensors, **beside}


def check_equal(family: str, whole: Path, killed: Path, pipe: int) -> None:
    assert metrics_of(killed) == metrics_of(whole), "the metrics differ"
    one, other = kept_by(family, whole), kept_by(family, killed)
    assert one.keys() == other.keys()
    different = [name for name in one if not np.array_equal(one[name], other[name])]
    assert not different, f"{different} differ from the run that was not killed"


def newest(folder: Path) -> int:
    """The epoch of the newest checkpoint, which must be whole."""

    def damaged(message: str) -> None:
        raise AssertionError(message)

    found = Checkpoints(folder / "checkpoints").newest(damaged)
    return found[0] if found else 0


def killed_run(family: str, kills: int, save_s: float, folder: Path) -> tuple[int, int]:
    """A run that is killed at most so often, and then finished: how often, and how often in or just after a save."""
    seen = killed = in_save = 0
    work = functools.partial(train, family, folder)
    while killed < kills and seen < EPOCHS - 2:
        child, pipe = in_child(work)
        if random.random() < 0.5:
            wait_for(b".", random.randint(1, MOST), pipe)
        else:
            in_save += 1
            wait_for(b"[", random.randint(1, 2), pipe)
            time.sleep(random.uniform(0, save_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(pipe)
        killed += 1
        before, seen = seen, newest(folder)
        assert seen >= before, f"the checkpoint of epoch {before} was lost"
    finish(*in_child(work))
    return killed, in_save


def main(family: str, kills: int, folder: Path) -> dict[str, int]:
    random.seed(0)
    trainer_of(family, folder / "imports").close()  # what is imported late, children have already
    whole = folder / "whole"
    whole.mkdir()
    save_s = finish(*in_child(functools.partial(train, family, whole)))
    found = {"killed": 0, "in_save": 0, "runs": 0}
    while found["killed"] < kills:
        found["runs"] += 1
        run = folder / f"run-{found['runs']}"
        run.mkdir()
        killed, in_save = killed_run(family, kills - found["killed"], save_s, run)
        found["killed"] += killed
        found["in_save"] += in_save
        finish(*in_child(functools.partial(check_equal, family, whole, run)))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
