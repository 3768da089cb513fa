"""What a bundle claims to have played: its configuration as a study again, held against this package, machine and protocol."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.agents.specs import AgentSpec, parse_agents
from atari_vlm.conditions import versions
from atari_vlm.errors import AtariVLMError
from atari_vlm.evaluation.askers import AGENT_NAMES, AskerOptions
from atari_vlm.evaluation.board.bundle import MOST_EPISODES, Refused, Submission
from atari_vlm.evaluation.board.games import check_game, check_keywords, check_modules, facts_of
from atari_vlm.evaluation.collecting import protocol_of
from atari_vlm.evaluation.protocols import protocol
from atari_vlm.evaluation.study import Study, agent_options
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.game_names import is_atari
from atari_vlm.runs.options import names_of
from atari_vlm.runs.seeds import SEEDS_PER_RUN
from atari_vlm.settings import flat, from_plain, plain
from atari_vlm.vlm.catalogue import OFFLINE_NAMES, TINY, entry
from atari_vlm.vlm.local.tiny.bundled import model_name

_MOST_WORDS = 1_000
_MOST_OF = {"scale": 8, "frames": 64}  # of an agent's options
_MOST_OF_AN_AGENT = 1_000  # of a count among an agent's options, but for counts of tokens


@dataclass(frozen=True)
class Settings:
    """The settings of a study's config.yaml."""

    program: str
    protocol: Mapping[str, Any]
    games: list[str]
    agents: list[str]
    seeds: list[int]
    episodes: int
    max_steps: int | None
    env: Mapping[str, Any] = field(default_factory=dict)
    latency: None = None
    prompt_type: str = "cot"
    model: str | None = None
    base_url: str | None = None
    ablate: list[str] = field(default_factory=list)
    asking: Mapping[str, Any] | None = None
    vlm_option: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ClaimedStudy(Study):
    """A study from its settings instead of a command line."""

    settings: Settings

    @functools.cached_property
    def agents(self) -> list[AgentSpec]:
        """As they are listed: the baselines are among them."""
        return parse_agents(self.settings.agents)

    @property
    def asking(self) -> dict[str, Any]:
        """How agents that ask a model do so."""
        said = self.settings.asking
        told = dict(self.protocol.agent if said is None else said)
        return {**told, "prompt_type": self.settings.prompt_type}

    @property
    def keys(self) -> list[tuple[str, str, int, int]]:
        """Game, agent, seed and number of every episode."""
        return [
            (game.name, agent.label, seed, number)
            for game in self.games
            for agent in self.agents
            if self.joins(agent, game)
            for seed in self.seeds
            for number in range(self.episodes)
        ]


def claimed(config: Mapping[str, Any], trusted: Collection[str] = ()) -> ClaimedStudy:
    """The study of some settings; :class:`Refused` for settings of no study, and for what is not played for a bundle's sake."""
    try:
        settings = from_plain(Settings, config, "config")
        if settings.program != "evaluate":
            raise Refused(f"it is no study but a run of {settings.program!r:.40}")
        _check_amounts(settings)
        check_modules(settings.games, trusted)
        study = ClaimedStudy(_command(settings), settings)
        _check_protocol(study, settings)
        _check_agents(study)
        for game in study.games:
            check_game(game, trusted)
            check_keywords(study.environment(game, {})["env"])
        agent_options(study)
    except Refused:
        raise
    except AtariVLMError as error:
        raise Refused(f"config: {error}") from error
    return study


def check_claims(study: ClaimedStudy, submission: Submission) -> None:
    """Raise :class:`Refused` unless protocol, agents, games and versions are those of the configuration and of this machine."""
    mine, said = flat(plain(protocol_of(study))), flat(submission.protocol)
    if different := [name for name in sorted(mine | said) if mine.get(name) != said.get(name)]:
        name = different[0]
        raise Refused(
            f"protocol and config disagree: {name} is {said.get(name)!r:.80} there, and {mine.get(name)!r:.80} by the config"
        )
    _check_games(study, submission.games)
    _check_versions(study, submission.versions)
    _check_entries(study, submission.agents)


def our_versions() -> dict[str, str]:
    """The versions that a bundle tells, of what is installed here."""
    found = versions(("ale-py", "gymnasium", "atari-vlm"))
    names = {"ale_py": "ale-py", "gymnasium": "gymnasium", "atari_vlm": "atari-vlm"}
    return {name: found.get(package, "") for name, package in names.items()}


def asked_model(study: ClaimedStudy, spec: AgentSpec) -> str | None:
    """The model that an agent asks for, as tables show it; ``None`` where only the agent's own code knows."""
    name: Any = spec.name
    if spec.kind == "simple":
        return ""
    if spec.kind == "planner":
        planner, world = spec.planner
        name = spec.options.get("vlm") or ("scripted" if planner == "plan" else None)
        if name is None or planner == "policy":
            return world
    if name == "replay" or ":" in str(name):
        return None
    if name in OFFLINE_NAMES:
        return str(name)
    named = spec.options.get("model") or study.settings.model
    if name == TINY:
        return model_name({**spec.options, "model": named})
    return str(named or entry(str(name)).model)


