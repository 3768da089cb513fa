"""All choices behind one prompt in one pass: each token attends to the prompt and to its own choice, never to another's.

A choice counts as the *complete* answer: the log-probabilities of its tokens are summed, and that of the end behind them.
Without the end, ``RIGHT`` could never lose to ``RIGHTFIRE`` where the first is the beginning of the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


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
        import torch

        values = logits.float()
        totals = values.logsumexp(-1)
        before = np.where(
            self.depths == 0, 0, np.arange(len(self.ids))
        )  # the row that predicts each token
        last = np.cumsum([len(choice) for choice in self.choices])  # the row behind each choice
        ends = values[last[:, None], list(stop_ids)].logsumexp(-1) - totals[last]
        tokens = (values[before, self.ids] - totals[before]).double()
        owner = torch.from_numpy(self.owner).to(tokens.device)
        return tokens.new_zeros(len(self.choices)).index_add(0, owner, tokens) + ends.double()

    def scores(self, logits: Any, stop_ids: Sequence[int]) -> np.ndarray:
        """:meth:`log_probs` as an array."""
        return np.asarray(self.log_probs(logits, stop_ids).cpu().numpy())


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
