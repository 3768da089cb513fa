"""How a text is told over the steps of an episode: a token a step, a few, or all at once (Lin et al. 2023, arXiv 2308.01399).

What is still to be said is explicit state, rows first, so that it can be carried, branched and stored as any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atari_vlm.errors import check_count
from atari_vlm.world_models.dreamer.language.tokenizers import Tokenizer

_NOTHING = -1
Told = dict[str, np.ndarray]


class Telling:
    """Tells texts ``tokens`` at a step (default one); what is longer than ``longest`` tokens is cut.

    A new text begins at once, whether or not the one before was told to its end; a text that stands unchanged is told once, and
    what is begun goes on while the environment is silent. After it there is silence, the tokenizer's ``pad``. With ``at_once``
    all ``longest`` tokens are said at every step at which the text is shown, and none at others.

    State: ``text`` int64 ``(B, longest)``, the ids of the present text, and ``place`` int64 ``(B,)``, how many were told.
    """

    def __init__(
        self, tokenizer: Tokenizer, tokens: int = 1, *, longest: int = 64, at_once: bool = False
    ):
        check_count(tokens=tokens, longest=longest)
        self.tokenizer, self.longest, self.at_once = tokenizer, longest, at_once
        self.tokens = longest if at_once else min(tokens, longest)
        self._known: dict[str, np.ndarray] = {}

    def begin(self, rows: int) -> Told:
        """Before anything was said."""
        return {
            "text": np.full((rows, self.longest), _NOTHING, np.int64),
            "place": np.zeros(rows, np.int64),
        }

    def step(self, texts: Sequence[str], told: Told, reset: np.ndarray) -> tuple[np.ndarray, Told]:
        """The ids of one step, int64 ``(B, tokens)``, of what the environment says in it; ``reset`` bool ``(B,)`` marks rows
        whose episode begins.
        """
        shown = np.stack([self._ids(text) for text in texts])
        before = np.where(reset[:, None], _NOTHING, told["text"])
        speaks = (shown != _NOTHING).any(1)
        begins = speaks & (shown != before).any(1)
        if self.at_once:
            said, text, place = shown, shown, told["place"]
        else:
            text = np.where(begins[:, None], shown, before)
            place = np.where(begins | reset, 0, told["place"])
            said = self._next(text, place)
            place = np.minimum(place + self.tokens, self.longest)
        ids = np.where(said == _NOTHING, self.tokenizer.pad, said)
        return ids, {"text": text, "place": place}

    def scan(self, texts: np.ndarray, told: Told, reset: np.ndarray) -> tuple[np.ndarray, Told]:
        """T steps at once: texts ``(B, T)`` and ``reset`` ``(B, T)`` to ids ``(B, T, tokens)``; equal to stepping."""
        ids = []
        for t in range(texts.shape[1]):
            said, told = self.step(list(texts[:, t]), told, reset[:, t])
            ids.append(said)
        return np.stack(ids, 1), told

    def recall(self, shown: Sequence[tuple[int, str]]) -> tuple[np.ndarray, int]:
        """One row of the state after an episode's steps until now, of which each pair says how many steps ago a text was shown
        (1: at the last one), the oldest first; a text that stands may be left out.
        """
        text, ago = np.full(self.longest, _NOTHING, np.int64), 0
        for steps, other in reversed(shown):
            ids = self._ids(other)
            if (ids == _NOTHING).all():
                continue
            if ago and (ids != text).any():
                break
            text, ago = ids, steps
        return text, min(ago * self.tokens, self.longest)

    def said(self, ids: np.ndarray) -> list[str]:
        """What ids ``(B, tokens)`` say, a text for each row."""
        return [self.tokenizer.decode(row.tolist()) for row in np.asarray(ids)]

    def _next(self, text: np.ndarray, place: np.ndarray) -> np.ndarray:
        at = place[:, None] + np.arange(self.tokens)
        there = np.take_along_axis(text, np.minimum(at, self.longest - 1), 1)
        return np.where(at < self.longest, there, _NOTHING)

    def _ids(self, text: str) -> np.ndarray:
        """The ids of a text, cut or filled up to ``longest``; each text is encoded once."""
        if text not in self._known:
            if len(self._known) >= 1 << 14:
                self._known.clear()
            ids = np.full(self.longest, _NOTHING, np.int64)
            encoded = self.tokenizer.encode(text)[: self.longest]
            ids[: len(encoded)] = encoded
            self._known[text] = ids
        return self._known[text]
