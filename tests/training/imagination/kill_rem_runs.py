"""``python kill_rem_runs.py KILLS FOLDER``: train the toy REM, with SIGKILL at random moments of steps and saves.

After each kill the newest checkpoint must verify and be no older than one that was seen before. Then the run is finished.
Prints ``{"killed": ..., "unreadable": ..., "lost": ..., "in_save": ...}``.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from rem_helpers import rem_trainer

from atari_vlm.errors import CheckpointError
from atari_vlm.training.imagination.checkpoints import Checkpoints


def train(folder: Path) -> None:
    torch.set_num_threads(1)
    rem_trainer(folder, seed=4).train()


def fork_training(folder: Path) -> int:
    """A child that trains; torch is imported already, so that kills fall into work and not into imports."""
    child = os.fork()
    if child == 0:
        train(folder)
        os._exit(0)
    return child


def main(kills: int, folder: Path) -> dict:
    rng = random.Random(0)
    seen, found = 0, {"killed": 0, "unreadable": 0, "lost": 0, "in_save": 0}
    checkpoints = Checkpoints(folder / "checkpoints")
    while found["killed"] < kills:
        child = fork_training(folder)
        # every other kill waits until a save is under way: the new checkpoint's folder stands beside the others
        deadline = time.monotonic() + rng.uniform(0.05, 0.6)
        in_save = found["killed"] % 2 == 1
        while time.monotonic() < deadline + 20 * in_save:
            if in_save and any((folder / "checkpoints").glob(".epoch-*.new")):
                time.sleep(rng.uniform(0, 0.01))
                found["in_save"] += 1
                break
            if os.waitpid(child, os.WNOHANG)[0]:
                return {**found, "finished": True}
            time.sleep(0.0005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found["killed"] += 1
        try:
            newest = checkpoints.newest()
        except CheckpointError:
            found["unreadable"] += 1
            break
        found["lost"] += (newest[0] if newest else 0) < seen
        seen = newest[0] if newest else 0
        if (
            seen >= 5 and found["killed"] < kills
        ):  # almost done: go on from the beginning in a new run's place
            restart(folder)
            seen = 0
    train(folder)
    return found


def restart(folder: Path) -> None:
    import shutil

    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]))))
