"""Kills a study with SIGKILL at random moments until it was killed often enough, and compares it with one that was not.

``python kill_studies.py FOLDER KILLS SEED``: each start of the study is a forked child of this process, which imports everything
once. Prints one line per study; AssertionError when the tables of a killed study differ by a byte, clocks aside.
"""

import csv
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.journal import Journal

LANE = "own_games:Lane-v0,steps=8"
AGENTS = (
    "nearest-example,frames=1",
    "eye=own_players:LightVLM,frames=1,seconds=0.004",
    "taught=own_players:LightVLM,frames=1,use_icl=true,num_episodes=2,round_size=1,seconds=0.004",
    "own_players:Steering,skill=0.5",
    "noop",
)
CLOCK = re.compile(r"time|latency|second|_s$")
TABLES = ("results.csv", "results.md", "results.tex", "episodes.csv", "paired.csv", "ablation.csv")


def play(folder):
    config = EvaluateConfig(
        [LANE],
        list(AGENTS),
        [0, 1],
        ablate=["decide_every"],
        max_steps=6,
        parallel=2,
        save_dir=folder,
        run_name="run",
    )
    evaluate(config)


def start(folder):
    """Begin or continue the study of a folder in a child; returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            play(folder)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    return child


def ended(child, after_s):
    """Wait for a child for so long; its exit status, or None."""
    begin = time.monotonic()
    while time.monotonic() - begin < after_s:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        time.sleep(0.002)
    return None


def tables(folder):
    """The tables, without what is a clock."""
    found = {}
    for name in TABLES:
        text = (folder / "run" / name).read_text()
        if name.endswith(".csv"):
            rows = list(csv.DictReader(text.splitlines()))
            found[name] = [
                {column: value for column, value in row.items() if not CLOCK.search(column)}
                for row in rows
            ]
        else:
            found[name] = re.sub(r"\d+\.\d+ s\b", "", text)
    with Journal(folder / "run" / "journal.sqlite", read_only=True) as journal:
        found["episodes"] = journal.episodes()
    return found


def main(root, kills, seed):
    """How often studies were killed."""
    rng = random.Random(seed)
    begin = time.monotonic()
    assert ended(start(root / "whole"), 600) == 0
    usual_s = time.monotonic() - begin
    reference = tables(root / "whole")
    killed = studies = 0
    while killed < kills:
        studies += 1
        folder, deaths = root / f"study-{studies}", 0
        while True:
            child = start(folder)
            left = rng.uniform(0, 0.6 * usual_s) if killed < kills else 600
            status = ended(child, left)
            if status is not None:
                assert status == 0, f"{folder} ended with status {status}"
                break
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed, deaths = killed + 1, deaths + 1
        found = tables(folder)
        different = [name for name in reference if found[name] != reference[name]]
        assert not different, f"{folder}: {different} differ from the study that was not killed"
        print(f"study {studies}: {deaths} kills", flush=True)
    print(f"{killed} kills, {studies} studies, all equal")
    return killed


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
