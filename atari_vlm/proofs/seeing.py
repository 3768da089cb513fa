"""Whether a model looks: the same requests with other pictures in place of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from atari_vlm.types import Image, Message
from atari_vlm.vlm.base import VLM, Capability


class Blind:
    """A VLM that is shown black pictures instead of those it is asked with."""

    capabilities: frozenset[Capability] = frozenset({"scores"})

    def __init__(self, vlm: VLM):
        self._vlm, self.name = vlm, f"blind {vlm.name}"

    def complete(self, messages: Sequence[Message], *, sampling: Any) -> Any:
        """As the VLM, with other pictures."""
        return self._vlm.complete(self._changed(messages), sampling=sampling)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """As the VLM, with other pictures."""
        return self._vlm.score_choices(self._changed(messages), choices)

    def _changed(self, messages: Sequence[Message]) -> list[Message]:
        return [
            Message(
                message.role,
                tuple(
                    self._instead(part) if isinstance(part, Image) else part
                    for part in message.parts
                ),
            )
            for message in messages
        ]

    def _instead(self, image: Image) -> Image:
        return Image(np.zeros_like(image.pixels))


class Shuffled(Blind):
    """A VLM that is shown pictures of other moments of the game: one of the last ``remembered``, drawn from ``seed``."""

    def __init__(self, vlm: VLM, seed: int, remembered: int = 500):
        super().__init__(vlm)
        self.name = f"shuffled {vlm.name}"
        self._rng, self._seen = np.random.default_rng(seed), deque[Image](maxlen=remembered)

    def _instead(self, image: Image) -> Image:
        self._seen.append(image)
        return self._seen[int(self._rng.integers(len(self._seen)))]
