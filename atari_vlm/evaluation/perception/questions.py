"""The questions: what is where, how many, lives, points, which way; each plain, again, and beside a wrong example."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.perception.moments import SCALE, Moment, moments
from atari_vlm.evaluation.perception.motion import motions
from atari_vlm.evaluation.perception.wording import decoy_text, question_text
from atari_vlm.objects.base import GameObjects
from atari_vlm.objects.tables import TABLES
from atari_vlm.types import Image

KINDS = ("objects", "count", "lives", "score", "direction")
VARIANTS = ("plain", "again", "decoy")
Draw = np.random.Generator


@dataclass(frozen=True)
class Question:
    """One question; it does not depend on who is asked.

    ``truth`` is plain data: for ``objects`` a list of ``{"name", "box"}`` in pixels of the picture sent, else a whole number or
    one of ``choices``. ``pair`` is the id of the plain question that ``again`` repeats. ``decoy`` is the answer of the example
    that the prompt shows and that is wrong here.
    """

    id: str
    game: str
    seed: int
    kind: str
    variant: str
    prompt: str
    shown: tuple[Moment, ...]
    picture_size: list[int]
    truth: Any
    names: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    decoy: Any = None
    pair: str | None = None

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures, in order; made when they are asked for."""
        return tuple(moment.image for moment in self.shown)


@dataclass(frozen=True)
class _Asked:
    """What is asked before it is put into words: pictures, what it is about, the truth, and a wrong answer."""

    shown: tuple[Moment, ...]
    truth: Any
    wrong: Any
    about: str = ""
    choices: tuple[str, ...] = ()


def questions(game: str, seed: int, count: int) -> Iterator[Question]:
    """``count`` questions of each kind that a game has, each in all variants, in a fixed order; equal for equal arguments.

    ``UnknownNameError`` for a game whose memory is not read; ``ConfigError`` where it has not so many different moments.
    """
    table = TABLES[game]
    found = _different(moments(table, seed))
    for kind in KINDS:
        draw = np.random.default_rng([seed, zlib.crc32(f"{game} {kind}".encode())])
        asked = _ASKING[kind](table, found, count, draw)
        if asked and len(asked) < count:
            raise ConfigError(
                f"{game} with seed {seed} gives {len(asked)} different questions of the kind {kind}; ask for no more"
            )
        for number, one in enumerate(asked):
            yield from _variants(table, seed, kind, number, one)


def _different(found: Sequence[Moment]) -> list[Moment]:
    """Moments whose pictures differ."""
    return list({moment.screen.tobytes(): moment for moment in reversed(found)}.values())[::-1]


def _variants(
    table: GameObjects, seed: int, kind: str, number: int, asked: _Asked
) -> Iterator[Question]:
    names = tuple(dict.fromkeys(table.kinds.values()))
    head = f"{table.game}-{seed}-{kind}-{number}"
    marked = f"Question {kind} {number} of seed {seed}."
    text = f"{question_text(kind, table.game, names, asked.about, asked.choices)}\n{marked}"
    plain = Question(
        f"{head}-plain",
        table.game,
        seed,
        kind,
        "plain",
        text,
        asked.shown,
        asked.shown[0].size,
        asked.truth,
        names,
        asked.choices,
    )
    yield plain
    yield replace(plain, id=f"{head}-again", variant="again", pair=plain.id)
    misled = f"{text}\n{decoy_text(asked.wrong)}"
    yield replace(plain, id=f"{head}-decoy", variant="decoy", prompt=misled, decoy=asked.wrong)


def boxes(table: GameObjects, moment: Moment) -> list[dict[str, Any]]:
    """What is to be seen in a moment, in pixels of the picture sent."""
    return [
        {"name": table.kinds[one.name], "box": [SCALE * edge for edge in one.box]}
        for one in moment.objects
    ]


def _chosen(items: Sequence[Any], count: int, draw: Draw) -> list[Any]:
    """``count`` of some items, in an order that is drawn; all when there are fewer."""
    return [items[i] for i in draw.permutation(len(items))[:count]]


def _objects(table: GameObjects, found: Sequence[Moment], count: int, draw: Draw) -> list[_Asked]:
    chosen = _chosen([moment for moment in found if moment.objects], count, draw)
    asked = []
    for moment in chosen:
        truth = boxes(table, moment)
        others = [other for other in found if other.objects and boxes(table, other) != truth]
        asked.append(
            _Asked((moment,), truth, boxes(table, others[int(draw.integers(len(others)))]))
        )
    return asked


def _count(table: GameObjects, found: Sequence[Moment], count: int, draw: Draw) -> list[_Asked]:
    """Kinds whose number changes, where there are any."""
    kinds = list(dict.fromkeys(table.kinds.values()))
    numbers = {kind: [_number(table, moment, kind) for moment in found] for kind in kinds}
    changing = [kind for kind in kinds if len(set(numbers[kind])) > 1] or kinds
    asked = []
    for at in _chosen(range(len(found)), count, draw):
        kind = changing[int(draw.integers(len(changing)))]
        truth = numbers[kind][at]
        asked.append(_Asked((found[at],), truth, _other_number(truth, draw), kind))
    return asked


def _number(table: GameObjects, moment: Moment, kind: str) -> int:
    return sum(table.kinds[one.name] == kind for one in moment.objects)


def _other_number(truth: int, draw: Draw) -> int:
    """A number near the true one that is not it, and not below 0."""
    return truth + int(draw.choice([step for step in (-2, -1, 1, 2) if truth + step >= 0]))


def _shown_number(name: str) -> Callable[..., list[_Asked]]:
    """Questions about a number that the screen shows."""

    def ask(table: GameObjects, found: Sequence[Moment], count: int, draw: Draw) -> list[_Asked]:
        known = [moment for moment in found if getattr(moment, name) is not None]
        return [
            _Asked(
                (moment,), getattr(moment, name), _other_number(getattr(moment, name), draw),
                table.shown.get(name, ""),
            )
            for moment in _chosen(known, count, draw)
        ]  # fmt: skip

    return ask


def _direction(table: GameObjects, found: Sequence[Moment], count: int, draw: Draw) -> list[_Asked]:
    """As many of each direction as the count allows; where the game gives one direction alone, nothing is asked."""
    by_direction = motions(found)
    choices = tuple(by_direction)
    if len(choices) < 2:
        return []
    chosen = {way: _chosen(items, count, draw) for way, items in by_direction.items()}
    asked: list[_Asked] = []
    used: set[tuple[int, str]] = set()
    while len(asked) < count and any(chosen.values()):
        for way in [str(name) for name in draw.permutation(choices)]:
            while chosen[way] and len(asked) < count:
                before, now, one = chosen[way].pop()
                about = f"{table.kinds[one.name]} at {[SCALE * edge for edge in one.box]}"
                if (key := (id(before), about)) in used:
                    continue
                used.add(key)
                wrong = str(draw.choice([name for name in choices if name != way]))
                asked.append(_Asked((before, now), way, wrong, about, choices))
                break
    return asked


_ASKING: Mapping[str, Callable[[GameObjects, Sequence[Moment], int, Draw], list[_Asked]]] = {
    "objects": _objects,
    "count": _count,
    "lives": _shown_number("lives"),
    "score": _shown_number("score"),
    "direction": _direction,
}
