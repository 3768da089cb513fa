"""Evaluation: games x agents x seeds, every episode journalled, every score beside random and scripted play.

All agents get the same episode seeds. Nothing learns here, so episodes may be played in any number at once.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm.agents.base import Agent
from atari_vlm.agents.make import SIMPLE_NAMES, make_agent
from atari_vlm.errors import NotSupportedError
from atari_vlm.evaluation.cells import (
    Cell,
    EvaluateConfig,
    agent_options,
    cells,
    check,
    conditions_of,
    environment_of,
    run_request,
    settings_of,
)
from atari_vlm.evaluation.results import Results, Run
from atari_vlm.evaluation.results_files import to_csv, to_json, to_markdown
from atari_vlm.files import atomic_write
from atari_vlm.runs.answered import answered
from atari_vlm.runs.command_line import command_line
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.fallbacks import verdict
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.options import pairs
from atari_vlm.runs.outputs import cut_episodes
from atari_vlm.runs.player import Player, PlayerOptions
from atari_vlm.runs.progress import Progress, Quiet
from atari_vlm.runs.run_folder import RunFolder
from atari_vlm.runs.trackers import EpisodeLog, LogConfig, check_installed
from atari_vlm.settings import flat
from atari_vlm.spaces import Env
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Capability, NoScores, Sampling, close_vlm
from atari_vlm.vlm.catalogue import OFFLINE_NAMES
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.layers.stack import budget_of, limited
from atari_vlm.vlm.load import load_vlm


@dataclass(frozen=True)
class Watching:
    """Who is told what goes on, what ends the run early, and conditions to note with the results."""

    progress: Progress = field(default_factory=Quiet)
    stop: threading.Event | None = None
    conditions: Sequence[tuple[str, str]] = ()
    cell_began: Callable[[Cell], object] = lambda cell: None
    began: Callable[[Path, int, Budget], object] = lambda run, episodes, budget: None


def evaluate(config: EvaluateConfig, watching: Watching | None = None) -> tuple[Path, Results]:
    """Play everything that is not played yet and write the tables, also when it ends early; the run folder and the results.

    Raises what the agents raise; the run can then be continued with the same configuration.
    """
    check(config)
    check_installed(config.log)
    watching = watching or Watching()
    budget = budget_of(config)
    with ExitStack() as opened:
        vlms = {agent: _vlm(config, agent, budget, opened) for agent in config.all_agents}
        run = RunFolder.open(run_request(config))
        opened.callback(run.close)
        laid_out = list(cells(config, run.parts))
        by_episode = {str(spec.episode): cell for cell in laid_out for spec in cell.specs}
        run.journal.set_meta(
            games={number: cell.game for number, cell in by_episode.items()},
            labels={number: f"{cell.game}, {cell.agent}" for number, cell in by_episode.items()},
        )
        budget.restore_from(_paid_replies(config, laid_out, run.journal))
        watching.began(run.path, len(by_episode), budget)
        log = EpisodeLog(
            run.path, LogConfig(config.log, flat(settings_of(config))), watching.progress.say
        )
        opened.callback(log.close)
        try:
            for cell in laid_out:
                watching.cell_began(cell)
                _play(config, cell, run.journal, vlms[cell.agent], watching)
                log.update(run.journal.episodes())
            run.finish()
        finally:
            names = {agent: vlms[agent].name for agent in config.paid_agents}
            conditions = [*_answered(config, laid_out, names, run.journal), *watching.conditions]
            results = collect(config, laid_out, run.journal, conditions)
            write_results(run.path, results)
        return run.path, results


def _paid_replies(
    config: EvaluateConfig, laid_out: Sequence[Cell], journal: Journal
) -> Iterator[Mapping[str, Any]]:
    """What was paid for in the run's journal already."""
    paid = [cell for cell in laid_out if cell.agent in config.paid_agents]
    for spec in itertools.chain.from_iterable(cell.specs for cell in paid):
        for call in journal.calls(spec.episode):
            if call.reply and call.paid:
                yield call.reply


