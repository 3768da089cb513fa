"""Evaluation: games x agents x seeds, every episode journalled, every score beside random and scripted play.

All agents get the same episode seeds. Nothing learns here, so episodes may be played in any number at once.
"""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm import games as known_games
from atari_vlm import prompts
from atari_vlm.agents.base import Agent
from atari_vlm.agents.make import SIMPLE_NAMES, agent_names, make_agent
from atari_vlm.errors import ConfigError, NotSupportedError, UnknownNameError, check_positive
from atari_vlm.files import atomic_write
from atari_vlm.reporting import results as tables
from atari_vlm.training.environments import make_env
from atari_vlm.training.journal import EpisodeRow, Journal
from atari_vlm.training.player import EpisodeSpec, Player, PlayerOptions, Progress, Silence
from atari_vlm.training.run_folder import RunFolder, RunRequest
from atari_vlm.training.trainer_options import SEEDS_PER_RUN, eval_seed
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Capability, NoScores, Sampling
from atari_vlm.vlm.budget import Budget, BudgetVLM
from atari_vlm.vlm.cache import CachedVLM
from atari_vlm.vlm.catalogue import OFFLINE_NAMES
from atari_vlm.vlm.load import load_vlm

BASELINES = ("random", "scripted")
_ENVIRONMENT: dict[str, Any] = {"env": {}, "latency": None}  # the same for all: the environment's own defaults
_EXECUTION = ("budget_usd", "max_calls", "max_tokens", "parallel", "cache", "timeout_s")
_NOT_SETTINGS = (*_EXECUTION, "api_key", "save_dir", "run_name", "resume")


@dataclass(frozen=True)
class EvaluateConfig:
    """What is played, by whom, and what it may cost."""

    games: list[str] = field(default_factory=lambda: ["Pong"])
    """names or ids of games"""
    agents: list[str] = field(default_factory=lambda: list(BASELINES))
    """random, noop, or any name that train's --vlm takes; random and scripted are always added"""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    """one run each: what the intervals are drawn over"""
    episodes: int = 1
    """episodes in a run; its score is their mean return"""
    max_steps: int | None = None
    """agent steps after which an episode is cut (none: the environment's own 10,000)"""
    prompt_type: str = "cot"
    """basic, cot or expert"""
    model: str | None = None
    """model id or path, for the one agent that is not an offline one"""
    base_url: str | None = None
    """OpenAI-compatible server, for the one agent that is not an offline one"""
    api_key: str | None = None
    """key for it; better in the vendor's environment variable"""
    budget_usd: float | None = None
    """stop before this much is spent"""
    max_calls: int | None = None
    """stop after so many paid calls"""
    max_tokens: int | None = None
    """stop after so many tokens of paid calls"""
    parallel: int = 1
    """episodes played at once"""
    cache: Path | None = None
    """file of a reply cache shared between runs"""
    timeout_s: float = 60.0
    """seconds to wait for one reply"""
    save_dir: Path = Path("atari_vlm_results")
    """where run folders lie"""
    run_name: str | None = None
    """name of the run folder (default: made from the games, numbered)"""
    resume: str | None = None
    """name or path of a run to continue"""

    def __post_init__(self) -> None:
        check_positive(episodes=self.episodes, parallel=self.parallel, timeout_s=self.timeout_s)
        if self.max_steps is not None:
            check_positive(max_steps=self.max_steps)
        if not self.games or not self.seeds:
            raise ConfigError("give at least one game and one seed")
        if len(set(self.seeds)) < len(self.seeds) or any(not 0 <= seed <= 100_000 for seed in self.seeds):
            raise ConfigError(f"seeds must be different numbers from 0 to 100000, got {self.seeds}")
        if self.episodes > SEEDS_PER_RUN:
            raise ConfigError(f"episodes must be at most {SEEDS_PER_RUN}, got {self.episodes}")
        prompts.check_style(self.prompt_type)
        for agent in self.agents:
            if agent not in agent_names():
                raise UnknownNameError("agent", agent, agent_names())
        if (self.model or self.base_url or self.api_key) and len(self.paid_agents) != 1:
            raise ConfigError(
                f"--model, --base-url and --api-key belong to one agent, but {len(self.paid_agents)} of the agents are not "
                f"offline ones ({', '.join(self.paid_agents) or 'none'}); evaluate them one at a time"
            )

    @property
    def game_names(self) -> list[str]:
        """Plain names, each once."""
        return list(dict.fromkeys(known_games.game(name).name for name in self.games))

    @property
    def all_agents(self) -> list[str]:
        """The baselines, then the others, each once."""
        return list(dict.fromkeys([*BASELINES, *self.agents]))

    @property
    def paid_agents(self) -> list[str]:
        """The agents whose calls may cost something."""
        return [name for name in self.all_agents if name not in (*SIMPLE_NAMES, *OFFLINE_NAMES)]


