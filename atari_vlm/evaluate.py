"""Games x agents x seeds: raw and human-normalised scores with intervals, beside random and scripted play.

    python -m atari_vlm.evaluate --games Pong Breakout --agents random scripted --seeds 0 1 2 --max-steps 1000
    python -m atari_vlm.evaluate --games Pong --agents gpt-4o --episodes 2 --budget-usd 5 --parallel 4

Random and scripted are always among the agents, so that every score has its baselines from the same harness. Everything is
journalled: the same command, or ``--resume RUN``, continues after any stop. The folder receives ``results.md``,
``results.csv`` and ``results.json``; ``python -m atari_vlm.report RUN`` shows every step.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from atari_vlm.bench.measure import machine
from atari_vlm.errors import AtariVLMError
from atari_vlm.reporting.evaluation import EvaluateConfig, Watching, cells, evaluate
from atari_vlm.reporting.results import to_markdown
from atari_vlm.training.journal import EpisodeRow
from atari_vlm.training.player import EpisodeSpec
from atari_vlm.training.rollout import StoppedError
from atari_vlm.training.stopping import stop_on_signals
from atari_vlm.types import Transition

_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("episodes · {task.fields[steps]:,} steps · {task.fields[calls]:,} calls"),
    TimeElapsedColumn(),
)


class Display:
    """The progress line on stderr; without a terminal there is none but the last."""

    def __init__(self, config: EvaluateConfig):
        self._of = {spec.episode: f"{cell.game}, {cell.agent}" for cell in cells(config) for spec in cell.specs}
        self._bar = Progress(*_COLUMNS, console=Console(stderr=True))
        self._task = self._bar.add_task("evaluating", total=len(self._of), steps=0, calls=0)
        self._lock = threading.Lock()
        self._steps = 0
        self._asked: dict[int, int] = {}

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def episode_began(self, spec: EpisodeSpec) -> None:
        """Say who plays what."""
        self._bar.update(self._task, description=self._of[spec.episode])

    def step_done(self, spec: EpisodeSpec, transition: Transition, asked: int) -> None:
        """Count steps and calls."""
        with self._lock:
            self._steps += 1
            self._asked[spec.episode] = asked
            self._bar.update(self._task, steps=self._steps, calls=sum(self._asked.values()))

    def episode_ended(self, row: EpisodeRow) -> None:
        """Count the episode."""
        self._bar.advance(self._task)


def conditions() -> list[tuple[str, str]]:
    """Hardware and versions."""
    info: dict[str, Any] = machine()
    versions = ", ".join(f"{name} {version}" for name, version in info["versions"].items())
    return [("hardware", f"{info['cpu']}, Python {info['python']}"), ("versions", versions)]


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, evaluate, print the tables and where they are; 0 when all was played."""
    try:
        config = tyro.cli(EvaluateConfig, args=argv, prog="python -m atari_vlm.evaluate", description=__doc__)
        with stop_on_signals() as stop, Display(config) as display:
            try:
                folder, found = evaluate(config, Watching(display, stop, conditions()))
            except StoppedError:
                print("stopped; the same command continues", file=sys.stderr)
                return stop.exit_code
        print(to_markdown(found))
        print(f"results: {folder}/results.md, results.csv, results.json; python -m atari_vlm.report {folder}")
        return 0
    except AtariVLMError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
