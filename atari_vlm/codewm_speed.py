"""A language model as simulator against the program that one wrote: see ``python -m atari_vlm.codewm speed --help``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from atari_vlm.errors import AtariVLMError, StoppedError
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.reporting.live.page import live_page
from atari_vlm.reporting.live.state import Expected
from atari_vlm.runs.bars import Bars
from atari_vlm.runs.command_line import parse, resume_hint
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.options import shared
from atari_vlm.runs.run_folder import RunFolder
from atari_vlm.runs.stopping import stop_on_signals
from atari_vlm.runs.terminal import messages, results
from atari_vlm.synthesis.benchmark.catalogue import BenchmarkEnv, find_env
from atari_vlm.synthesis.command_options import keys_from
from atari_vlm.synthesis.run_search import Place
from atari_vlm.synthesis.searching import Manner
from atari_vlm.synthesis.speed.measuring import Speed, Subject
from atari_vlm.synthesis.speed.options import SpeedCommand
from atari_vlm.synthesis.speed.programs import programs_for
from atari_vlm.synthesis.speed.running import COLUMNS, SPEED, TABLE, SpeedConfig, rows_of, run_speed
from atari_vlm.synthesis.subject import collected
from atari_vlm.synthesis.writers import load_asked
from atari_vlm.vlm.base import closing
from atari_vlm.vlm.layers.budget import Budget

_APART = 20  # steps of play between two transitions, so that they differ


def speed(arguments: Sequence[str]) -> int:
    """Measure both ways to simulate a step: ask a language model, or run a program that one wrote.

        python -m atari_vlm.codewm speed --env CartPole-v1
        python -m atari_vlm.codewm speed --model gpt-4o --n_transitions 10 --budget-usd 2

    Both get the same transitions of real play. Told are seconds, dollars and correctness; every transition has its own question.
    Everything that was answered is journalled: the same command continues a run that was stopped, and nothing is asked twice.
    """
    config = parse(SpeedCommand, arguments, speed.__doc__)
    console = messages()
    begun: list[Path] = []

    def on_run(run: RunFolder) -> None:
        begun.append(run.path)
        console.print(f"run {run.path} ({'continued' if run.resumed else 'new'})")

    def opened(journal: Journal, budget: Budget) -> None:
        total = config.n_transitions * len(config.env)
        page.expect(Expected(total, "transitions", begun[0].name, budget, journal))

    with (
        keys_from(config.key_folder),
        live_page(config) as page,
        closing(load_asked(config)) as vlm,
    ):
        subjects = _subjects(config)
        console.print(f"simulator {vlm.name}")
        options = SpeedConfig(**shared(config, SpeedConfig))
        try:
            with stop_on_signals() as stop, Bars(console) as bars:
                manner = Manner(page.beside(bars), stop, config.key(), opened)
                place = Place.asked_for(config)
                found = run_speed(place, vlm, subjects, options, manner=manner, on_run=on_run)
        except StoppedError:
            console.print(f"stopped; {resume_hint(config, begun[0])}")
            return stop.exit_code
        except AtariVLMError as error:
            if error.exit_code in (74, 75) and begun:
                console.print(f"not finished; {resume_hint(config, begun[0], error)}")
            raise
        for row in rows_of(found):
            page.add_row(dict(zip(COLUMNS, row, strict=True)))
        page.finish()
    _show(found, begun[0])
    return 0


def _subjects(config: SpeedCommand) -> list[Subject]:
    """Transitions, rules and program of every environment."""
    envs = [find_env(name) for name in config.env]
    programs = programs_for(envs, config.programs)
    return [
        Subject(_transitions(env, config), env.description, *programs[env.env_id]) for env in envs
    ]


def _transitions(env: BenchmarkEnv, config: SpeedCommand) -> TransitionBuffer:
    """Some steps of random play, apart from one another."""
    played = collected(env, config.save_dir, "random", _APART * config.n_transitions, config.seed)
    return played.take(np.arange(config.n_transitions) * _APART + _APART - 1)


def _show(found: Sequence[Speed], run: Path) -> None:
    table = Table(*COLUMNS, title=f"{', '.join(found[0].models)} against programs")
    for row in rows_of(found):
        table.add_row(*row)
    out = results(160)
    out.print(table)
    for one in found:
        if one.subject.source == "bundled" and "CartPole" not in one.subject.buffer.env_id:
            out.print(
                f"the bundled program of {one.subject.buffer.env_id} is a sum with fitted weights, not its dynamics: "
                "--programs RUN measures one that a search found"
            )
    out.print(f"{run / SPEED}, {run / TABLE}")
