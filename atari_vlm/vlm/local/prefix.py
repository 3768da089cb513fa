"""The constant start of the prompt, kept as keys and values between requests.

Nobody has to say where the constant part ends: a request is compared with the recent ones, and what they share is kept from
then on. When the start changes (another game, new examples), less of it is reused and the new one is learnt with the next
request. Attention is causal, so what is reused is what would have been computed again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.vlm.local.prompt import Padded, Prompt

WORTHWHILE = 32  # tokens; less is not kept
_RECENT = 8  # requests that a new one is compared with
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Kept:
    """A start: what stands in it, and per layer keys and values ``(1, heads, tokens, width)``."""

    keys: np.ndarray
    layers: tuple[tuple[Any, Any], ...]

    @property
    def nbytes(self) -> int:
        """Memory of keys and values."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)


@dataclass(frozen=True, eq=False)
class Start:
    """What a batch begins with: its first ``length`` tokens are already known from ``kept``."""

    length: int = 0
    kept: Kept | None = None

    def cache(self, rows: int) -> Any:
        """A transformers cache holding the start in each of ``rows`` rows."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(
            self.kept.layers if self.kept and self.length else ()
        ):
            shape = (rows, -1, -1, -1)
            cache.update(
                keys[:, :, : self.length].expand(*shape),
                values[:, :, : self.length].expand(*shape),
                index,
            )
        return cache


class PrefixCache:
    """Starts of prompts, most recently used last. Used by one thread."""

    def __init__(self) -> None:
        self._kept: list[Kept] = []
        self._recent: deque[np.ndarray] = deque(maxlen=_RECENT)

    def groups(self, prompts: Sequence[Prompt]) -> list[tuple[Start, list[int]]]:
        """Split a batch by the start that its prompts share with a kept one: each group's start and its prompts' indices."""
        members: dict[int, list[int]] = {}
        lengths: dict[int, int] = {}
        for index, prompt in enumerate(prompts):
            # the last token is always computed: its output is what is asked for
            shared = [
                min(prompt.shared_with(kept.keys), _before_last(prompt)) for kept in self._kept
            ]
            slot = int(np.argmax(shared)) if shared and max(shared) >= WORTHWHILE else -1
            members.setdefault(slot, []).append(index)
            lengths[slot] = min(lengths.get(slot, len(prompt)), shared[slot] if slot >= 0 else 0)
        shared_prefixes = {slot: self._kept[slot] for slot in members if slot >= 0}
        for kept in shared_prefixes.values():
            self._kept.remove(kept)
            self._kept.append(kept)
        return [
            (Start(lengths[slot], shared_prefixes.get(slot)), indices)
            for slot, indices in members.items()
        ]

    def learn(self, prompts: Sequence[Prompt], start: Start, padded: Padded, cache: Any) -> None:
        """Keep what these prompts share with recent ones, where that is notably more; ``cache`` is the pass's."""
        shared = [
            max((prompt.shared_with(keys) for keys in self._recent), default=0)
            for prompt in prompts
        ]
        self._recent.extend(prompt.keys for prompt in prompts)
        row = int(np.argmax(shared))
        if shared[row] >= start.length + WORTHWHILE:
            self._keep(
                prompts[row].keys[: shared[row]], start.length, int(padded.pads[row]), row, cache
            )

    def _keep(self, keys: np.ndarray, known: int, pad: int, row: int, cache: Any) -> None:
        def real(tensor: Any) -> Any:
            parts = (
                tensor[row : row + 1, :, :known],
                tensor[row : row + 1, :, known + pad : pad + len(keys)],
            )
            return cat(parts, dim=2)

        from torch import cat

        kept = Kept(
            keys.copy(), tuple((real(layer.keys), real(layer.values)) for layer in cache.layers)
        )
        outgrown = [
            old
            for old in self._kept
            if len(old.keys) <= len(keys) and (old.keys == keys[: len(old.keys)]).all()
        ]
        self._kept = [old for old in self._kept if all(old is not o for o in outgrown)] + [kept]
        while len(self._kept) > 1 and sum(k.nbytes for k in self._kept) > _MAX_BYTES:
            self._kept.pop(0)


def _before_last(prompt: Prompt) -> int:
    """The longest start that leaves the last token and tears no picture."""
    return prompt.shared_with(prompt.keys[:-1])