@dataclass(frozen=True)
class Cell:
    """One agent on one game: its episodes, seed after seed."""

    game: str
    agent: str
    specs: tuple[EpisodeSpec, ...]


def cells(config: EvaluateConfig) -> Iterator[Cell]:
    """What is to be played, in order: game by game, baselines first. All agents get the same episode seeds."""
    number = 0
    for game in config.game_names:
        for agent in config.all_agents:
            seeds = [eval_seed(seed, i) for seed in config.seeds for i in range(config.episodes)]
            yield Cell(game, agent, tuple(EpisodeSpec(number + i, "eval", seed) for i, seed in enumerate(seeds)))
            number += len(seeds)


@dataclass(frozen=True)
class Watching:
    """Who is told what goes on, what ends the run early, and conditions to note with the results."""

    progress: Progress = field(default_factory=Silence)
    stop: threading.Event | None = None
    conditions: Sequence[tuple[str, str]] = ()


def evaluate(config: EvaluateConfig, watching: Watching | None = None) -> tuple[Path, tables.Results]:
    """Play everything that is not played yet and write the tables, also when it ends early; the run folder and the results.

    Raises what the agents raise; the run can then be continued with the same configuration.
    """
    watching = watching or Watching()
    run = RunFolder.open(_request(config))
    try:
        by_episode = {str(spec.episode): cell for cell in cells(config) for spec in cell.specs}
        run.journal.set_meta(
            games={number: cell.game for number, cell in by_episode.items()},
            labels={number: f"{cell.game}, {cell.agent}" for number, cell in by_episode.items()},
        )
        budget = _restored_budget(config, run.journal)
        try:
            for cell in cells(config):
                _play(config, cell, run.journal, budget, watching)
            run.journal.set_meta(finished=True)
        finally:
            found = collect(config, run.journal, watching.conditions)
            write_results(run.path, found)
        return run.path, found
    finally:
        run.close()


def collect(config: EvaluateConfig, journal: Journal, conditions: Sequence[tuple[str, str]] = ()) -> tables.Results:
    """The finished runs of a journal with their conditions."""
    rows = {row.episode: row for row in journal.episodes() if row.status == "done"}
    runs = []
    for cell in cells(config):
        for i, seed in enumerate(config.seeds):
            specs = cell.specs[i * config.episodes : (i + 1) * config.episodes]
            if all(spec.episode in rows for spec in specs):
                runs.append(_run(cell, seed, [rows[spec.episode] for spec in specs]))
    missing = sum(len(cell.specs) for cell in cells(config)) - len(rows)
    notes = []
    if missing:
        notes.append(f"Unfinished: {missing} episodes are still to be played; the same command continues.")
    if config.max_steps is not None:
        notes.append(f"Episodes are cut after {config.max_steps:,} steps; published scores are of whole episodes.")
    command = f"python -m atari_vlm.evaluate {_flags(config)}"
    return tables.Results(tuple(runs), (*_conditions(config), *conditions), command, tuple(notes))


def write_results(folder: Path, found: tables.Results) -> None:
    """Write results.md, results.csv and results.json."""
    atomic_write(folder / "results.md", tables.to_markdown(found))
    atomic_write(folder / "results.csv", tables.to_csv(found))
    atomic_write(folder / "results.json", tables.to_json(found))


