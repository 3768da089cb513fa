"""The toy games Catch and one-paddle Pong: find ball and paddle, read their columns, stay below the ball.

Cells are as large as the ball, so any size of the toys is played.
"""

from __future__ import annotations

from atari_vlm.vlm.scripted.paddles import reflect
from atari_vlm.vlm.scripted.scene import Move, Scene
from atari_vlm.vlm.scripted.sight import COLUMNS, FULL, Box

_BALL, _PADDLE = 0xECECEC, 0x5CBA5C


def play_catch(scene: Scene) -> Move | None:
    """Go to the ball's column and wait there."""
    ball, paddle = scene.now.box(FULL, _BALL), scene.now.box(FULL, _PADDLE)
    if ball is None or paddle is None:
        return None
    way = _column(ball, ball) - _column(paddle, ball)
    return Move(_step(scene, way), f"The ball falls {_where(way)}.")


def play_solo_pong(scene: Scene) -> Move | None:
    """Stay under the ball: be where it will be at the next step, which two pictures tell; with one, stay."""
    ball, paddle = scene.now.box(FULL, _BALL), scene.now.box(FULL, _PADDLE)
    old = scene.before.box(FULL, _BALL) if scene.before is not None else None
    if ball is None or paddle is None:
        return None
    if old is None:
        return Move(scene.steer(), "One picture does not say where the ball flies.")
    now, columns = _column(ball, ball), round(COLUMNS / ball.width)
    following = round(reflect(2 * now - _column(old, ball), 0, columns - 1))
    left, right = _cell(paddle.left, ball.width), _cell(paddle.right, ball.width)
    way = min(following - left, 0) or max(following - right, 0)
    return Move(_step(scene, way), f"The ball flies {_where(way)}.")


def _step(scene: Scene, way: int) -> str:
    return scene.steer(right=way) if way else scene.steer()


def _where(way: int) -> str:
    if not way:
        return "where my paddle is"
    return f"{abs(way)} to the {'right' if way > 0 else 'left'} of my paddle"


def _column(box: Box, ball: Box) -> int:
    return int(box.x / COLUMNS * round(COLUMNS / ball.width))


def _cell(edge: int, width: int) -> int:
    return int((edge + 0.5) / COLUMNS * round(COLUMNS / width))
