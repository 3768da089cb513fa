"""Parts of one piece of work for many machines, as a job array has them: ``2/7`` is the second part of seven.

Units are dealt out in turn, so every machine knows its own without asking another, and together they are all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from atari_vlm.errors import ConfigError
from atari_vlm.runs.options import Options

Item = TypeVar("Item")
_WORD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``count``, counted from 1; ``ConfigError`` where there is no such part."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise _no_shard(str(self))

    @classmethod
    def parse(cls, word: object) -> Shard:
        """From ``i/n``."""
        found = _WORD.fullmatch(word) if isinstance(word, str) else None
        if found is None:
            raise _no_shard(word)
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def is_whole(self) -> bool:
        """Whether it is everything."""
        return self.count == 1

    def of(self, units: Sequence[Item]) -> tuple[Item, ...]:
        """Its units: every ``count``-th from its own on. There may be none."""
        return tuple(units[self.number - 1 :: self.count])


@dataclass(frozen=True)
class JobArrayOptions(Options):
    """One part of the work on each of many machines."""

    shard: str = "1/1"
    """i/n: part i of n, i from 1: every n-th unit (a problem; an agent on a game with a seed), as a job array has them"""

    def __post_init__(self) -> None:
        self.part()
        super().__post_init__()

    def part(self) -> Shard:
        """The part that is meant."""
        return Shard.parse(self.shard)


def _no_shard(word: object) -> ConfigError:
    return ConfigError(f"shard is i/n with i from 1 to n, for example 1/4; got {word!r}")
