"""Which way things move between two moments."""

from __future__ import annotations

from collections.abc import Sequence

from atari_vlm.evaluation.perception.moments import Moment, pairs
from atari_vlm.objects.base import ScreenObject

DIRECTIONS = ("left", "right", "up", "down", "still")
_LEAST = 2  # pixels that are a motion
_MOST = 48  # more is no motion but another thing of the same name
_CLEARLY = 2  # times as far along one axis as along the other
_RARELY = 3  # a direction that so few pairs of moments have is not asked for


def direction(before: ScreenObject, now: ScreenObject) -> str | None:
    """Which way an object went; ``None`` where it is not clear, or where its size changed (it is partly hidden)."""
    across, down = now.x - before.x, now.y - before.y
    far, near = max(abs(across), abs(down)), min(abs(across), abs(down))
    if (before.width, before.height) != (now.width, now.height):
        return None
    if far == 0:
        return "still"
    if far < _LEAST or far > _MOST or far < _CLEARLY * near:
        return None
    if abs(across) > abs(down):
        return "right" if across > 0 else "left"
    return "down" if down > 0 else "up"


def motions(found: Sequence[Moment]) -> dict[str, list[tuple[Moment, Moment, ScreenObject]]]:
    """For each direction that a game gives often enough, in one order: pairs of moments with the object (as it was before)."""
    by_direction: dict[str, list[tuple[Moment, Moment, ScreenObject]]] = {
        way: [] for way in DIRECTIONS
    }
    for before, now in pairs(found):
        later = {one.name: one for one in now.objects}
        for one in before.objects:
            way = direction(one, later[one.name]) if one.name in later else None
            if way is not None:
                by_direction[way].append((before, now, one))
    return {way: items for way, items in by_direction.items() if len(items) > _RARELY}
