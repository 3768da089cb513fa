"""A small study for the workers of Ray, and its tables without clocks."""

import csv
import re

from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.journal import Journal

LANE = "own_games:Lane-v0,steps=8"
CLOCK = re.compile(r"time|latency|second|_s$")
TABLES = ("results.csv", "episodes.csv", "paired.csv", "results.tex")


def ledger_of(folder):
    """Where the calls of a study are noted."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "ledger"


def study(folder, ledger=None, **changes):
    """Agents on a lane; with a ``ledger`` two of them ask, one after lessons."""
    asks = f"own_players:LedgerVLM,frames=1,seconds=0.02,ledger={ledger}"
    lessons = "use_icl=true,num_episodes=1,round_size=1"
    agents = ["noop"] if ledger is None else [f"eye={asks}", f"taught={asks},{lessons}"]
    options = {"games": [LANE], "agents": agents, "seeds": [0, 1], "max_steps": 8}
    where = {"save_dir": folder, "run_name": "run"}
    return EvaluateConfig(**{**options, **where, **changes})


def tables(run):
    """The tables and the journal of a run, without what is a clock or names the ledger."""
    found = {}
    for name in TABLES:
        text = re.sub(r"ledger=[^, ]*", "", (run / name).read_text())
        if name.endswith(".csv"):
            rows = csv.DictReader(text.splitlines())
            text = [{k: v for k, v in row.items() if not CLOCK.search(k)} for row in rows]
        found[name] = text
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        found["episodes"] = journal.episodes()
        for row in journal.episodes():
            calls = [(c.call, c.step, c.request_key) for c in journal.calls(row.episode)]
            steps = [
                (s.step, s.action, s.source, s.reward, s.info) for s in journal.steps(row.episode)
            ]
            found[row.episode] = calls, steps
    return found
