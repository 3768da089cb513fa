"""Kills a run with SIGKILL at random moments until it was killed often enough, and compares it with one that was not.

``python kill_runs.py FOLDER KILLS SEED [cache]``: each start of the run is a forked child of this process, which imports
everything once. Prints one line per run; AssertionError when a killed run differs, or repeats more calls than were in flight.

With ``cache`` each run has a reply cache in which one of its episodes is already, replies cost something, and the limit on
calls is exactly what the run that was not killed paid for: one call spent twice, or one cached reply counted, and it does
not end.
"""

import dataclasses
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

from training_helpers import CountingVLM, run_data

from atari_vlm import VLMTrainer
from atari_vlm.runs.journal import Journal

PARALLEL = 2


class SlowVLM(CountingVLM):
    """Calls are in flight for a while, so that kills hit them."""

    def complete(self, messages, *, sampling):
        reply = super().complete(messages, sampling=sampling)
        time.sleep(0.02)
        return dataclasses.replace(reply, cost_usd=0.01)


def play(folder, episodes=2):
    """The run of a folder, with the cache that lies there, within the limit that is written there."""
    options = {
        "max_steps": 8,
        "round_size": 2,
        "parallel": PARALLEL,
        "videos": 0,
        "run_name": "run",
    }
    if (folder / "cache").exists():
        limit = (folder / "limit").read_text() if (folder / "limit").exists() else ""
        options |= {"cache": folder / "cache", "max_calls": int(limit) if limit else None}
    with VLMTrainer("Pong-v5", SlowVLM(folder / "calls"), save_dir=folder, **options) as trainer:
        trainer.train(episodes)
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


def ended(child, is_time):
    """Wait for a child until it is time; its exit status, or None."""
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if is_time():
            return None
        time.sleep(0.002)


def random_moment(rng, calls_made, usual_s):
    """Mostly so and so many calls further on, else any time: beginnings and ends of episodes, tables, report."""
    begin = time.monotonic()
    if rng.random() < 0.3:
        after_s = rng.uniform(0, usual_s)
        return lambda: time.monotonic() - begin > after_s
    wanted, more_s, reached = calls_made() + rng.randint(1, 10), rng.uniform(0, 0.03), []

    def is_time():
        if not reached and calls_made() >= wanted:
            reached.append(time.monotonic())
        return bool(reached) and time.monotonic() - reached[0] > more_s

    return is_time


def facts(folder):
    """What a run left behind, and which of its replies were paid for."""
    with Journal(folder / "run" / "journal.sqlite", read_only=True) as journal:
        paid = [call.paid for row in journal.episodes() for call in journal.calls(row.episode)]
    return {**run_data(folder / "run"), "paid": paid}


def new_folder(root, name, cached):
    """A folder for a run; with ``cached`` the first episode's replies are in its cache, and the limit is written there."""
    folder = root / name
    folder.mkdir(parents=True)
    if cached:
        if not (root / "warm").exists():
            (root / "warm").mkdir()
            (root / "warm" / "cache").touch()
            play(root / "warm", episodes=1)
        shutil.copy(root / "warm" / "cache", folder / "cache")
        if (root / "limit").exists():
            shutil.copy(root / "limit", folder / "limit")
    return folder


def main(root, kills, seed, cached):
    """How often runs were killed."""
    rng = random.Random(seed)
    folder = new_folder(root, "reference", cached)
    begin = time.monotonic()
    assert ended(start(folder), lambda: False) == 0
    usual_s = time.monotonic() - begin
    reference, calls = facts(folder), CountingVLM(folder / "calls").calls
    assert sum(reference["paid"]) == calls and all(reference["paid"]) != cached
    (root / "limit").write_text(str(calls))
    killed = runs = 0
    while killed < kills:
        runs += 1
        folder = new_folder(root, f"run-{runs}", cached)
        deaths = 0
        while True:
            child = start(folder)
            counter = CountingVLM(folder / "calls")
            is_time = (
                random_moment(rng, lambda counter=counter: counter.calls, usual_s)
                if killed < kills
                else lambda: False
            )
            status = ended(child, is_time)
            if status is not None:
                assert status == 0, f"{folder} ended with status {status}"
                break
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed, deaths = killed + 1, deaths + 1
        repeated = CountingVLM(folder / "calls").calls - calls
        assert 0 <= repeated <= deaths * PARALLEL, f"{repeated} calls repeated after {deaths} kills"
        data = facts(folder)
        different = [name for name in reference if data.get(name) != reference[name]]
        assert not different, f"{folder}: {different} differ from the run that was not killed"
        print(f"run {runs}: {deaths} kills, {repeated} of {calls} calls repeated", flush=True)
    print(f"{killed} kills, {runs} runs, all equal")
    return killed


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "cache" in sys.argv[4:])
