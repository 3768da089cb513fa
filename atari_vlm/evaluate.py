"""Games x agents x seeds: raw and human-normalised scores with intervals, beside random and scripted play.

    python -m atari_vlm.evaluate --games Pong Breakout --agents random scripted --seeds 0 1 2 --max-steps 1000
    python -m atari_vlm.evaluate --games Pong --agents gpt-4o --episodes 2 --budget-usd 5 --parallel 4

Random and scripted are always among the agents, so that every score has its baselines from the same harness. Everything is
journalled: the same command, or ``--resume RUN``, continues after any stop. The folder receives ``results.md``,
``results.csv`` and ``results.json``; ``python -m atari_vlm.report RUN`` shows every step.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from atari_vlm.conditions import machine
from atari_vlm.ending import program
from atari_vlm.errors import AtariVLMError, StoppedError
from atari_vlm.evaluation.cells import Cell, EvaluateConfig
from atari_vlm.evaluation.evaluate import Watching, evaluate
from atari_vlm.evaluation.results_files import to_markdown
from atari_vlm.runs.command_line import parse, resume_hint
from atari_vlm.runs.display import ProgressDisplay
from atari_vlm.runs.fallbacks import ALL_FELL_BACK
from atari_vlm.runs.stopping import stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.vlm.layers.budget import Budget


def conditions() -> list[tuple[str, str]]:
    """Hardware and versions."""
    info: dict[str, Any] = machine()
    versions = ", ".join(f"{name} {version}" for name, version in info["versions"].items())
    return [("hardware", f"{info['cpu']}, Python {info['python']}"), ("versions", versions)]


def run(config: EvaluateConfig) -> int:
    """Evaluate, print the tables and where they are; returns the exit code."""
    console = messages()
    with stop_on_signals() as stop, ProgressDisplay(console) as display:
        begun: list[Path] = []

        def began(run: Path, episodes: int, budget: Budget) -> None:
            begun.append(run)
            display.expect(episodes, budget)

        def cell_began(cell: Cell) -> None:
            console.print(f"{cell.game}, {cell.agent}:", style="bold")

        try:
            folder, evaluation = evaluate(
                config, Watching(display, stop, conditions(), cell_began, began)
            )
        except StoppedError:
            console.print(f"stopped; {resume_hint(config, begun[0])}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code == 75 and begun:
                console.print(f"not finished; {resume_hint(config, begun[0], error)}")
            raise
    out = results()
    out.print(to_markdown(evaluation))
    out.print(f"results: {folder}/results.md, results.csv, results.json")
    out.print(f"every step: python -m atari_vlm.report {folder}")
    fallbacks = [
        (name, value) for name, value in evaluation.conditions if name.startswith("fallbacks")
    ]
    for name, value in fallbacks:
        console.print(f"{name}: {value}", style="bold")
    return ALL_FELL_BACK if any(value.startswith("every") for _, value in fallbacks) else 0


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(parse(EvaluateConfig, argv, __doc__))


if __name__ == "__main__":
    sys.exit(main())
