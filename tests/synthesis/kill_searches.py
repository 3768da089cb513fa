"""Kills a search with SIGKILL at seeded moments, continues it until it ends, and compares it with one that was not killed.

``python kill_searches.py FOLDER KILLS SEED``: each start is a forked child of this process, which imports everything once. Prints
one line per run; AssertionError when a killed run differs, or repeats more calls than were in flight.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import search_helpers as helpers

from atari_vlm.runs.journal import Journal
from atari_vlm.synthesis import SearchConfig, outputs, run_search, search

PARALLEL = 3
CONFIGS = (
    SearchConfig(budget=24, parallel=PARALLEL),
    SearchConfig(budget=24, parallel=PARALLEL, preset="code", fixes=1),
    SearchConfig(budget=24, parallel=PARALLEL, method="worldcoder"),
)


def slow_judge(text):
    """Judgements take a while too, so that kills hit them."""
    time.sleep(0.003)
    return helpers.judge(text)


def answer(calls):
    """Replies that are functions of their questions, each counted in a file before it is sent."""

    def answer(number, text, sample):
        with open(calls, "ab") as file:
            file.write(b".")
        time.sleep(0.01)
        return helpers.by_question(text, sample)

    return answer


def calls_made(folder):
    return (folder / "calls").stat().st_size if (folder / "calls").exists() else 0


def start(folder, config):
    """Begin or continue the search of a folder in a child; returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            run_search.ProgramJudge = lambda *_: slow_judge
            outputs._write_checkpoint = lambda *_: None
            writer = helpers.Writer(answer(folder / "calls"))
            search(writer, helpers.buffer(), config, folder=folder / "run")
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    return child


def facts(folder):
    """What a run left behind, but for the clocks."""
    run = folder / "run"
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        simulations, nodes = journal.simulations(), journal.nodes()
        replies = [journal.calls(row.simulation)[0].reply for row in simulations]
    files = {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.suffix in (".csv", ".py", ".json", ".html")
    }
    return {"simulations": simulations, "nodes": nodes, "replies": replies, "files": files}


def moment(folder, rng, usual_s):
    """Mostly so and so many calls further on, else any time: beginnings, ends, the files that are written then."""
    begin = time.monotonic()
    if rng.random() < 0.3:
        after_s = rng.uniform(0, usual_s)
        return lambda: time.monotonic() - begin > after_s
    wanted, more_s = calls_made(folder) + rng.randint(1, 9), rng.uniform(0, 0.02)
    reached = []

    def is_time():
        if not reached and calls_made(folder) >= wanted:
            reached.append(time.monotonic())
        return bool(reached) and time.monotonic() - reached[0] > more_s

    return is_time


def killed(folder, config, is_time):
    """Start, kill when it is time; whether it had not ended before."""
    child = start(folder, config)
    while not is_time():
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert status == 0, f"{folder} ended with status {status}"
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def main(root, kills, seed):
    """How often searches were killed."""
    rng = random.Random(seed)
    references = []
    for number, config in enumerate(CONFIGS):
        folder = root / f"reference-{number}"
        folder.mkdir(parents=True)
        begin = time.monotonic()
        assert os.waitpid(start(folder, config), 0)[1] == 0
        references.append((facts(folder), calls_made(folder), time.monotonic() - begin))
    done = runs = 0
    while done < kills:
        config, (reference, calls, usual_s) = CONFIGS[runs % 3], references[runs % 3]
        folder, deaths, runs = root / f"run-{runs}", 0, runs + 1
        folder.mkdir()
        while done + deaths < kills and killed(folder, config, moment(folder, rng, usual_s)):
            deaths += 1
        assert os.waitpid(start(folder, config), 0)[1] == 0
        done += deaths
        repeated = calls_made(folder) - calls
        assert 0 <= repeated <= deaths * PARALLEL, f"{repeated} repeated after {deaths} kills"
        left = facts(folder)
        different = [name for name in reference if left[name] != reference[name]]
        assert not different, f"{folder}: {different} differ from the search that was not killed"
        print(f"run {runs}: {deaths} kills, {repeated} of {calls} calls repeated", flush=True)
    print(f"{done} kills, {runs} runs, all equal")
    return done


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
