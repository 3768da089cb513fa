"""A study: a configuration resolved to games, agents and a protocol, and what its results rest on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from atari_vlm import prompts
from atari_vlm.agents.specs import AgentSpec, parse_agents
from atari_vlm.agents.vlm_agent import DEFAULT_OPTIONS, VLMAgentOptions
from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.evaluation import protocols
from atari_vlm.evaluation.factors import Factor, check_factors, conditions, factors_of
from atari_vlm.evaluation.protocols import Protocol
from atari_vlm.evaluation.study_options import BASELINES, EvaluateConfig, theirs
from atari_vlm.runs.game_names import GameSpec, is_atari, parse_games
from atari_vlm.runs.options import pairs
from atari_vlm.runs.seeds import SEEDS_PER_RUN
from atari_vlm.runs.sharding import Shard
from atari_vlm.settings import plain, with_changes
from atari_vlm.vlm.catalogue import OFFLINE_NAMES
from atari_vlm.vlm.local.tiny.bundled import ways

_STANDARD, _FIRST_GAME = "standard", "Pong"
_ASKING = ("prompt_type", "frames", "temperature", "reply_tokens")
AMOUNTS = ("games", "agents", "seeds", "episodes", "ablate")  # may grow when a study is continued


@dataclass(frozen=True)
class Variant:
    """An agent as it plays: the study's own, or under one ``condition`` of a ``factor`` of the ablation."""

    agent: AgentSpec
    factor: str = ""
    condition: Any = None

    @property
    def title(self) -> str:
        """What it is called beside an episode."""
        return (
            f"{self.agent.label}, {self.factor} {self.condition}"
            if self.factor
            else self.agent.label
        )


@dataclass(frozen=True)
class Study:
    """A configuration, resolved: everything that is played, under one protocol."""

    config: EvaluateConfig

    @functools.cached_property
    def protocol(self) -> Protocol:
        """The protocol with what the configuration says otherwise, which its name then tells."""
        config = self.config
        named = config.protocol or (
            _STANDARD if config.suite is None else protocols.suite(config.suite).protocol
        )
        given: dict[str, Any] = {
            name: getattr(config, name)
            for name in ("max_steps", "episodes")
            if getattr(config, name) is not None
        }
        if config.seeds is not None:
            given["seeds"] = tuple(config.seeds)
        return protocols.changed(protocols.protocol(named), given)

    @functools.cached_property
    def games(self) -> list[GameSpec]:
        """The games, each once."""
        if self.config.games is not None:
            return parse_games(self.config.games)
        if self.config.suite is not None:
            return parse_games(protocols.suite(self.config.suite).games)
        return parse_games([_FIRST_GAME])

    @functools.cached_property
    def agents(self) -> list[AgentSpec]:
        """The baselines, then the others."""
        given = self.given
        absent = [name for name in BASELINES if not any(_stands_for(spec, name) for spec in given)]
        joined = [*given, *(AgentSpec(name, name) for name in absent)]
        labels = [spec.label for spec in joined]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError(
                    f"{label!r} is a baseline that joins every study; call your agent otherwise"
                )
        place = {name: number for number, name in enumerate(BASELINES)}
        playing = [spec for spec in joined if any(self.joins(spec, game) for game in self.games)]
        return sorted(playing, key=lambda spec: place.get(spec.label, len(place)))

    @functools.cached_property
    def given(self) -> list[AgentSpec]:
        """The agents that were asked for by name; the bundled model with what it was trained on, unless told otherwise."""
        return [self._taught(spec) for spec in parse_agents(self.config.agents)]

    def _taught(self, spec: AgentSpec) -> AgentSpec:
        endpoint = {name: getattr(self.config, name) for name in ("model", "adapter", "base_url")}
        told = ways(spec.name, {**endpoint, **spec.options})
        said = {**self.asking, **spec.options}
        return spec.with_options(**{name: told[name] for name in told if name not in said})

    @functools.cached_property
    def factors(self) -> list[Factor]:
        """What the ablation varies."""
        return factors_of(self.config.ablate)

    @property
    def paid_agents(self) -> list[AgentSpec]:
        """The agents whose calls may cost something."""
        return [spec for spec in self.agents if asks_for_money(spec)]

    @property
    def seeds(self) -> tuple[int, ...]:
        """One run each."""
        return self.protocol.seeds

    @property
    def episodes(self) -> int:
        """Episodes in a run."""
        return self.protocol.episodes

    @property
    def shard(self) -> Shard:
        """Which part of it is played here."""
        return self.config.part()

    @property
    def asking(self) -> dict[str, Any]:
        """How agents that ask a model do so, where they do not say otherwise: the protocol's way, over it the study's."""
        given = {name: getattr(self.config, name) for name in _ASKING}
        own = {name: value for name, value in given.items() if value is not None}
        return {**self.protocol.agent, **own, **pairs(self.config.agent_option, "--agent-option")}

    def variants(self, agent: AgentSpec) -> list[Variant]:
        """The agent as it is, then under every other condition of every factor."""
        found = [Variant(agent)]
        for factor in self.factors if agent in self.given else ():
            for condition in conditions(factor, agent, self.asking):
                if not condition.is_base:
                    found.append(Variant(condition.agent, factor.name, condition.value))
        return found

    def joins(self, agent: AgentSpec, game: GameSpec) -> bool:
        """Whether an agent plays a game: all do, but ``scripted`` knows ALE's only."""
        return agent.name != "scripted" or knows(game)

    def environment(self, game: GameSpec, scene: Mapping[str, Any]) -> dict[str, Any]:
        """What :func:`~atari_vlm.runs.environments.make_env` needs; ``scene`` is what one agent's environment has besides."""
        settings = {"game_name": game.name, **self.protocol.environment(game.name), **scene}
        given = pairs(self.config.env_option, "--env-option") if is_atari(game.name) else {}
        return {**settings, "env": {**settings["env"], **given, **game.options}}


