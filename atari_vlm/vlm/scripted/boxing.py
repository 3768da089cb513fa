"""Boxing: walk up to the other boxer, stay level with one of the arms, and punch on the way."""

from __future__ import annotations

from atari_vlm.vlm.scripted.scene import Move, Scene
from atari_vlm.vlm.scripted.sight import Box

_RING = Box(38, 177, 34, 125)
_WHITE, _BLACK = 0xD6D6D6, 0x000000
_HALF = (
    5.5  # columns from a boxer's back to its middle; the arms in front are now short and now long
)
_NEAR = 27  # columns at which an arm reaches the other's head; nearer both hit
_REACH = 36, 24  # columns and rows within which it punches
_LEVEL = 2, 8  # rows at which an arm is level with the other's head


def play_boxing(scene: Scene) -> Move | None:
    """The player is white. The button is let go at every other step, because only pressing it anew throws a punch."""
    me, other = scene.now.box(_RING, _WHITE), scene.now.box(_RING, _BLACK)
    if me is None or other is None:
        return None
    mine, theirs = _middles(me, other)
    right, down = theirs - mine, other.y + 1 - me.y  # its body is drawn a row higher
    where = (
        f"I am at x={mine:.0f}, y={me.y:.0f}; the other boxer is at x={theirs:.0f}, y={other.y:.0f}"
    )
    sideways = right if abs(right) > _NEAR else 0
    near = abs(right) <= _REACH[0] and abs(down) <= _REACH[1]
    punch = near and "FIRE" not in (scene.facts.last_action or "")
    what = "punch" if near else "go there"
    return Move(scene.steer(sideways, _to_level(down), fire=punch), f"{where}: {what}.")


def _middles(me: Box, other: Box) -> tuple[float, float]:
    """Columns of the bodies, without the arms that are between them."""
    if me.x <= other.x:
        return me.left + _HALF, other.right - _HALF
    return me.right - _HALF, other.left + _HALF


def _to_level(down: float) -> float:
    """Down or up until one of the arms, and not the face, is level with the other boxer."""
    least, most = _LEVEL
    if abs(down) > most:
        return down
    if abs(down) < least:
        return -1 if down >= 0 else 1
    return 0
