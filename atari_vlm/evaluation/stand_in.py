"""A VLM that stands in for another while its calls are counted: it answers a random legal action and costs nothing."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

import numpy as np

from atari_vlm.types import Image, Message, Reply
from atari_vlm.vlm.base import VLM, Sampling, request_key
from atari_vlm.vlm.scripted.reading import read_request
from atari_vlm.vlm.scripted.scene import Move
from atari_vlm.vlm.scripted.writing import write_answer

_SAID = "I looked at the picture and chose what seemed best at this moment of the game."
_LETTERS = 4  # of a text, a token
_KEPT = 64  # requests from which the typical one is taken


@dataclasses.dataclass(frozen=True)
class Request:
    """One request, as it was made: to complete, or to score ``choices``."""

    messages: tuple[Message, ...]
    sampling: Sampling | None
    choices: tuple[str, ...]

    @property
    def weight(self) -> float:
        """About how many tokens it has; only ratios are used."""
        images = [image for message in self.messages for image in message.images]
        letters = sum(len(message.text) for message in self.messages)
        return letters / _LETTERS + sum(_picture_tokens(image) for image in images)

    @property
    def echoes(self) -> int:
        """How many of the stand-in's own earlier replies stand in it."""
        return sum(m.role == "assistant" and _SAID in m.text for m in self.messages)


def _picture_tokens(image: Image) -> float:
    height, width = image.pixels.shape[:2]
    return max(85.0, height * width / 750)


class StandIn:
    """Answers a random legal action in the form asked for, and weighs what it is asked.

    ``calls``, ``weight`` and ``echoes`` (its own earlier replies in requests) are of the whole study: what each cell's part
    asked, times how often the part goes into the cell.
    """

    def __init__(self, vlm: VLM):
        self.name, self.capabilities = vlm.name, vlm.capabilities
        self.calls = self.weight = self.echoes = 0.0
        self._now = np.zeros(3)  # calls, weight, echoes
        self._letters = 0
        self._kept: list[tuple[float, Request]] = []
        self._stride, self._seen = 1, 0
        self._lock = threading.Lock()

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """A legal answer that depends on nothing but the request."""
        self._note(Request(tuple(messages), sampling, ()))
        request = read_request(messages, sampling)
        if not request.actions:
            return Reply(_SAID, self.name, cost_usd=0.0)
        move = Move(request.dice().choice(request.actions), _SAID)
        text = write_answer(move, request)
        self._letters = len(text)
        return Reply(text, self.name, cost_usd=0.0)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Scores that depend on nothing but the request."""
        self._note(Request(tuple(messages), None, tuple(choices)))
        seed = int(request_key(self.name, messages, None, choices)[:8], 16)
        chances = np.random.default_rng(seed).dirichlet(np.ones(len(choices)))
        return np.log(np.maximum(chances, 1e-12))

    def stood_for(self, factor: float) -> None:
        """What was asked since the last time stands for ``factor`` times as much."""
        calls, weight, echoes = (factor * self._now).tolist()
        self.calls, self.weight, self.echoes = (
            self.calls + calls,
            self.weight + weight,
            self.echoes + echoes,
        )
        self._now[:] = 0

    def weight_with(self, letters: int) -> float:
        """The weight of all requests if the replies in them had so many letters."""
        return self.weight + self.echoes * (letters - self._letters) / _LETTERS

    def typical(self) -> Request | None:
        """The request whose weight is nearest to the mean."""
        if not self._kept:
            return None
        mean = self.weight / self.calls
        return min(self._kept, key=lambda item: abs(item[0] - mean))[1]

    def _note(self, request: Request) -> None:
        weight = request.weight
        with self._lock:
            self._now += (1, weight, request.echoes)
            if self._seen % self._stride == 0:
                self._kept.append((weight, request))
            self._seen += 1
            if len(self._kept) > _KEPT:
                self._kept, self._stride = self._kept[::2], 2 * self._stride
