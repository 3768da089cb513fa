"""``codewm evaluate``: what the programs that searches found are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from atari_vlm.errors import ConfigError
from atari_vlm.reporting.live.page import live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.progress import Quiet, Task, running
from atari_vlm.runs.terminal import messages, results
from atari_vlm.synthesis.benchmark.evaluation import saved_programs, write_evaluation
from atari_vlm.synthesis.measuring import (
    MEASURED,
    Measuring,
    cells_of,
    check_unchanged,
    measured,
)
from atari_vlm.synthesis.measuring_options import EvaluateCommand
from atari_vlm.synthesis.on_workers import workers
from atari_vlm.synthesis.subject import named_env


def evaluate(arguments: Sequence[str]) -> int:
    """Measure what searches found: how well the programs predict, and what planning in them brings in the real environment.

        python -m atari_vlm.codewm evaluate --save_dir atari_vlm_results/CartPole-v1-gif-mcts-001
        python -m atari_vlm.codewm evaluate --save_dir atari_vlm_results --real_env True --n_episodes 10

    Predictions are judged on --buffer, else on transitions that are played now. Everything is also written into the runs, as
    evaluation.json.
    """
    config = parse(EvaluateCommand, arguments, evaluate.__doc__)
    asked = named_env(config)  # first: it may bring an environment of one's own
    every = saved_programs(config.save_dir)
    saved = [each for each in every if asked is None or asked.env_id == each.env.env_id]
    if not saved:
        raise ConfigError(f"{config.save_dir} holds no program of {config.env or config.idx}")
    for each in saved:
        check_unchanged(each)
    measuring = Measuring.asked_for(config, saved)
    out, console = results(180), messages()
    rows: dict[Path, tuple[str, ...]] = {}
    work = Task("programs", len(saved), "programs")
    with (
        workers(config) as opened,
        live_page(config) as page,
        running(page.beside(Quiet()), work) as advanced,
    ):
        page.expect(Expected(len(saved), "programs", config.save_dir.name))
        for each, found in measured(measuring, saved, opened, console.print):
            write_evaluation(each.folder, found)
            row = rows[each.folder] = (each.folder.name, *cells_of(found))
            page.add_row(dict(zip(MEASURED, row, strict=True)))
            advanced()
        page.finish()
    table = Table(*MEASURED, title="programs")
    for each in saved:
        table.add_row(*rows[each.folder])
    out.print(table)
    for note in dict.fromkeys(filter(None, (each.env.note for each in saved))):
        out.print(note)
    return 0
