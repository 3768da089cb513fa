"""Studies: any agents on any games, with raw and human-normalised scores, intervals, and baselines from the same harness.

    python -m atari_vlm.evaluate --suite quick --agents nearest-example mcts@emulator
    python -m atari_vlm.evaluate --games Pong --agents "gpt=gpt-4o,model=gpt-5.4-mini,frames=4,decide_every=4" --budget-usd 5
    python -m atari_vlm.evaluate --study study.yaml
    python -m atari_vlm.evaluate fidelity --game Pong    # instead: world models side by side; fidelity --help

Random and scripted join every study, so that a score has its baselines. Everything is journalled: the same command, or
--resume RUN, continues after any stop. The folder receives results.csv, .json, .md and .tex, episodes.csv, paired.csv,
ablation.csv (with --ablate) and report.html. --estimate says before what a study will take.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from atari_vlm.conditions import machine
from atari_vlm.ending import program
from atari_vlm.errors import AtariVLMError, StoppedError
from atari_vlm.evaluation.cells import Cell
from atari_vlm.evaluation.estimate import estimate
from atari_vlm.evaluation.evaluate import Evaluation, Watching
from atari_vlm.evaluation.model_table.options import FidelityConfig
from atari_vlm.evaluation.model_table.table import to_markdown as table_of
from atari_vlm.evaluation.model_table.table import write_table
from atari_vlm.evaluation.results import Results
from atari_vlm.evaluation.results_files import to_markdown
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.reporting.live.page import LivePage, live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.runs.command_line import parse, resume_hint
from atari_vlm.runs.display import ProgressDisplay
from atari_vlm.runs.fallbacks import ALL_FELL_BACK
from atari_vlm.runs.stopping import stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.vlm.layers.budget import Budget

_FIDELITY = """World models of a game side by side: how faithful, what a planner wins with them, how fast, what they cost.

    python -m atari_vlm.evaluate fidelity --game Pong
    python -m atari_vlm.evaluate fidelity --models emulator golden copy atari_vlm_results/Pong-rem-001/model

Models are named (emulator, golden, copy, corrupt) or folders of checkpoints of any kind. The real game is played without
sticky actions. SAVE_DIR receives fidelity.json and fidelity.md.
"""


def conditions() -> list[tuple[str, str]]:
    """Hardware and versions."""
    info: dict[str, Any] = machine()
    versions = ", ".join(f"{name} {version}" for name, version in info["versions"].items())
    return [("hardware", f"{info['cpu']}, Python {info['python']}"), ("versions", versions)]


def show_estimate(config: EvaluateConfig) -> int:
    """Say what a study will take; returns the exit code."""
    with stop_on_signals() as stop:
        folder, rows = estimate(config, Watching(stop=stop))
    table = RichTable("agent", "calls", "input tokens", "output tokens", "dollars", "hours")
    for row in rows:
        counts = (row["calls"], row["input_tokens"], row["output_tokens"])
        words = ["unknown" if value is None else f"{value:,}" for value in counts]
        cost = row["cost_usd"]
        dollars = "unknown" if cost is None else f"{cost:.4g}"
        table.add_row(row["agent"], *words, dollars, f"{row['hours']:.3g}")
    out = results()
    out.print(table)
    out.print(f"estimate: {folder / 'estimate.json'}")
    return 0


def run(config: EvaluateConfig) -> int:
    """Evaluate, print the tables and where they are; returns the exit code."""
    with live_page(config) as page:
        return show_estimate(config) if config.estimate else play(config, page)


def play(config: EvaluateConfig, page: LivePage) -> int:
    """Play the study; returns the exit code."""
    console = messages()
    with stop_on_signals() as stop, ProgressDisplay(console) as display:
        begun: list[Path] = []

        def began(run: Path, episodes: int, budget: Budget) -> None:
            begun.append(run)
            display.expect(episodes, budget)

        def cell_began(cell: Cell) -> None:
            console.print(f"{cell.game.name}, {cell.variant.title}:", style="bold")

        watching = Watching(page.beside(display), stop, conditions(), cell_began, began)
        try:
            with Evaluation(config, watching) as study:
                folder, evaluation = study.run.path, play_shown(study, page)
        except StoppedError:
            console.print(f"stopped; {resume_hint(config, begun[0])}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code == 75 and begun:
                console.print(f"not finished; {resume_hint(config, begun[0], error)}")
            raise
    out = results()
    out.print(to_markdown(evaluation))
    out.print(f"results: {folder}/results.md, .csv, .json, .tex, episodes.csv, paired.csv")
    out.print(f"report: {folder}/report.html")
    fallbacks = [
        (name, value) for name, value in evaluation.conditions if name.startswith("fallbacks")
    ]
    for name, value in fallbacks:
        console.print(f"{name}: {value}", style="bold")
    return ALL_FELL_BACK if any(value.startswith("every") for _, value in fallbacks) else 0


def play_shown(study: Evaluation, page: LivePage) -> Results:
    """Play what is not played yet, with the table so far on the page."""
    expected = Expected(
        total=study.num_episodes,
        title=study.run.path.name,
        budget=study.budget,
        journal=study.run.journal,
        rows=study.rows_so_far(),
    )
    page.expect(expected)
    results = study.play()
    page.finish()
    return results


def compare_models(config: FidelityConfig) -> int:
    """Measure every model, print the table and where it is; returns the exit code."""
    table = write_table(config, say=lambda line: messages().print(line))
    out = results()
    out.print(table_of(table), soft_wrap=True)
    out.print(f"table: {config.save_dir}/fidelity.md, fidelity.json")
    return 0


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["fidelity"]:
        return compare_models(parse(FidelityConfig, arguments[1:], _FIDELITY))
    return run(parse(EvaluateConfig, arguments, __doc__))


if __name__ == "__main__":
    sys.exit(main())
