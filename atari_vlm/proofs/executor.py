"""What the workers of Ray bring, and what they cost: ``python -m atari_vlm.proofs.executor --out docs/results``.

Four measurements, each a study of ``evaluate``: units a second of games that ask nobody, with one and two workers; of an agent at
an address that answers after 200 ms, with one and eight; empty units (Catch, random play, one decision) in this process and on
two workers; the driver's memory for many of them. Time is counted between the first and the last unit that ended, so it holds
neither the start of a session nor that of a worker.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tyro

from atari_vlm.conditions import hardware
from atari_vlm.ending import program
from atari_vlm.evaluation.evaluate import Watching, evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.files import atomic_write
from atari_vlm.runs.cluster.session import session
from atari_vlm.runs.journal_rows import EpisodeRow
from atari_vlm.runs.progress import Quiet, Task
from atari_vlm.scores.tables import table_lines

_LATENCY_S = 0.2
_PAGE = "executor_ray"


@dataclass(frozen=True)
class ExecutorProofConfig:
    """How much is measured."""

    units: int = 96
    """of each study but the last"""
    steps: int = 200
    """in a unit of a game that asks nobody"""
    questions: int = 10
    """in a unit that asks"""
    empty: int = 10_000
    """empty units"""
    out: Path | None = None
    """folder that receives the page"""


class Ends(Quiet):
    """When units of ``agent`` (all without one) ended.

    The clock begins when each of ``workers`` workers has ended one, so that none is still starting.
    """

    def __init__(self, workers: int, agent: str | None) -> None:
        self._workers, self._agent = max(workers, 1), agent
        self._seen: set[str] = set()
        self._times: list[float] = []

    def ended(self, task: Task, result: EpisodeRow | None = None) -> None:
        """Note it."""
        agent = task.label and task.label.agent
        if result is None or self._agent not in (None, agent):
            return
        self._seen.add(task.worker)
        if len(self._seen) == self._workers:
            self._times.append(time.monotonic())

    @property
    def rate(self) -> float:
        """Units a second between the end at which the clock begins and the last one."""
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])


def measure(folder: Path, workers: int, options: dict[str, Any], agent: str | None = None) -> Ends:
    """Play a study, without Ray for 0 workers."""
    executor = {"executor": "ray", "parallel": workers} if workers else {}
    where = {"save_dir": folder, "run_name": f"{len(list(folder.iterdir()))}", "videos": 0}
    ends = Ends(workers, agent)
    evaluate(EvaluateConfig(**{**options, **executor, **where}), Watching(ends))
    return ends


def games(config: ExecutorProofConfig, folder: Path) -> list[list[str]]:
    """Games that ask nobody."""
    options = {
        "games": ["Pong"],
        "agents": ["noop"],
        "seeds": list(range(config.units // 3)),
        "max_steps": config.steps,
    }
    rates = {workers: measure(folder, workers, options).rate for workers in (0, 1, 2)}
    what = f"Pong, {config.steps} decisions (noop, random, scripted)"
    return [_row(what, workers, rate, rates[1]) for workers, rate in rates.items()]


def questions(config: ExecutorProofConfig, folder: Path) -> list[list[str]]:
    """An agent that waits for an address; the baselines that join are not counted."""
    with _server() as address:
        options = {
            "games": ["Catch"],
            "agents": [f"asks=gpt-4o,model=m,base_url={address},frames=1"],
            "seeds": list(range(config.units)),
            "max_steps": config.questions,
        }
        found = {w: measure(folder, w, options, "asks").rate for w in (1, 8)}
    what = f"Catch, an agent at an address that answers after {_LATENCY_S * 1000:.0f} ms"
    return [_row(what, workers, rate, found[1]) for workers, rate in found.items()]


def empty(config: ExecutorProofConfig, folder: Path) -> list[list[str]]:
    """Units of one decision, and how much memory this process, which is the driver, takes at most."""
    rows = []
    for count, workers in ((config.empty // 10, 0), (config.empty // 10, 2), (config.empty, 2)):
        options = {
            "games": ["Catch"],
            "agents": ["random"],
            "seeds": list(range(count)),
            "max_steps": 1,
        }
        rate = measure(folder, workers, options).rate
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(
            [
                f"{count:,} empty units, {_workers(workers)}",
                f"{1000 / rate:.1f} ms a unit",
                f"{memory:.0f} MB",
            ]
        )
    return rows


def to_markdown(
    config: ExecutorProofConfig, rates: Sequence[list[str]], units: Sequence[list[str]]
) -> str:
    """The results page."""
    counts = ("units", "steps", "questions", "empty")
    options = " ".join(f"--{name} {getattr(config, name)}" for name in counts)
    return "\n".join(
        [
            "# A study on the workers of Ray",
            "",
            "Made by the following command: wall time from when every worker has ended a unit to the last end, one run each;",
            "workers of a session of this machine, `OMP_NUM_THREADS=1`. Goals: 1.8 times one worker's rate with two, where",
            "two cores are free, and 7 times with eight, where an address is waited for.",
            "",
            f"    python -m atari_vlm.proofs.executor {options}",
            "",
            *table_lines(["study", "workers", "units a second", "times one worker"], list(rates)),
            "",
            "What a unit costs that has nothing to do, and the most memory that the driver had taken until its end:",
            "",
            *table_lines(["study", "wall time", "driver"], list(units)),
            "",
            hardware(),
            "",
            f"Load of the machine at the end (1, 5 and 15 minutes): {', '.join(f'{load:.1f}' for load in os.getloadavg())}.",
            "",
        ]
    )


def _row(what: str, workers: int, rate: float, one: float) -> list[str]:
    return [what, _workers(workers), f"{rate:.2f}", f"{rate / one:.2f}"]


def _workers(count: int) -> str:
    return {0: "none (local)", 1: "1 worker"}.get(count, f"{count} workers")


class _Late(BaseHTTPRequestHandler):
    """Answers like a chat model of few words, late."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Wait, then answer."""
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(_LATENCY_S)
        message = {"role": "assistant", "content": "ACTION: NOOP"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        content = json.dumps({**body, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def _server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Late)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


@program
def main(argv: list[str] | None = None) -> int:
    """Measure, print the page, and store it."""
    config = tyro.cli(
        ExecutorProofConfig,
        args=argv,
        prog="python -m atari_vlm.proofs.executor",
        description=__doc__,
    )
    eight = EvaluateConfig(executor="ray", parallel=8)
    with TemporaryDirectory() as home, session(eight):
        folder = Path(home)
        rates = [*games(config, folder), *questions(config, folder)]
        page = to_markdown(config, rates, empty(config, folder))
    print(page)
    if config.out is not None:
        atomic_write(config.out / f"{_PAGE}.md", page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
