"""Pictures whose right answer is known: a digit on a coloured ground. Who was shown none of them guesses one in 45."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from atari_vlm.agents.thoughts import split_thinking
from atari_vlm.types import Image, Message

COLOURS = {
    "red": (214, 40, 40),
    "green": (30, 150, 60),
    "blue": (40, 80, 220),
    "yellow": (250, 220, 40),
    "black": (0, 0, 0),
}
DIGITS = tuple(range(1, 10))
SIDE = 224  # pixels
_WORDS = "one two three four five six seven eight nine".split()
_CARD = re.compile(
    rf"\b({'|'.join(COLOURS)})\b[^0-9_\n]{{0,40}}?\b([1-9]|{'|'.join(_WORDS)})\b", re.IGNORECASE
)
_SYSTEM = "You look at pictures. Each shows one digit on a coloured ground."


@dataclass(frozen=True)
class Card:
    """What one picture shows."""

    colour: str
    digit: int

    def __str__(self) -> str:
        return f"{self.colour} {self.digit}"

    @property
    def image(self) -> Image:
        """The picture: uint8 (224, 224, 3)."""
        pixels = np.empty((SIDE, SIDE, 3), np.uint8)
        pixels[:] = COLOURS[self.colour]
        ink = (0, 0, 0) if self.colour == "yellow" else (255, 255, 255)
        font, scale, thick = cv2.FONT_HERSHEY_SIMPLEX, 6.0, 16
        (width, height), _ = cv2.getTextSize(str(self.digit), font, scale, thick)
        corner = ((SIDE - width) // 2, (SIDE + height) // 2)
        cv2.putText(pixels, str(self.digit), corner, font, scale, ink, thick, cv2.LINE_AA)
        return Image(pixels)


def deal(count: int, seed: int) -> tuple[Card, ...]:
    """``count`` (at most 5) cards, no colour and no digit twice; the same for the same ``count`` and ``seed``."""
    rng = np.random.default_rng([seed, count])
    colours = rng.permutation(list(COLOURS))[:count]
    digits = rng.permutation(DIGITS)[:count]
    return tuple(
        Card(str(colour), int(digit)) for colour, digit in zip(colours, digits, strict=True)
    )


def question(cards: Sequence[Card]) -> tuple[Message, ...]:
    """The request that shows the cards and asks what is on them."""
    count = len(cards)
    shown = "is 1 picture" if count == 1 else f"are {count} pictures"
    form = json.dumps({f"picture_{n}": "<colour> <digit>" for n in range(1, count + 1)})
    text = (
        f"Above {shown}. Say for each in order the colour of its ground ({', '.join(COLOURS)}) and its digit. "
        f"Answer with one JSON object of this form and nothing else:\n{form}"
    )
    return (
        Message.of("system", _SYSTEM),
        Message.of("user", *(card.image for card in cards), text),
    )


def schema(count: int) -> dict[str, Any]:
    """The JSON schema of an answer."""
    names = [f"picture_{n}" for n in range(1, count + 1)]
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def read(text: str) -> tuple[Card, ...]:
    """The cards that a reply names, in its order; thoughts are no part of it, nor are cards named twice in a row."""
    visible = split_thinking(text)[1][-20_000:]
    found: list[Card] = []
    for colour, digit in _CARD.findall(visible):
        number = int(digit) if digit.isdigit() else _WORDS.index(digit.lower()) + 1
        card = Card(colour.lower(), number)
        if found[-1:] != [card]:
            found.append(card)
    return tuple(found)
