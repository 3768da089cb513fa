"""Boxing: walk up to the other boxer, stay level with one of the arms, and punch."""

from __future__ import annotations

from atari_vlm.vlm.scripted.scene import Move, Scene
from atari_vlm.vlm.scripted.sight import Box

_RING = Box(38, 177, 34, 125)
_WHITE, _BLACK = 0xD6D6D6, 0x000000
_REACH = 24  # columns between the two at which an arm hits


def play_boxing(scene: Scene) -> Move | None:
    """The player is white. The button is let go at every other step, because only pressing it anew throws a punch."""
    me, other = scene.now.box(_RING, _WHITE), scene.now.box(_RING, _BLACK)
    if me is None or other is None:
        return None
    right, down = other.x - me.x, other.y - me.y
    where = f"I am at x={me.x:.0f}, y={me.y:.0f}; the other boxer is at x={other.x:.0f}, y={other.y:.0f}"
    if abs(right) > _REACH + 4 or abs(down) > 16:
        sideways = right if abs(right) > _REACH else 0
        return Move(scene.steer(sideways, down if abs(down) > 4 else 0), f"{where}: go there.")
    punch = "FIRE" not in (scene.facts.last_action or "")
    return Move(scene.steer(0, down if abs(down) > 8 else 0, fire=punch), f"{where}: punch.")
