"""Kills a run with SIGKILL at random moments until it was killed often enough, and compares what it leaves with a run that was not.

``python kill_runs.py FOLDER KILLS SEED``: each start of the run is a forked child of this process, which imports everything
once. Prints one line per finished run; raises AssertionError when a killed run differs, or repeats more calls than were in flight.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from training_helpers import CountingVLM, run_data

from atari_vlm import VLMTrainer
from atari_vlm.reporting import run_report  # noqa: F401 - imported here once instead of in every child

PARALLEL = 2


def play(folder):
    options = {"max_steps": 12, "round_size": 2, "parallel": PARALLEL, "videos": 0, "run_name": "run"}
    with VLMTrainer("Pong-v5", CountingVLM(folder / "calls"), save_dir=folder, **options) as trainer:
        trainer.train(3)
        trainer.evaluate(1)
        trainer.save_results()


def start(folder):
    """Begin or continue the run of a folder in a child; returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            play(folder)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    return child


def ended(child, deadline):
    """Wait for a child until a moment of the monotonic clock; its exit status, or None."""
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.0005)


def main(root, kills, seed):
    rng = random.Random(seed)
    (root / "reference").mkdir(parents=True)
    begin = time.monotonic()
    assert ended(start(root / "reference"), begin + 120) == 0
    usual_s = time.monotonic() - begin
    reference, calls = run_data(root / "reference" / "run"), CountingVLM(root / "reference" / "calls").calls
    killed = runs = 0
    while killed < kills:
        runs += 1
        folder = root / f"run-{runs}"
        folder.mkdir()
        deaths = 0
        while True:
            child = start(folder)
            # never the last run's end: after the wanted number of kills the run is left alone
            patience = rng.uniform(0, usual_s) if killed < kills else 120.0
            status = ended(child, time.monotonic() + patience)
            if status is not None:
                assert status == 0, f"{folder} ended with status {status}"
                break
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed, deaths = killed + 1, deaths + 1
        repeated = CountingVLM(folder / "calls").calls - calls
        assert 0 <= repeated <= deaths * PARALLEL, f"{repeated} calls repeated after {deaths} kills"
        data = run_data(folder / "run")
        different = [name for name in reference if data.get(name) != reference[name]]
        assert not different, f"{folder}: {different} differ from the run that was not killed"
        print(f"run {runs}: {deaths} kills, {repeated} of {calls} calls repeated", flush=True)
    print(f"{killed} kills, {runs} runs, all equal")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
