"""What an evaluation plays: games x agents x seeds, laid out as numbered episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atari_vlm import games as known_games
from atari_vlm import prompts
from atari_vlm.agents.make import SIMPLE_NAMES, agent_names
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.runs.command_line import command_line, command_of
from atari_vlm.runs.continuing import ResumeRules
from atari_vlm.runs.options import (
    AnswerOptions,
    AskOptions,
    EpisodeOptions,
    FileOptions,
    FolderOptions,
    KeyOptions,
    LogOptions,
    ModelOptions,
    Options,
    PlayOptions,
    execution_of,
    names_of,
    pairs,
    shared,
)
from atari_vlm.runs.player import EpisodeSpec
from atari_vlm.runs.run_folder import RunRequest
from atari_vlm.runs.seeds import SEEDS_PER_RUN, eval_seed
from atari_vlm.settings import plain, with_changes
from atari_vlm.vlm.catalogue import OFFLINE_NAMES, family_of

BASELINES = ("random", "scripted")
_DEFAULTS = AnswerOptions()


@dataclass(frozen=True)
class StudyOptions(Options):
    """What is played, by whom."""

    games: list[str] = field(default_factory=lambda: ["Pong"])
    """names or ids of games"""
    agents: list[str] = field(default_factory=lambda: list(BASELINES))
    """random, noop, or any name that train's --vlm takes; random and scripted are always added"""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    """one run each: what the intervals are drawn over"""
    episodes: int = 1
    """episodes in a run; its score is their mean return"""


@dataclass(frozen=True)
class EvaluateConfig(
    FileOptions,
    FolderOptions,
    LogOptions,
    PlayOptions,
    KeyOptions,
    ModelOptions,
    AskOptions,
    AnswerOptions,
    EpisodeOptions,
    StudyOptions,
):
    """What is played, by whom, and what it may cost. Model, address and key are for the one agent that is not an offline one."""

    program = "evaluate"
    max_steps: int | None = None

    @property
    def game_names(self) -> list[str]:
        """Plain names, each once."""
        return list(dict.fromkeys(known_games.game(name).name for name in _each(self.games)))

    @property
    def all_agents(self) -> list[str]:
        """The baselines, then the others, each once."""
        return list(dict.fromkeys([*BASELINES, *_each(self.agents)]))

    @property
    def paid_agents(self) -> list[str]:
        """The agents whose calls may cost something."""
        return [name for name in self.all_agents if name not in (*SIMPLE_NAMES, *OFFLINE_NAMES)]


def _each(words: Sequence[str]) -> Iterator[str]:
    """Names, also where several stand in one word with commas between them."""
    return (name.strip() for word in words for name in word.split(",") if name.strip())


def check(config: EvaluateConfig) -> None:
    """Raise ``ConfigError`` (or its ``UnknownNameError``) for what cannot be evaluated."""
    check_positive(episodes=config.episodes)
    if not config.game_names or not config.seeds:
        raise ConfigError("give at least one game and one seed")
    if len(set(config.seeds)) < len(config.seeds) or any(
        not 0 <= seed <= 100_000 for seed in config.seeds
    ):
        raise ConfigError(f"seeds must be different numbers from 0 to 100000, got {config.seeds}")
    if config.episodes > SEEDS_PER_RUN:
        raise ConfigError(f"episodes must be at most {SEEDS_PER_RUN}, got {config.episodes}")
    for agent in config.all_agents:
        if agent not in agent_names():
            family = family_of(agent)
            hint = (
                f"it is a model of a family: --agents {family} --model {agent};" if family else ""
            )
            raise UnknownNameError("agent", agent, agent_names(), hint)
    theirs = [
        name
        for name in ("model", "base_url", "api_key", "api_key_env", "vlm_option")
        if getattr(config, name)
    ]
    if theirs and len(config.paid_agents) != 1:
        raise ConfigError(
            f"--{theirs[0].replace('_', '-')} belongs to one agent, but {len(config.paid_agents)} of the agents are not "
            f"offline ones ({', '.join(config.paid_agents) or 'none'}); evaluate them one at a time"
        )