def _command(settings: Settings) -> EvaluateConfig:
    return EvaluateConfig(
        games=settings.games,
        agents=settings.agents,
        seeds=settings.seeds,
        episodes=settings.episodes,
        max_steps=settings.max_steps,
        protocol=str(settings.protocol["name"]),
        env_option=tuple(f"{name}={json.dumps(value)}" for name, value in settings.env.items()),
        model=settings.model,
        base_url=settings.base_url,
    )


def _check_amounts(settings: Settings) -> None:
    """Before anything is laid out."""
    lists = (settings.games, settings.agents, settings.seeds)
    if any(not items or len(items) > _MOST_WORDS for items in lists):
        raise Refused(f"config has 1 to {_MOST_WORDS:,} games, agents and seeds")
    if len(set(settings.seeds)) < len(settings.seeds) or any(
        not 0 <= seed <= 100_000 for seed in settings.seeds
    ):
        raise Refused("the seeds of config are different numbers from 0 to 100000")
    if not 1 <= settings.episodes <= SEEDS_PER_RUN:
        raise Refused(f"episodes of config is {settings.episodes}, and not 1 to {SEEDS_PER_RUN}")
    if settings.max_steps is not None and settings.max_steps < 1:
        raise Refused(f"max_steps of config is {settings.max_steps}, and not 1 or more")
    total = settings.episodes
    for items in lists:
        total *= len(items)
    if total > MOST_EPISODES:
        raise Refused(f"config asks for {total:,} episodes, more than {MOST_EPISODES:,}")


def _check_protocol(study: ClaimedStudy, settings: Settings) -> None:
    if settings.protocol.keys() != {"name", "version"}:
        raise Refused("protocol of config has a name and a version")
    ours = protocol(str(settings.protocol["name"]))
    if settings.protocol["version"] != ours.version:
        raise Refused(
            f"it was played under version {settings.protocol['version']!r:.20} of the protocol {ours.name}; known here is "
            f"version {ours.version}"
        )


def _check_agents(study: ClaimedStudy) -> None:
    read = {*names_of(AskerOptions), *AGENT_NAMES}
    for spec in study.agents:
        for name, value in {**study.asking, **spec.options}.items():
            most = _MOST_OF.get(name, _MOST_OF_AN_AGENT)
            large = isinstance(value, (int, float)) and abs(value) > most
            if large and name in read and not name.endswith("tokens"):
                raise Refused(
                    f"the agent {spec.label!r}: {name}={value!r:.40} is more than a board plays again"
                )


def _check_games(study: ClaimedStudy, said: Mapping[str, Any]) -> None:
    mine = {game.name: facts_of(game) for game in study.games}
    if said.keys() != mine.keys():
        names = ", ".join(sorted(said.keys() ^ mine.keys()))
        raise Refused(f"games and config disagree about {names:.120}")
    for name, facts in mine.items():
        if said[name] == facts:
            continue
        told = said[name] if isinstance(said[name], dict) else {}
        for part, value in facts.items():
            if told.get(part) != value:
                raise Refused(
                    f"it is of another {name}: {part} is {told.get(part)!r:.80}, and {value!r} on this machine"
                )
        raise Refused(f"games of {name} holds more than env_id, version and rom_sha256")


def _check_versions(study: ClaimedStudy, said: Mapping[str, str]) -> None:
    ours = our_versions()
    if missing := [name for name in ours if name not in said]:
        raise Refused(f"versions lacks {missing[0]}")
    if any(is_atari(game.name) for game in study.games) and said["ale_py"] != ours["ale_py"]:
        raise Refused(
            f"it was played in the emulator of ale_py {said['ale_py']!r:.40}, this machine has {ours['ale_py']}: judge it "
            "where that version is installed"
        )


def _check_entries(study: ClaimedStudy, said: Sequence[Mapping[str, Any]]) -> None:
    labels = [facts.get("agent") for facts in said]
    if labels != [spec.label for spec in study.agents]:
        raise Refused("agents are not those of config, in their order")
    for spec, facts in zip(study.agents, said, strict=True):
        known = {"agent", "name", "model", "model_served", "options", "answer"}
        if unknown := sorted(facts.keys() - known):
            raise Refused(f"the agent {spec.label!r} has an unknown {unknown[0]!r:.40}")
        wanted = {"name": spec.name, "options": plain(spec.options)}
        model = asked_model(study, spec)
        if model is not None:
            wanted["model"] = model
        for part, value in wanted.items():
            if facts.get(part) != value:
                raise Refused(
                    f"the {part} of the agent {spec.label!r} is {facts.get(part)!r:.80}, and by config {value!r:.80}"
                )