def collect(
    config: EvaluateConfig,
    laid_out: Sequence[Cell],
    journal: Journal,
    conditions: Sequence[tuple[str, str]] = (),
) -> Results:
    """The finished runs of a journal with their conditions."""
    rows = {row.episode: row for row in journal.episodes() if row.status == "done"}
    cut = set(
        cut_episodes(
            journal, list(rows.values()), {"max_steps": config.max_steps, **environment_of(config)}
        )
    )
    runs = []
    for cell in laid_out:
        for i, seed in enumerate(config.seeds):
            specs = cell.specs[i * config.episodes : (i + 1) * config.episodes]
            if all(spec.episode in rows for spec in specs):
                runs.append(_run(cell, seed, [rows[spec.episode] for spec in specs], cut))
    missing = sum(spec.episode not in rows for cell in laid_out for spec in cell.specs)
    notes = []
    if missing:
        notes.append(
            f"Unfinished: {missing} episodes are still to be played; the same command continues."
        )
    if config.max_steps is not None:
        notes.append(
            f"Episodes are cut after {config.max_steps:,} steps; published scores are of whole episodes."
        )
    return Results(
        tuple(runs), (*conditions_of(config), *conditions), command_line(config), tuple(notes)
    )


def _answered(
    config: EvaluateConfig, laid_out: Sequence[Cell], names: Mapping[str, str], journal: Journal
) -> Iterator[tuple[str, str]]:
    """What answered for each agent that may cost something, and how much of its play was not its own."""
    for agent, asked in names.items():
        episodes = [spec.episode for cell in laid_out if cell.agent == agent for spec in cell.specs]
        replies = (
            call.reply for episode in episodes for call in journal.calls(episode) if call.reply
        )
        for name, value in answered(asked, replies, config.base_url, None).items():
            yield f"{name} ({agent})", value
        said, _ = verdict(
            journal, [row for row in journal.episodes() if row.episode in set(episodes)]
        )
        if said:
            yield f"fallbacks ({agent})", said


def write_results(folder: Path, results: Results) -> None:
    """Write results.md, results.csv and results.json."""
    atomic_write(folder / "results.md", to_markdown(results))
    atomic_write(folder / "results.csv", to_csv(results))
    atomic_write(folder / "results.json", to_json(results))


class NoVLM(NoScores):
    """Stands where an agent that asks nobody would have its VLM; it has nothing to say."""

    name = "none"
    capabilities: frozenset[Capability] = frozenset()

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Refuse."""
        raise NotSupportedError("this agent asks no VLM")


def _play(
    config: EvaluateConfig, cell: Cell, journal: Journal, vlm: VLM, watching: Watching
) -> None:
    environment = environment_of(config)
    options = PlayerOptions(
        max_steps=config.max_steps,
        parallel=config.parallel,
        progress=watching.progress,
        stop=watching.stop,
    )
    player = Player(
        journal, vlm, lambda: make_env({**environment, "game_name": cell.game}), options
    )
    simple, asked = cell.agent in SIMPLE_NAMES, agent_options(config)

    def agent(journalled: VLM, _: Env) -> Agent:
        vlm = None if simple else journalled
        return make_agent(cell.agent, vlm=vlm, prompt_type=config.prompt_type, options=asked)

    player.play(cell.specs, agent)


def _vlm(config: EvaluateConfig, agent: str, budget: Budget, opened: ExitStack) -> VLM:
    if agent in SIMPLE_NAMES:
        return NoVLM()
    if agent in OFFLINE_NAMES:
        return load_vlm(agent)
    key, more = config.key(), pairs(config.vlm_option, "--vlm-option")
    backend = load_vlm(
        agent,
        model=config.model,
        api_key=key,
        base_url=config.base_url,
        timeout_s=config.timeout_s,
        **more,
    )
    opened.callback(close_vlm, backend)
    vlm = limited(backend, config, api_key=key, budget=budget)
    opened.callback(vlm.close)
    return vlm


def _run(cell: Cell, seed: int, rows: list[EpisodeRow], cut: Collection[int]) -> Run:
    costs = [row.cost_usd for row in rows]
    return Run(
        game=cell.game,
        agent=cell.agent,
        seed=seed,
        returns=tuple(row.episode_return or 0.0 for row in rows),
        steps=sum(row.length or 0 for row in rows),
        fallbacks=sum((row.fallback_rate or 0.0) * (row.length or 0) for row in rows),
        cost_usd=None if None in costs else float(sum(cost for cost in costs if cost is not None)),
        cut=sum(row.episode in cut for row in rows),
    )