@dataclass(frozen=True)
class Cell:
    """One agent on one game: its episodes, seed after seed."""

    game: str
    agent: str
    specs: tuple[EpisodeSpec, ...]


def cells(config: EvaluateConfig, earlier: Sequence[Mapping[str, Any]] = ()) -> Iterator[Cell]:
    """What is to be played, in order: game by game, baselines first. All agents get the same episode seeds.

    ``earlier`` is what the run was asked for before it was extended; those episodes keep their numbers.
    """
    numbers: dict[tuple[str, str, int], int] = {}
    for part in (*earlier, {}):
        for key in _episodes(dataclasses.replace(config, **part)):
            numbers.setdefault(key, len(numbers))
    for game in config.game_names:
        for agent in config.all_agents:
            keys = [key for key in _episodes(config) if key[:2] == (game, agent)]
            yield Cell(
                game, agent, tuple(EpisodeSpec(numbers[key], "eval", key[2]) for key in keys)
            )


def _episodes(config: EvaluateConfig) -> Iterator[tuple[str, str, int]]:
    """Game, agent and seed of every episode."""
    for game in config.game_names:
        for agent in config.all_agents:
            for seed in config.seeds:
                yield from ((game, agent, eval_seed(seed, i)) for i in range(config.episodes))


def settings_of(config: EvaluateConfig) -> dict[str, Any]:
    """What the results depend on; options that are left as they are by default are not among it."""
    always = (*names_of(StudyOptions), "max_steps", "prompt_type", "model", "base_url")
    added = {
        name: value
        for name, value in shared(config, AnswerOptions).items()
        if value != getattr(_DEFAULTS, name)
    }
    for name in ("env_option", "vlm_option"):
        if getattr(config, name):
            added[name] = pairs(getattr(config, name), f"--{name.replace('_', '-')}")
    settings = {name: plain(getattr(config, name)) for name in always}
    plays = {"games": config.game_names, "agents": config.all_agents}
    return {"program": "evaluate", **environment_of(config), **settings, **plays, **plain(added)}


def environment_of(config: EvaluateConfig) -> dict[str, Any]:
    """What :func:`~atari_vlm.runs.environments.make_env` needs besides the game."""
    return {"env": pairs(config.env_option, "--env-option"), "latency": None}


def agent_options(config: EvaluateConfig) -> VLMAgentOptions:
    """How the agents that ask a VLM do so."""
    options = VLMAgentOptions(
        **{**shared(config, VLMAgentOptions), "max_tokens": config.reply_tokens}
    )
    return with_changes(options, pairs(config.agent_option, "--agent-option"), "--agent-option")


def run_request(config: EvaluateConfig) -> RunRequest:
    """The run folder that is wanted."""
    return RunRequest(
        save_dir=config.save_dir,
        label="-".join(["evaluate", *config.game_names]),
        settings=settings_of(config),
        execution=execution_of(config),
        run_name=config.run_name,
        resume=config.resume,
        command=command_of(config),
        command_line=command_line(config),
        rules=ResumeRules(amounts=names_of(StudyOptions)),
    )


def conditions_of(config: EvaluateConfig) -> Iterator[tuple[str, str]]:
    """What the numbers rest on."""
    cut = "the environment's own 10,000" if config.max_steps is None else f"{config.max_steps:,}"
    yield "seeds", ", ".join(map(str, config.seeds))
    yield "episodes", f"{config.episodes} per seed and game, cut after {cut} steps"
    yield "environment", "AtariVLM/<Game>-v5: frame skip 4, sticky actions 0.25, minimal action set"
    style = config.prompt_type
    yield (
        "prompt",
        f"{style}, version {prompts.prompt_version(style)}, sha256 {prompts.prompt_hash(style)}",
    )
    yield (
        "normalisation",
        "Atari-57 human and random reference scores (atari_vlm/data/reference_scores.csv)",
    )