def _stands_for(spec: AgentSpec, baseline: str) -> bool:
    return spec.name == baseline and (not spec.options or spec.label == baseline)


def knows(game: GameSpec) -> bool:
    """Whether the bundled player can play a game: those of ALE, also dreamed."""
    return is_atari(game.name) or game.name.startswith("AtariVLM/")


def asks_for_money(spec: AgentSpec) -> bool:
    """Whether an agent's calls may cost something."""
    if spec.kind == "planner":
        asked = spec.options.get("vlm")
        return asked is not None and asked not in OFFLINE_NAMES
    return spec.kind == "vlm" and spec.name not in OFFLINE_NAMES


def check(config: EvaluateConfig) -> Study:
    """The study of a configuration; ``ConfigError`` (or its ``UnknownNameError``) for what cannot be evaluated."""
    study = Study(config)
    check_positive(episodes=study.episodes)
    if not study.games or not study.seeds:
        raise ConfigError("give at least one game and one seed")
    if len(set(study.seeds)) < len(study.seeds) or any(not 0 <= s <= 100_000 for s in study.seeds):
        raise ConfigError(
            f"seeds must be different numbers from 0 to 100000, got {list(study.seeds)}"
        )
    if study.episodes > SEEDS_PER_RUN:
        raise ConfigError(f"episodes must be at most {SEEDS_PER_RUN}, got {study.episodes}")
    agent_options(study)
    paid, given = study.paid_agents, theirs(config)
    if given and len(paid) != 1:
        labels = ", ".join(spec.label for spec in paid) or "none"
        raise ConfigError(
            f"--{given[0].replace('_', '-')} belongs to one agent, but {len(paid)} of the agents are not "
            f"offline ones ({labels}); give it to the agent itself: NAME,{given[0]}=..."
        )
    for spec in study.given:
        if spec.options and not any(study.joins(spec, game) for game in study.games):
            raise ConfigError(f"{spec.label} knows none of the games; it plays those of ALE")
    check_factors(study.factors, study.given)
    return study


def agent_options(study: Study) -> VLMAgentOptions:
    """How the agents that ask a VLM do so; ``ConfigError`` for a wrong ``--agent-option``."""
    names = {item.name for item in dataclasses.fields(VLMAgentOptions)}
    more = pairs(study.config.agent_option, "--agent-option")
    options = with_changes(DEFAULT_OPTIONS, more, "--agent-option")
    asking = {name: value for name, value in study.asking.items() if name in names}
    limit = {"max_tokens": study.asking.get("reply_tokens", DEFAULT_OPTIONS.max_tokens)}
    return with_changes(options, {**asking, **limit}, "the study's options of agents")


def settings_of(study: Study) -> dict[str, Any]:
    """What the results depend on."""
    config, asking = study.config, study.asking
    base = config.protocol or (
        _STANDARD if config.suite is None else protocols.suite(config.suite).protocol
    )
    settings: dict[str, Any] = {
        "program": "evaluate",
        "env": pairs(config.env_option, "--env-option"),
        "latency": None,
        "protocol": {"name": base, "version": study.protocol.version},
        "games": [game.text for game in study.games],
        "agents": [spec.text for spec in study.agents],
        "seeds": list(study.seeds),
        "episodes": study.episodes,
        "max_steps": study.protocol.max_steps,
        "prompt_type": asking.get("prompt_type", "cot"),
        "model": config.model,
        "base_url": config.base_url,
    }
    if config.adapter is not None:
        settings["adapter"] = config.adapter
    if study.factors:
        settings["ablate"] = [factor.name for factor in study.factors]
    asked = {name: value for name, value in asking.items() if name != "prompt_type"}
    if asked != dict(study.protocol.agent):
        settings["asking"] = plain(asked)
    if config.vlm_option:
        settings["vlm_option"] = pairs(config.vlm_option, "--vlm-option")
    if not study.shard.is_whole:
        settings["shard"] = str(study.shard)
    return settings


def conditions_of(study: Study) -> Iterator[tuple[str, str]]:
    """What the numbers rest on."""
    protocol = study.protocol
    cut = (
        "the environment's own 10,000" if protocol.max_steps is None else f"{protocol.max_steps:,}"
    )
    yield "protocol", f"{protocol.name}, version {protocol.version}: {protocol.title}"
    yield "seeds", ", ".join(map(str, study.seeds))
    yield "episodes", f"{study.episodes} per seed and game, cut after {cut} steps"
    yield (
        "environment",
        f"AtariVLM/<Game>-v5: frame skip {protocol.frame_skip}, sticky actions {protocol.repeat_action_probability:g}, "
        f"{'full' if protocol.full_action_space else 'minimal'} action set",
    )
    style = str(study.asking.get("prompt_type", "cot"))
    yield (
        "prompt",
        f"{style}, version {prompts.prompt_version(style)}, sha256 {prompts.prompt_hash(style)}",
    )
    if protocol.references is not None:
        yield (
            "normalisation",
            "Atari-57 human and random reference scores (atari_vlm/data/reference_scores.csv)",
        )
