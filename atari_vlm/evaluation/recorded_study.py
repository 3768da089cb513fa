"""A study as its journal tells it: enough to lay it out and to tell its results again, with nothing loaded or imported for it.

The folder of a run may be a stranger's. Games are the names that stand in its settings, agents are never made, and of what their
models are only words are taken.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.agents.specs import AgentSpec
from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.evaluation.cells import Cell, named
from atari_vlm.evaluation.collecting import Entrants
from atari_vlm.evaluation.entrants import Entrant
from atari_vlm.evaluation.factors import FACTORS
from atari_vlm.evaluation.study import Study, Variant, conditions_of, settings_of
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.game_names import GameSpec, recorded_game
from atari_vlm.runs.option_files import recorded_options
from atari_vlm.runs.seeds import SEEDS_PER_RUN
from atari_vlm.settings import flat, from_plain, plain
from atari_vlm.vlm.nobody import NoVLM

_MOST_EPISODES = 2_000_000

Name = tuple[str, str, str]


@dataclass(frozen=True)
class VariantFacts:
    """An agent of the whole study under one condition, and how many training episodes it has."""

    agent: str
    factor: str
    condition: Any
    lessons: int


@dataclass(frozen=True)
class EntrantFacts:
    """Likewise, of those that played here: the model, its address, the VLM's own name, and whether a call may cost something."""

    agent: str
    factor: str
    condition: Any
    model: str
    base_url: str
    asks: str | None
    paid: bool
    notes: list[str]


@dataclass(frozen=True)
class StudyFacts:
    """What a journal notes of its study. ``rests_on`` is what all its machines share, ``conditions`` what each says of itself."""

    variants: list[VariantFacts]
    entrants: list[EntrantFacts]
    rests_on: list[list[str]]
    conditions: list[list[str]]


