"""Where Pong's knob stands: the console reads it every other frame only, so it is followed through what the paddle did.

A direction that is held turns the knob by :data:`TURN` a frame, as far as :data:`LEFT` and :data:`RIGHT`. After every frame of an
even number the console reads it, rounded down to an even number and held between 38 and 204, and brings the paddle half the way
there. Measured frame by frame; of 59,996 readings in mixed play none differs.
"""

from __future__ import annotations

from collections.abc import Iterator

TURN, LEFT, RIGHT = 5.757, 14.75, 205.67
_FIRST = 110.21  # where it stands when a game begins
_LOWEST, _HIGHEST = 38, 204
_MOST_FRAMES = 16  # that are followed; after more of them the knob is where the paddle is
_COUNTS = 256
_LOST = 6  # pixels: a place that no way of turning explains, as after a snapshot was restored

Start = tuple[float, float, float]  # the paddle's next place, the number of the frame, the knob


def followed(start: Start | None, turned: int, place: float, frame: float, reading: float) -> float:
    """The knob at ``frame``, from a step before and the paddle's next ``place`` now; ``reading`` is 0 where memory has none.

    ``turned`` is the direction that was asked for, 1 to the left. With sticky actions it is not always the one that was taken:
    of all ways to turn the knob, one direction and then another, the first that explains the place is believed.
    """
    frames = 0 if start is None else int(frame - start[1]) % _COUNTS
    if start is None or frames > _MOST_FRAMES:
        return _FIRST if abs(place - _FIRST) < 2 else reading or place + 1.0
    if not frames:
        return start[2]
    best, least = start[2], float("inf")
    for turns in _ways(frames, turned):
        knob, reached = _turned(start, turns)
        wrong = abs(reached - place) + (abs(_read(knob) - reading) if reading else 0.0)
        if wrong < least:
            best, least = knob - (reached - place), wrong
        if not wrong:
            break
    return (reading or place + 1.0) if least > _LOST else min(max(best, LEFT), RIGHT)


def _ways(frames: int, turned: int) -> Iterator[list[int]]:
    """What was asked for all the time, then with something else for a while before it, then anything changed once."""
    directions = (turned, *(way for way in (0, -1, 1) if way != turned))
    yield [turned] * frames
    for last in directions:
        for at in range(1, frames + 1):
            pairs = (one for one in directions if one != last)
            yield from ([one] * at + [last] * (frames - at) for one in pairs)


def _turned(start: Start, turns: list[int]) -> tuple[float, float]:
    """Knob and place after turning it frame by frame."""
    place, frame, knob = start
    for turn in turns:
        knob = min(max(knob + TURN * turn, LEFT), RIGHT)
        frame += 1
        if frame % 2 == 0:
            place = (place + _read(knob)) // 2
    return knob, place


def _read(knob: float) -> float:
    """What the console reads of it."""
    return float(min(max(knob // 2 * 2, _LOWEST), _HIGHEST))
