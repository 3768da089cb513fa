"""Games and dreams of numbers, drawn: a curve for every number over the last steps, and what is said."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from PIL import Image, ImageDraw

from atari_vlm.space_trees import space_leaves, value_at
from atari_vlm.spaces import Env
from atari_vlm.viewing.panels import BACKGROUND, INK, SOFT, small_font

_WIDTH, _HEIGHT = 560, 420
_LABEL = 150  # pixels of a row's name and value, left of its curve
_MOST = 16  # rows
_STEPS = 200  # that a curve shows
_LEAST = 28  # pixels of a row

Number = tuple[str, float]


class DrawnNumbers(gymnasium.Wrapper[Any, Any, Any, Any]):
    """``env`` with a picture, uint8 ``(420, 560, 3)``, of the numbers that it shows: each has a row with its name, its value and
    its curve since the episode began (200 steps at most, between the least and the most of them). Texts stand below.

    More than 16 numbers are not shown. Pictures are left out.
    """

    def __init__(self, env: Env):
        super().__init__(env)
        self._seen: deque[list[Number]] = deque(maxlen=_STEPS)
        self._said: list[str] = []

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and its curves."""
        observation, info = self.env.reset(**options)
        self._seen.clear()
        self._see(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """A step further, also of the curves."""
        observation, *rest = self.env.step(action)
        self._see(observation)
        return (observation, *rest)

    def render(self) -> Any:
        """The curves until now, beginning at the left."""
        canvas = Image.new("RGB", (_WIDTH, _HEIGHT), BACKGROUND)
        pen, rows = ImageDraw.Draw(canvas), len(self._seen[-1]) + len(self._said)
        height = min(_HEIGHT // max(rows, 1), 4 * _LEAST)
        for row, (name, value) in enumerate(self._seen[-1]):
            middle = row * height + height // 2
            pen.text((8, middle - 9), f"{name}  {value:.4g}"[:22], fill=INK, font=small_font())
            pen.line(self._curve(row, height), fill=INK, width=2)
            pen.line([(0, (row + 1) * height), (_WIDTH, (row + 1) * height)], fill=SOFT)
        for row, said in enumerate(self._said, len(self._seen[-1])):
            pen.text((8, row * height + height // 2 - 9), said[:70], fill=SOFT, font=small_font())
        return np.asarray(canvas)

    def _curve(self, row: int, height: int) -> list[tuple[float, float]]:
        values = np.array([numbers[row][1] for numbers in self._seen])
        least, span = values.min(), max(float(np.ptp(values)), 1e-9)
        across = (_WIDTH - _LABEL - 8) / (_STEPS - 1)
        down = row * height + 4 + (height - 8) * (1 - (values - least) / span)
        points = [(_LABEL + step * across, float(y)) for step, y in enumerate(down)]
        return points if len(points) > 1 else [*points, *points]

    def _see(self, observation: Any) -> None:
        self._seen.append(list(_numbers(self.env.observation_space, observation))[:_MOST])
        self._said = [
            f"{_named(path)}: {value_at(observation, path)}"
            for path, space in space_leaves(self.env.observation_space)
            if isinstance(space, gymnasium.spaces.Text)
        ]


def _numbers(space: gymnasium.Space[Any], observation: Any) -> Iterator[Number]:
    """All finite numbers of an observation that are no pictures, by name; others count as 0."""
    for path, part in space_leaves(space):
        if isinstance(part, gymnasium.spaces.Text) or len(part.shape or ()) > 2:
            continue
        values = np.asarray(value_at(observation, path), np.float64).ravel()
        for index, value in enumerate(np.nan_to_num(values, posinf=0.0, neginf=0.0)[:_MOST]):
            name = _named(path)
            yield f"{name}[{index}]" if values.size > 1 else name, float(value)


def _named(path: Any) -> str:
    return "/".join(map(str, path)) or "state"
