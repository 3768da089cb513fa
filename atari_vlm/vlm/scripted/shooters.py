"""Kaboom and Assault: be under what comes down, with the buckets or with the gun."""

from __future__ import annotations

import numpy as np

from atari_vlm.vlm.scripted.scene import Move, Scene
from atari_vlm.vlm.scripted.sight import Box, Sight

_FIELD = Box(57, 196, 8, 151)
_BUCKET_BODY = (0x86861D, 0xA2A22A, 0x69690F)
_BOMB_BODY = (0x4A4A4A, 0x6F6F6F, 0x8E8E8E, 0xAAAAAA)

_SKY = Box(40, 170, 0, 159)
_GUN_AREA = Box(176, 186, 0, 159)
_WHITE = 0xD6D6D6
_WIDE = 7  # pixels of one colour or another in a row of an enemy; shots have fewer


def play_kaboom(scene: Scene) -> Move | None:
    """Keep the buckets under the lowest bomb."""
    buckets = scene.now.box(_FIELD, *_BUCKET_BODY)
    if buckets is None:
        return None
    bomb = _lowest_bomb(scene.now)
    if bomb is None:
        return Move(scene.steer(fire=True), "No bomb is falling: ask for the next ones.")
    rest = buckets.x + 8 * scene.last_push()
    error = bomb.x - rest
    action = scene.steer() if abs(error) <= 4 else scene.steer(right=error)
    return Move(action, f"The lowest bomb is at x={bomb.x:.0f}, my buckets at x={buckets.x:.0f}.")


def _lowest_bomb(sight: Sight) -> Box | None:
    """The bomb that is nearest to the ground, its fuse left out."""
    found = sight.mask(_FIELD, *_BOMB_BODY)
    rows = np.flatnonzero(found.any(axis=1))
    if not rows.size:
        return None
    last = int(rows[-1])
    top = max(last - 9, 0)
    columns = np.flatnonzero(found[top : last + 1].any(axis=0))
    return Box(
        _FIELD.top + top,
        _FIELD.top + last,
        _FIELD.left + int(columns[0]),
        _FIELD.left + int(columns[-1]),
    )


def play_assault(scene: Scene) -> Move | None:
    """Stand under the lowest enemy and shoot: UP does that, FIRE shoots sideways."""
    gun, enemy = scene.now.box(_GUN_AREA, _WHITE), _lowest_enemy(scene.now, _SKY)
    if gun is None:
        return None
    if enemy is None:
        return Move(scene.steer(), "The sky is empty: wait.")
    old = _lowest_enemy(scene.before, _SKY) if scene.before else None
    drift = enemy - old if old is not None and abs(enemy - old) < 8 else 0.0
    right = enemy + 4 * drift - gun.x
    flying = scene.now.box(_SKY, _WHITE) is not None
    shoot = abs(right) <= 8 and not flying
    action = scene.steer(down=-1) if shoot else scene.steer(right if abs(right) > 4 else 0)
    return Move(action, f"The lowest enemy is at x={enemy:.0f}, my gun at x={gun.x:.0f}.")


def _lowest_enemy(sight: Sight, sky: Box) -> float | None:
    """The column of the lowest thing in the sky that is wider than a shot."""
    lit = ~sight.mask(sky, 0x000000, _WHITE)
    wide = np.flatnonzero(lit.sum(axis=1) >= _WIDE)
    for row in wide[::-1]:
        columns = np.flatnonzero(lit[row])
        middle = float(np.median(columns))
        near = columns[np.abs(columns - middle) <= 9]
        if len(near) >= _WIDE - 1:
            return float(sky.left + near.mean())
    return None
