"""What a player sees, drawn as one picture: a line of text over one or more pictures side by side."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from atari_vlm.errors import ConfigError, check_positive

BACKGROUND = (18, 20, 22)
INK = (230, 231, 232)
SOFT = (154, 160, 166)
_GAP = 8
_LINE = 22


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture, uint8 ``(H, W, 3)``, with a title below it (none where it is empty)."""

    picture: np.ndarray
    title: str = ""

    def __post_init__(self) -> None:
        if self.picture.dtype != np.uint8 or self.picture.ndim != 3 or self.picture.shape[2] != 3:
            raise ConfigError(
                f"a panel shows uint8 (H, W, 3), got {self.picture.dtype} {self.picture.shape}"
            )


def draw_panels(panels: Sequence[Panel], header: str = "", zoom: int = 2) -> np.ndarray:
    """One uint8 ``(H, W, 3)`` with even sides: ``header`` at the top, the pictures enlarged ``zoom`` times, their titles.

    Equal panels and header give equal sizes, so that successive pictures make a film.
    """
    check_positive(zoom=zoom)
    if not panels:
        raise ConfigError("there is nothing to draw: give at least one panel")
    pictures = [panel.picture.repeat(zoom, axis=0).repeat(zoom, axis=1) for panel in panels]
    top = _LINE + _GAP if header else 0
    bottom = _LINE if any(panel.title for panel in panels) else 0
    height = top + max(picture.shape[0] for picture in pictures) + bottom
    width = sum(picture.shape[1] for picture in pictures) + _GAP * (len(pictures) - 1)
    canvas = Image.new("RGB", (width + width % 2, height + height % 2), BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    if header:
        pen.text((_GAP, _GAP // 2 + 2), header, fill=INK, font=small_font())
    left = 0
    for panel, picture in zip(panels, pictures, strict=True):
        canvas.paste(Image.fromarray(picture), (left, top))
        if panel.title:
            pen.text(
                (left + _GAP, top + picture.shape[0] + 3), panel.title, fill=SOFT, font=small_font()
            )
        left += picture.shape[1] + _GAP
    return np.asarray(canvas)


def action_text(action: Any, names: Sequence[str], first: int = 0) -> str:
    """How an action is shown: by its name, ``names`` beginning at action ``first``; by its number where it has none; a
    continuous one ``(A,)`` by three digits of each part.
    """
    if np.ndim(action):
        return "[" + " ".join(f"{part:.3g}" for part in action) + "]"
    return names[action - first] if 0 <= action - first < len(names) else str(action)


@functools.cache
def small_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """That of every text in a picture."""
    return ImageFont.load_default(size=14)
