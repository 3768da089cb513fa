"""Pong and Breakout: see the ball in two pictures, predict where it will be, be there.

Paddles go on moving for a while when they are let go, because the screen follows the controller late; how far was fitted from
recorded play at four frames a step.
"""

from __future__ import annotations

from atari_vlm.vlm.scripted.scene import Move, Scene
from atari_vlm.vlm.scripted.sight import Box, Sight

_PONG_FIELD = Box(34, 193, 0, 159)
_PONG_PADDLE = Box(34, 193, 136, 147)
_PONG_GREEN, _PONG_WHITE = 0x5CBA5C, 0xECECEC
_PONG_MIDDLE = 114
_FAR = 99.0  # steps: the ball is not coming

_BRICKS_END = 93
_BALL_AREAS = (Box(_BRICKS_END, 188, 8, 151), Box(32, 56, 8, 151))
_PADDLE_AREA = Box(189, 192, 8, 151)
_RED = 0xC84848


def reflect(position: float, low: float, high: float) -> float:
    """Where a straight line ends that is mirrored at ``low`` and ``high``."""
    span = high - low
    folded = (position - low) % (2 * span)
    return low + (folded if folded <= span else 2 * span - folded)


def play_pong(scene: Scene) -> Move | None:
    """Meet the ball on the right-hand side with the part of the paddle that beats the opponent.

    RIGHT moves the paddle up, LEFT down.
    """
    ball, paddle = scene.now.box(_PONG_FIELD, _PONG_WHITE), scene.now.box(_PONG_PADDLE, _PONG_GREEN)
    if paddle is None:
        return None
    centre, speed = _paddle_motion(scene, paddle)
    rest = (
        centre + 0.355 * speed - 11 * scene.last_push()
    )  # where it stops if left alone; standard deviation 3 rows
    if ball is None:
        return Move(
            _push(scene, _PONG_MIDDLE - rest, 11),
            f"No ball in play; my paddle is at y={centre:.0f}.",
        )
    landing, steps, words = _pong_landing(scene, ball)
    if 2.5 < steps < _FAR:
        action = _push(scene, landing - _aim(landing) - rest, 3)
    else:  # no time to correct a push of 21 rows: hold still where the ball is met at all
        action = _push(scene, landing - rest, 10)
    return Move(
        action, f"Ball at x={ball.x:.0f}, y={ball.y:.0f}; my paddle at y={centre:.0f}; {words}."
    )


def _paddle_motion(scene: Scene, paddle: Box) -> tuple[float, float]:
    """Centre row of the 16-row paddle, and rows moved since the picture before (0 without one).

    A picture may show two emulator frames in one, so a moving paddle is smeared: its leading edge is where it is now.
    """
    old = scene.before and scene.before.box(_PONG_PADDLE, _PONG_GREEN)
    speed = paddle.y - old.y if old else 0.0
    cut_off = paddle.top <= _PONG_FIELD.top
    return (paddle.bottom - 7.5 if cut_off or speed > 0 else paddle.top + 7.5), speed


def _pong_landing(scene: Scene, ball: Box) -> tuple[float, float, str]:
    """The row at which the ball reaches the paddle, the steps until then, and both in words.

    For a ball that goes away: a row near the middle, to wait at.
    """
    old = scene.before and scene.before.box(_PONG_FIELD, _PONG_WHITE)
    if not old or ball.x <= old.x:
        return _PONG_MIDDLE + 0.4 * (ball.y - _PONG_MIDDLE), _FAR, "it does not come to me"
    steps = max(141 - ball.x, 0) / (ball.x - old.x)
    landing = reflect(ball.y + steps * (ball.y - old.y), 36, 192)
    return landing, steps, f"it arrives at y={landing:.0f} in {steps:.0f} steps"


def _aim(landing: float) -> float:
    """Where on the paddle to take the ball, in rows below its centre.

    Only the paddle's ends make a stroke steep enough to pass the opponent: downwards from the upper part of the field,
    upwards from the middle. From below it returns every such stroke, so the ball is taken safely with the centre. (Found
    from 800 recorded strokes.)
    """
    if landing < 90:
        return 7.0
    return -7.0 if landing < 155 else 0.0


def _push(scene: Scene, error: float, tolerance: float) -> str:
    """Push Pong's paddle by ``error`` rows (down is positive), or leave it within ``tolerance``."""
    return scene.steer() if abs(error) <= tolerance else scene.steer(right=-error)


def play_breakout(scene: Scene) -> Move | None:
    """Serve, then keep the paddle under the ball."""
    paddle, ball = scene.now.box(_PADDLE_AREA, _RED), _breakout_ball(scene.now)
    if paddle is None:
        return None
    if ball is None:
        return Move(scene.steer(fire=True), "I see no ball below or above the bricks: serve.")
    rest = paddle.x + 11 * scene.last_push()  # where the paddle stops if left alone
    target, words = _breakout_target(scene, ball)
    action = scene.steer() if abs(target - rest) <= 8 else scene.steer(right=target - rest)
    return Move(
        action, f"Ball at x={ball.x:.0f}, y={ball.y:.0f}; paddle at x={paddle.x:.0f}; {words}."
    )


def _breakout_ball(sight: Sight) -> Box | None:
    """The ball below or above the bricks; among them it has their colours."""
    for area in _BALL_AREAS:
        ball = sight.other_than(area, 0)
        if ball is not None and ball.width <= 6 and ball.height <= 10:
            return ball
    return None


def _breakout_target(scene: Scene, ball: Box) -> tuple[float, str]:
    """The column to be at, and why."""
    old = _breakout_ball(scene.before) if scene.before else None
    if old is None or ball.y <= old.y:
        return ball.x, "it is not falling"
    steps = max(187 - ball.y, 0) / (ball.y - old.y)
    landing = reflect(ball.x + steps * (ball.x - old.x), 8.5, 150.5)
    return landing, f"it lands at x={landing:.0f} in {steps:.0f} steps"