class NoVLM(NoScores):
    """Stands where an agent that asks nobody would have its VLM; it has nothing to say."""

    name = "none"
    capabilities: frozenset[Capability] = frozenset()

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Refuse."""
        raise NotSupportedError("this agent asks no VLM")


def _play(config: EvaluateConfig, cell: Cell, journal: Journal, budget: Budget, watching: Watching) -> None:
    options = PlayerOptions(
        max_steps=config.max_steps, parallel=config.parallel, progress=watching.progress, stop=watching.stop
    )
    vlm = _vlm(config, cell.agent, budget)
    player = Player(journal, vlm, lambda: make_env({**_ENVIRONMENT, "game_name": cell.game}), options)
    simple = cell.agent in SIMPLE_NAMES

    def agent(journalled: VLM) -> Agent:
        return make_agent(cell.agent, vlm=None if simple else journalled, prompt_type=config.prompt_type)

    player.play(cell.specs, agent)


def _vlm(config: EvaluateConfig, agent: str, budget: Budget) -> VLM:
    if agent in SIMPLE_NAMES:
        return NoVLM()
    if agent in OFFLINE_NAMES:
        return load_vlm(agent)
    vlm: VLM = BudgetVLM(
        load_vlm(
            agent,
            model=config.model,
            api_key=config.api_key,
            base_url=config.base_url,
            timeout_s=config.timeout_s,
        ),
        budget,
    )
    return vlm if config.cache is None else CachedVLM(vlm, config.cache)


def _restored_budget(config: EvaluateConfig, journal: Journal) -> Budget:
    """What may be spent, less what earlier parts of the run spent."""
    budget = Budget(config.budget_usd, config.max_calls, config.max_tokens)
    paid = [spec.episode for cell in cells(config) if cell.agent in config.paid_agents for spec in cell.specs]
    replies = [call.reply for episode in paid for call in journal.calls(episode) if call.reply]
    usage = [reply.get("usage", {}) for reply in replies]
    budget.restore(
        usd=sum(reply.get("cost_usd") or 0.0 for reply in replies),
        calls=len(replies),
        tokens=sum((used.get("input_tokens") or 0) + (used.get("output_tokens") or 0) for used in usage),
    )
    return budget


def _run(cell: Cell, seed: int, rows: list[EpisodeRow]) -> tables.Run:
    costs = [row.cost_usd for row in rows]
    return tables.Run(
        game=cell.game,
        agent=cell.agent,
        seed=seed,
        returns=tuple(row.episode_return or 0.0 for row in rows),
        steps=sum(row.length or 0 for row in rows),
        fallbacks=sum((row.fallback_rate or 0.0) * (row.length or 0) for row in rows),
        cost_usd=None if None in costs else float(sum(cost for cost in costs if cost is not None)),
    )


def _settings(config: EvaluateConfig) -> dict[str, Any]:
    settings = {name: value for name, value in asdict(config).items() if name not in _NOT_SETTINGS}
    return {"program": "evaluate", **_ENVIRONMENT, **settings, "games": config.game_names, "agents": config.all_agents}


def _request(config: EvaluateConfig) -> RunRequest:
    execution = {name: value for name, value in asdict(config).items() if name in _EXECUTION}
    return RunRequest(
        save_dir=config.save_dir,
        label="-".join(["evaluate", *config.game_names]),
        settings=json.loads(json.dumps(_settings(config))),
        execution=json.loads(json.dumps(execution, default=str)),
        run_name=config.run_name,
        resume=config.resume,
        command={"program": "evaluate", "flags": _flags(config)},
    )


def _flags(config: EvaluateConfig) -> str:
    """The command line that asks for these results again."""
    words: list[str] = []
    for name, value in asdict(config).items():
        if name in ("api_key", "resume", "run_name", "save_dir") or value is None:
            continue
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _conditions(config: EvaluateConfig) -> Iterator[tuple[str, str]]:
    cut = "the environment's own 10,000" if config.max_steps is None else f"{config.max_steps:,}"
    yield "seeds", ", ".join(map(str, config.seeds))
    yield "episodes", f"{config.episodes} per seed and game, cut after {cut} steps"
    yield "environment", "AtariVLM/<Game>-v5: frame skip 4, sticky actions 0.25, minimal action set"
    yield "prompt", f"{config.prompt_type}, version {prompts.prompt_version(config.prompt_type)}"
    if config.paid_agents:
        yield "models", ", ".join(f"{name} ({config.model or 'default model'})" for name in config.paid_agents)
    yield "normalisation", "Atari-57 human and random reference scores (atari_vlm/data/reference_scores.csv)"
