"""All choices behind one prompt in one pass: each token attends to the prompt and to its own choice, never to another's.

A choice counts as the *complete* answer: the log-probabilities of its tokens are summed, and that of the end behind them.
Without the end, ``RIGHT`` could never lose to ``RIGHTFIRE`` where the first is the beginning of the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.vlm.local.prompt import Padded, Prompt


@dataclass(frozen=True, eq=False)
class ChoiceTree:
    """The tokens of all choices in a row. ``ids``, ``depths`` (0 for a choice's first token), ``owner`` int64 ``(C,)``."""

    choices: tuple[tuple[int, ...], ...]
    ids: np.ndarray
    depths: np.ndarray
    owner: np.ndarray

    @classmethod
    def of(cls, choices: Sequence[Sequence[int]]) -> ChoiceTree:
        """Lay out the choices one after another."""
        lengths = [len(choice) for choice in choices]
        return cls(
            choices=tuple(tuple(choice) for choice in choices),
            ids=np.concatenate([np.asarray(choice, dtype=np.int64) for choice in choices]),
            depths=np.concatenate([np.arange(n) for n in lengths]),
            owner=np.repeat(np.arange(len(choices)), lengths),
        )

    def log_probs(self, logits: Any, stop_ids: Sequence[int]) -> Any:
        """Tensor float64 ``(n,)`` from logits ``(1 + C or more, V)``: of the prompt's last token, then of each choice token.

        Gradients flow where the logits carry them.
        """
        return self.words(logits, stop_ids).of_choices

    def words(self, logits: Any, stop_ids: Sequence[int]) -> WordScores:
        """What :meth:`log_probs` adds up."""
        values = logits.float()
        totals = values.logsumexp(-1)
        before, last = self._rows
        ends = values[last[:, None], list(stop_ids)].logsumexp(-1) - totals[last]
        tokens = values[before, self.ids] - totals[before]
        return WordScores(self, tokens.double(), ends.double(), values, totals)

    def scores(self, logits: Any, stop_ids: Sequence[int]) -> np.ndarray:
        """:meth:`log_probs` as an array."""
        return np.asarray(self.log_probs(logits, stop_ids).cpu().numpy())

    def array_scores(self, logits: np.ndarray, stop_ids: Sequence[int]) -> np.ndarray:
        """:meth:`scores` of an array of logits, without torch."""
        values = logits[: 1 + len(self.ids)].astype(np.float64)
        totals = _log_sum(values)
        before, last = self._rows
        ends = _log_sum(values[last[:, None], list(stop_ids)]) - totals[last]
        tokens = values[before, self.ids] - totals[before]
        return np.bincount(self.owner, tokens, len(self.choices)) + ends

    @property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The row of logits that predicts each token, and the row behind each choice."""
        before = np.where(self.depths == 0, 0, np.arange(len(self.ids)))
        return before, np.cumsum([len(choice) for choice in self.choices])


@dataclass(frozen=True, eq=False)
class WordScores:
    """Log-probabilities behind one prompt, tensors float64.

    ``tokens`` ``(C,)`` are of each choice's tokens, ``ends`` ``(n,)`` of the end behind each choice. They come from ``values``,
    the logits ``(1 + C or more, V)``, and ``totals``, the logarithms of the sums of their exponentials.
    """

    tree: ChoiceTree
    tokens: Any
    ends: Any
    values: Any
    totals: Any

    @property
    def of_choices(self) -> Any:
        """Of each choice as the complete answer, float64 ``(n,)``."""
        import torch

        owner = torch.from_numpy(self.tree.owner).to(self.tokens.device)
        return self.tokens.new_zeros(len(self.ends)).index_add(0, owner, self.tokens) + self.ends

    def behind(self, choice: int, ids: Sequence[int]) -> Any:
        """Of one of ``ids`` as the next token behind a choice, float64 ``(1,)``."""
        row = self.tree._rows[1][choice : choice + 1]
        found = self.values[row[:, None], list(ids)].logsumexp(-1) - self.totals[row]
        return found.double()


def _log_sum(values: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of exponentials along the last axis."""
    most = values.max(-1, keepdims=True)
    return np.log(np.exp(values - most).sum(-1)) + most[..., 0]


def with_choices(
    padded: Padded, prompts: Sequence[Prompt], trees: Sequence[ChoiceTree]
) -> tuple[Padded, np.ndarray]:
    """The padded prompts with their choices behind them, and what may attend to what (:func:`tree_mask`)."""
    width = max(len(tree.ids) for tree in trees)
    ids = np.stack([np.pad(tree.ids, (0, width - len(tree.ids))) for tree in trees])
    depths = np.stack([np.pad(tree.depths, (0, width - len(tree.ids))) for tree in trees])
    after = np.array([prompt.next_position for prompt in prompts])[:, None] + depths  # (B, width)
    positions = np.concatenate(
        [padded.positions, np.broadcast_to(after, (*padded.positions.shape[:-1], width))], -1
    )
    block = Padded(np.concatenate([padded.ids, ids], 1), padded.mask, positions, padded.pads)
    return block, tree_mask(padded.mask, padded.ids.shape[1], trees, width)


def tree_mask(known: np.ndarray, width: int, trees: Sequence[ChoiceTree], block: int) -> np.ndarray:
    """What may attend to what: bool ``(B, 1, width + block, L + width + block)``.

    ``known`` bool ``(B, L + width)`` marks the real tokens of the ``L`` shared and ``width`` padded prompt tokens; ``block``
    tokens of choices follow, those beyond a row's own choices attend to nothing but themselves.
    """
    rows, seen = known.shape
    mask = np.zeros((rows, 1, width + block, seen + block), dtype=bool)
    causal = np.tri(width, seen, k=seen - width, dtype=bool)
    mask[:, 0, :width, :seen] = causal & known[:, None]
    for row, tree in enumerate(trees):
        size = len(tree.ids)
        mask[row, 0, width : width + size, :seen] = known[row]
        same = tree.owner[:, None] == tree.owner[None]
        mask[row, 0, width : width + size, seen : seen + size] = same & (
            tree.depths[:, None] >= tree.depths[None]
        )
    places = np.arange(width + block)
    mask[:, 0, places, seen - width + places] = True
    return mask
