"""What does a model see? Questions about pictures whose answers the console's memory knows.

    python -m atari_vlm.perceive --agents gpt=gpt-4o --games Pong Breakout --seeds 0 1 --questions 20 --budget-usd 5
    python -m atari_vlm.perceive --agents "qwen=qwen-vl,base_url=http://127.0.0.1:8000/v1" --questions 10

What is where, how many, how many lives and points, which way does it move; each question plainly, once more, and beside an
example that is wrong. Everything is journalled: the same command, or --resume RUN, continues after any stop. The folder receives
questions.jsonl, questions.csv, perception.csv, perception.json and perception.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from atari_vlm.conditions import machine
from atari_vlm.ending import program
from atari_vlm.errors import AtariVLMError, StoppedError
from atari_vlm.evaluation.perception.perceive import PerceiveConfig, Watching, perceive
from atari_vlm.evaluation.perception.scores import to_markdown
from atari_vlm.reporting.live.page import LivePage, live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.runs.command_line import parse, resume_hint
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.progress import Quiet
from atari_vlm.runs.stopping import stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.vlm.layers.budget import Budget


def run(config: PerceiveConfig) -> int:
    """Ask, print the table and where it is; returns the exit code."""
    with live_page(config) as page:
        return ask(config, page)


def ask(config: PerceiveConfig, page: LivePage) -> int:
    """Ask; returns the exit code."""
    console = messages()
    info = machine()
    begun: list[Path] = []
    budgets: list[Budget] = []

    def began(folder: Path, series: int, budget: Budget) -> None:
        begun.append(folder)
        budgets.append(budget)

    def opened(journal: Journal, questions: int) -> None:
        title, budget = begun[0].name, budgets[0]
        page.expect(Expected(questions, "questions", title, budget, journal))

    def ended(agent: str, game: str, seed: int) -> None:
        console.print(f"{game}, seed {seed}, {agent}: answered")

    with stop_on_signals() as stop:
        conditions = [("hardware", f"{info['cpu']}, Python {info['python']}")]
        try:
            progress = page.beside(Quiet())
            watching = Watching(stop, began, ended, conditions, progress, opened, page.add_row)
            folder, rows = perceive(config, watching)
            page.finish()
        except StoppedError:
            console.print(f"stopped; {resume_hint(config, begun[0])}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code == 75 and begun:
                console.print(f"not finished; {resume_hint(config, begun[0], error)}")
            raise
    out = results()
    out.print(to_markdown(rows, ()))
    out.print(f"results: {folder}/perception.md, .csv, .json, questions.jsonl, .csv")
    return 0


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(parse(PerceiveConfig, argv, __doc__))


if __name__ == "__main__":
    sys.exit(main())
