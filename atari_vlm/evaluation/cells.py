"""What a study plays: games x agents (x conditions of an ablation) x seeds, laid out as numbered episodes.

An agent (under a condition) on a game with a seed is a *unit*: its training episodes and its evaluation, all on one machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.evaluation.study import Study, Variant
from atari_vlm.runs.game_names import GameSpec
from atari_vlm.runs.player import EpisodeSpec
from atari_vlm.runs.progress import Label
from atari_vlm.runs.seeds import eval_seed, train_seed


@dataclass(frozen=True)
class Cell:
    """One variant on one game: its episodes, seed after seed; ``lessons`` are the training episodes before each seed's."""

    game: GameSpec
    variant: Variant
    episodes: Mapping[int, tuple[EpisodeSpec, ...]]
    lessons: Mapping[int, tuple[EpisodeSpec, ...]] = field(default_factory=dict)

    @property
    def agent(self) -> str:
        """The agent's label."""
        return self.variant.agent.label

    @property
    def specs(self) -> tuple[EpisodeSpec, ...]:
        """The evaluation's episodes."""
        return tuple(spec for specs in self.episodes.values() for spec in specs)

    @property
    def everything(self) -> tuple[EpisodeSpec, ...]:
        """The training episodes too."""
        return (*(spec for specs in self.lessons.values() for spec in specs), *self.specs)


def cells(
    study: Study,
    lessons: Mapping[tuple[str, str, str], int] | None = None,
    earlier: Sequence[Mapping[str, Any]] = (),
) -> list[Cell]:
    """What is to be played, in order: game by game, baselines first. All agents get the same episode seeds.

    Of a study's shard only its own units are; their episodes have the numbers that they have in the whole study.
    ``lessons`` tells how many training episodes a variant (label, factor, condition) has. ``earlier`` is what the run was asked
    for before it was extended; those episodes keep their numbers.
    """
    numbers: dict[tuple[Any, ...], int] = {}
    for part in (*earlier, {}):
        asked = Study(dataclasses.replace(study.config, **part))
        for key in _keys(asked, lessons or {}):
            numbers.setdefault(key, len(numbers))
    mine = {*study.shard.of(units(study))}
    laid_out = [_cell(study, pair, lessons or {}, numbers, mine) for pair in _pairs(study)]
    return [cell for cell in laid_out if cell.episodes]


def units(study: Study) -> list[tuple[Any, ...]]:
    """Game, variant and seed of every unit of the whole study, in the order in which shards are dealt.

    Agents follow one another: with as many shards as there are agents, or a multiple, a shard has one agent to load.
    """
    playing: dict[str, list[Variant]] = {}
    for game, variant in _pairs(study):
        playing.setdefault(game.name, []).append(variant)
    return [
        (game, *named(variant), seed)
        for game, variants in playing.items()
        for seed in study.seeds
        for variant in variants
    ]


def _pairs(study: Study) -> Iterator[tuple[GameSpec, Variant]]:
    for game in study.games:
        for agent in study.agents:
            if study.joins(agent, game):
                yield from ((game, variant) for variant in study.variants(agent))


def named(variant: Variant) -> tuple[str, str, str]:
    """A variant's name among all: label, factor, condition."""
    return (
        variant.agent.label,
        variant.factor,
        str(variant.condition) if variant.factor else "",
    )


def _keys(study: Study, lessons: Mapping[tuple[str, str, str], int]) -> Iterator[tuple[Any, ...]]:
    for game, variant in _pairs(study):
        for seed in study.seeds:
            yield from _keys_of(study, game, variant, seed, lessons)


def _keys_of(
    study: Study,
    game: GameSpec,
    variant: Variant,
    seed: int,
    lessons: Mapping[tuple[str, str, str], int],
) -> list[tuple[Any, ...]]:
    """Game, variant, phase and episode seed of every episode of a run: its lessons, then its evaluation."""
    name = (game.name, *named(variant))
    taught = range(lessons.get(named(variant), 0))
    return [
        *((*name, "train", train_seed(seed, i)) for i in taught),
        *((*name, "eval", eval_seed(seed, i)) for i in range(study.episodes)),
    ]


def _cell(
    study: Study,
    pair: tuple[GameSpec, Variant],
    lessons: Mapping[tuple[str, str, str], int],
    numbers: Mapping[tuple[Any, ...], int],
    mine: Collection[tuple[Any, ...]],
) -> Cell:
    game, variant = pair
    parts: dict[str, dict[int, tuple[EpisodeSpec, ...]]] = {"train": {}, "eval": {}}
    for seed in (seed for seed in study.seeds if (game.name, *named(variant), seed) in mine):
        keys = _keys_of(study, game, variant, seed, lessons)
        for phase in parts:
            of_phase = enumerate(key for key in keys if key[-2] == phase)
            parts[phase][seed] = tuple(
                EpisodeSpec(
                    numbers[key], key[-2], key[-1], Label(game.name, variant.title, seed, at, phase)
                )
                for at, key in of_phase
            )
    return Cell(game, variant, parts["eval"], parts["train"])
