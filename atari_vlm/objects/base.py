"""What a game's memory says: objects on the screen, hidden values, points and lives. One file a game says how it is read.

Addresses, offsets and sizes were found by holding the console's 128 bytes against the rendered picture, frame by frame, over
random and scripted play of each game's first variation; ``tests/objects`` repeats the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

ROWS, COLUMNS = 210, 160
FIELDS = ("x", "y", "width", "height", "dx", "dy", "visible")
UNKNOWN = math.nan
_JUMP = 8.0  # pixels a frame: faster than anything moves, so it was put somewhere else


@dataclass(frozen=True)
class ScreenObject:
    """An object by its left upper corner and size, in pixels of the emulator's screen (160 wide, 210 high).

    ``dx``, ``dy``: its motion in pixels an emulator frame, to the right and down; NaN where one memory does not say it.
    """

    name: str
    x: int
    y: int
    width: int
    height: int
    dx: float = UNKNOWN
    dy: float = UNKNOWN

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom; right and bottom are the first pixels outside."""
        return self.x, self.y, self.x + self.width, self.y + self.height


@dataclass(frozen=True)
class Window:
    """The part of the screen where a game's objects show; right and bottom are the first pixels outside."""

    left: int = 0
    top: int = 0
    right: int = COLUMNS
    bottom: int = ROWS

    def clip(self, seen: ScreenObject) -> ScreenObject | None:
        """What is to be seen of an object, ``None`` if nothing is."""
        left, top, right, bottom = seen.box
        left, right = max(left, self.left), min(right, self.right)
        top, bottom = max(top, self.top), min(bottom, self.bottom)
        if left >= right or top >= bottom:
            return None
        return replace(seen, x=left, y=top, width=right - left, height=bottom - top)


Hidden = tuple[float, ...]


@dataclass(frozen=True)
class Reading:
    """What one memory says. ``hidden`` holds the values that :attr:`GameObjects.hidden` names."""

    objects: tuple[ScreenObject, ...]
    hidden: Hidden = ()


@dataclass(frozen=True)
class GameObjects:
    """How one game's memory is read.

    ``kinds``: the name of every object that may be there and what sort of thing it is (several cars are one kind), in the
    order of the table. ``hidden``: names of values that no picture shows at once, motion and counters. ``read`` takes the
    memory as int64 ``(128,)``. ``score`` and ``lives`` (the one being played included) give the numbers that the screen shows;
    ``None`` where it shows none. ``shown`` says in words which number ``score`` is, and how ``lives`` are to be counted.
    ``follow`` fills in hidden values that one memory does not say: it is given the hidden values of the step before (``None`` at
    the beginning), those of now and ALE's name of the action between them, and returns the values of now.
    """

    game: str
    kinds: Mapping[str, str]
    read: Callable[[np.ndarray], Reading]
    hidden: tuple[str, ...] = ()
    score: Callable[[np.ndarray], int] | None = None
    lives: Callable[[np.ndarray], int] | None = None
    shown: Mapping[str, str] = field(default_factory=dict)
    follow: Callable[[Hidden | None, Hidden, str], Hidden] | None = None
    columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        seen = tuple(f"{name}.{part}" for name in self.kinds for part in FIELDS)
        object.__setattr__(self, "columns", (*seen, *self.hidden))

    def table(self, objects: Sequence[ScreenObject], hidden: Sequence[float]) -> np.ndarray:
        """Objects and hidden values as float32 ``(len(columns),)``; zeros for an object that is not to be seen."""
        by_name = {one.name: one for one in objects}
        values: list[float] = []
        for name in self.kinds:
            one = by_name.get(name)
            values += (
                (one.x, one.y, one.width, one.height, one.dx, one.dy, 1)
                if one
                else (0,) * len(FIELDS)
            )
        return np.array([*values, *hidden], dtype=np.float32)


def moved(
    now: Sequence[ScreenObject], before: Sequence[ScreenObject], frames: int
) -> tuple[ScreenObject, ...]:
    """``now`` with every unknown motion filled in from where the object was ``frames`` emulator frames before; else 0."""
    earlier = {one.name: one for one in before}
    return tuple(_moved(one, earlier.get(one.name), frames) for one in now)


def _moved(now: ScreenObject, before: ScreenObject | None, frames: int) -> ScreenObject:
    if not (math.isnan(now.dx) or math.isnan(now.dy)):
        return now
    dx = (now.x - before.x) / frames if before and frames > 0 else 0.0
    dy = (now.y - before.y) / frames if before and frames > 0 else 0.0
    if max(abs(dx), abs(dy)) > _JUMP:
        dx = dy = 0.0
    return replace(
        now, dx=dx if math.isnan(now.dx) else now.dx, dy=dy if math.isnan(now.dy) else now.dy
    )


def signed(byte: int) -> int:
    """A byte of memory as -128 to 127."""
    return int(byte) - 256 if byte > 127 else int(byte)


def decimal(*digits: int) -> int:
    """Bytes that hold two decimal digits each, most significant first, as one number."""
    value = 0
    for byte in digits:
        value = value * 100 + (int(byte) >> 4) * 10 + (int(byte) & 15)
    return value