def facts_of(
    study: Study,
    entrants: Entrants,
    lessons: Mapping[Name, int],
    conditions: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """What is noted of a study, as plain data."""
    variants = [variant for agent in study.agents for variant in study.variants(agent)]
    facts = StudyFacts(
        [VariantFacts(*_words(v), lessons.get(named(v), 0)) for v in variants],
        [_entrant_facts(v, entrants[named(v)]) for v in variants if named(v) in entrants],
        [list(pair) for pair in conditions_of(study)],
        [list(pair) for pair in conditions],
    )
    noted: dict[str, Any] = plain(facts)
    return noted


def _words(variant: Variant) -> tuple[str, str, Any]:
    return variant.agent.label, variant.factor, variant.condition


def _entrant_facts(variant: Variant, entrant: Entrant) -> EntrantFacts:
    return EntrantFacts(
        *_words(variant),
        model=entrant.model,
        base_url=entrant.base_url,
        asks=None if entrant.vlm is None else entrant.vlm.name,
        paid=entrant.is_paid,
        notes=list(entrant.notes),
    )


def scenes_of_cells(
    laid_out: Sequence[Cell], scene_of: Callable[[Cell], Mapping[str, Any] | None]
) -> dict[str, Any]:
    """What a journal notes of its episodes: what each is called, and its environment (``None``: nobody knows)."""
    scenes: list[Any] = []
    games, labels, numbers = {}, {}, {}
    for cell in laid_out:
        scene = plain(scene_of(cell))
        if scene is not None and scene not in scenes:
            scenes.append(scene)
        for spec in cell.everything:
            games[str(spec.episode)] = cell.game.name
            labels[str(spec.episode)] = f"{cell.game.name}, {cell.variant.title}"
            if scene is not None:
                numbers[str(spec.episode)] = scenes.index(scene)
    return {"games": games, "labels": labels, "environments": scenes, "environment_of": numbers}


@dataclass(frozen=True)
class RecordedStudy(Study):
    """A whole study from what one of its runs recorded; see :func:`recorded_study`."""

    words: tuple[str, ...]
    facts: StudyFacts

    @functools.cached_property
    def games(self) -> list[GameSpec]:
        """The games, by the names that stand in the settings."""
        return [recorded_game(word) for word in self.words]

    def variants(self, agent: AgentSpec) -> list[Variant]:
        """The agent under the conditions that it was played under."""
        mine = [facts for facts in self.facts.variants if facts.agent == agent.label]
        return [Variant(agent, facts.factor, facts.condition) for facts in mine]

    @property
    def lessons(self) -> dict[Name, int]:
        """How many training episodes each variant has."""
        return {_name(facts): facts.lessons for facts in self.facts.variants if facts.lessons}

    def stand_ins(self) -> dict[Name, Entrant]:
        """Who played, as results tell it; nobody of them can play again."""
        specs = {agent.label: agent for agent in self.agents}
        return {_name(facts): _stand_in(specs[facts.agent], facts) for facts in self.facts.entrants}


def recorded_study(config: Mapping[str, Any], noted: Any, where: str) -> RecordedStudy:
    """The whole study of a run, from its config.yaml and what its journal notes of it.

    Raises ``ConfigError`` for a run that is no study or whose parts contradict one another, ``MismatchError`` for one that rests
    on other prompts or another protocol than this version's.
    """
    settings = {name: value for name, value in config["settings"].items() if name != "shard"}
    if settings.get("program") != "evaluate":
        raise ConfigError(f"{where} is no study (a run of evaluate)")
    if not isinstance(noted, Mapping):
        raise ConfigError(
            f"{where} does not say what it is made of; it was made by an earlier version"
        )
    facts = from_plain(StudyFacts, noted, f"the study of {where}")
    options = recorded_options(EvaluateConfig, config.get("command") or {}, where)
    whole = EvaluateConfig(**{**options, "shard": "1/1"})
    games = settings.get("games")
    if not isinstance(games, list) or not all(isinstance(word, str) for word in games):
        raise ConfigError(f"{where} does not say which games it plays")
    study = RecordedStudy(whole, tuple(games), facts)
    _check_facts(study, where)
    mine, theirs = flat(plain(settings_of(study))), flat(settings)
    if different := [name for name in sorted(mine | theirs) if mine.get(name) != theirs.get(name)]:
        name = different[0]
        raise ConfigError(
            f"{where}: its settings and its command disagree about {name}: {theirs.get(name)!r:.80} and {mine.get(name)!r:.80}"
        )
    if facts.rests_on != [list(pair) for pair in conditions_of(study)]:
        raise MismatchError(
            f"{where} was played by a version with other prompts or protocols than this one"
        )
    return study


def _check_facts(study: RecordedStudy, where: str) -> None:
    """What is noted fits the agents, and is no more than a study can be."""
    labels = [agent.label for agent in study.agents]
    variants = [_name(facts) for facts in study.facts.variants]
    playing = [_name(facts) for facts in study.facts.entrants]
    noted: list[VariantFacts | EntrantFacts] = [*study.facts.variants, *study.facts.entrants]
    is_sound = (
        len({*variants}) == len(variants)
        and {*playing} <= {*variants}
        and {(label, "", "") for label in labels} <= {*variants}
        and all(f.agent in labels and (not f.factor or f.factor in FACTORS) for f in noted)
        and all(0 <= f.lessons <= SEEDS_PER_RUN for f in study.facts.variants)
        and all(len(pair) == 2 for pair in study.facts.conditions)
    )
    if not is_sound:
        raise ConfigError(f"{where}: what its journal notes of the study does not fit its agents")
    runs = len(study.games) * len(variants) * len(study.seeds)
    each = study.episodes + max(study.lessons.values(), default=0)
    if runs * each > _MOST_EPISODES or study.episodes > SEEDS_PER_RUN:
        raise ConfigError(f"{where} is of more than {_MOST_EPISODES:,} episodes")


def _name(facts: VariantFacts | EntrantFacts) -> Name:
    return facts.agent, facts.factor, str(facts.condition) if facts.factor else ""


def _stand_in(spec: AgentSpec, facts: EntrantFacts) -> Entrant:
    vlm = None if facts.asks is None else _named(facts.asks)
    entrant = Entrant(spec, _nobody, vlm, facts.model, facts.base_url)
    return dataclasses.replace(entrant, is_paid=facts.paid, notes=tuple(facts.notes))


def _nobody(*_: object) -> Any:
    raise ConfigError("a study that is only read has nobody to play it")


def _named(name: str) -> NoVLM:
    vlm = NoVLM()
    vlm.name = name
    return vlm


def joined_facts(parts: Sequence[StudyFacts]) -> StudyFacts:
    """What several machines noted of one study, as one: whoever played on any of them, in the study's order."""
    known = {_name(facts): facts for part in reversed(parts) for facts in part.entrants}
    order = [_name(facts) for facts in parts[0].variants]
    entrants = [known[name] for name in order if name in known]
    return dataclasses.replace(
        parts[0], entrants=entrants, conditions=[list(pair) for pair in _joined(parts)]
    )


def _joined(parts: Sequence[StudyFacts]) -> Iterator[tuple[str, str]]:
    """Conditions of machines by name; where they differ, each value once."""
    said: dict[str, dict[str, None]] = {}
    for part in parts:
        for name, value in part.conditions:
            words = (" ".join(word.split()) for word in (name, value))
            said.setdefault(next(words), {})[next(words)] = None
    yield from ((name, " | ".join(values)) for name, values in said.items())
