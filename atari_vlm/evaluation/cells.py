"""What an evaluation plays: games x agents x seeds, laid out as numbered episodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atari_vlm import games as known_games
from atari_vlm import prompts
from atari_vlm.agents.make import SIMPLE_NAMES, agent_names
from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.runs.player import EpisodeSpec
from atari_vlm.runs.run_folder import RunRequest
from atari_vlm.runs.seeds import SEEDS_PER_RUN, eval_seed
from atari_vlm.vlm.catalogue import OFFLINE_NAMES

BASELINES = ("random", "scripted")
ENVIRONMENT: dict[str, Any] = {"env": {}, "latency": None}  # the same for all: the environment's own defaults
_EXECUTION = ("budget_usd", "max_calls", "max_tokens", "parallel", "cache", "timeout_s")
_NOT_SETTINGS = (*_EXECUTION, "api_key", "save_dir", "run_name", "resume", "config")


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
    """name (in --save-dir) or path of a run to continue; what it was started with holds"""
    config: Path | None = None
    """YAML file with any of these options; the command line goes before it"""

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


def check(config: EvaluateConfig) -> None:
    """Raise ``ConfigError`` (or its ``UnknownNameError``) for what cannot be evaluated."""
    for name in config.games:
        known_games.game(name)
    check_positive(episodes=config.episodes, parallel=config.parallel, timeout_s=config.timeout_s)
    if config.max_steps is not None:
        check_positive(max_steps=config.max_steps)
    if not config.games or not config.seeds:
        raise ConfigError("give at least one game and one seed")
    if len(set(config.seeds)) < len(config.seeds) or any(not 0 <= seed <= 100_000 for seed in config.seeds):
        raise ConfigError(f"seeds must be different numbers from 0 to 100000, got {config.seeds}")
    if config.episodes > SEEDS_PER_RUN:
        raise ConfigError(f"episodes must be at most {SEEDS_PER_RUN}, got {config.episodes}")
    prompts.check_style(config.prompt_type)
    for agent in config.agents:
        if agent not in agent_names():
            raise UnknownNameError("agent", agent, agent_names())
    if (config.model or config.base_url or config.api_key) and len(config.paid_agents) != 1:
        raise ConfigError(
            f"--model, --base-url and --api-key belong to one agent, but {len(config.paid_agents)} of the agents are not "
            f"offline ones ({', '.join(config.paid_agents) or 'none'}); evaluate them one at a time"
        )


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


def settings_of(config: EvaluateConfig) -> dict[str, Any]:
    """What the results depend on."""
    settings = {name: value for name, value in asdict(config).items() if name not in _NOT_SETTINGS}
    return {"program": "evaluate", **ENVIRONMENT, **settings, "games": config.game_names, "agents": config.all_agents}


def run_request(config: EvaluateConfig) -> RunRequest:
    """The run folder that is wanted."""
    execution = {name: value for name, value in asdict(config).items() if name in _EXECUTION}
    return RunRequest(
        save_dir=config.save_dir,
        label="-".join(["evaluate", *config.game_names]),
        settings=json.loads(json.dumps(settings_of(config))),
        execution=json.loads(json.dumps(execution, default=str)),
        run_name=config.run_name,
        resume=config.resume,
        command=command_of(config),
    )


def command_of(config: EvaluateConfig) -> dict[str, Any]:
    """The options as plain data, without the key and without what names the run."""
    hidden = ("api_key", "save_dir", "run_name", "resume", "config")
    values = {name: value for name, value in asdict(config).items() if name not in hidden}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def conditions_of(config: EvaluateConfig) -> Iterator[tuple[str, str]]:
    """What the numbers rest on."""
    cut = "the environment's own 10,000" if config.max_steps is None else f"{config.max_steps:,}"
    yield "seeds", ", ".join(map(str, config.seeds))
    yield "episodes", f"{config.episodes} per seed and game, cut after {cut} steps"
    yield "environment", "AtariVLM/<Game>-v5: frame skip 4, sticky actions 0.25, minimal action set"
    yield "prompt", f"{config.prompt_type}, version {prompts.prompt_version(config.prompt_type)}"
    if config.paid_agents:
        yield "models", ", ".join(f"{name} ({config.model or 'default model'})" for name in config.paid_agents)
    yield "normalisation", "Atari-57 human and random reference scores (atari_vlm/data/reference_scores.csv)"
