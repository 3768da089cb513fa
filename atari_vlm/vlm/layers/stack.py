"""What stands around a VLM in every run, put together in one place: keys, then the budget, then the cache.

Keys are hidden first, so that nothing above ever sees one. What the cache serves was not asked for, so it is not spent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Sampling
from atari_vlm.vlm.layers.budget import Budget, BudgetVLM
from atari_vlm.vlm.layers.cache import CachedVLM, CacheMode
from atari_vlm.vlm.layers.keyless import KeylessVLM, known_keys


class Limits(Protocol):
    """The options of a run that :func:`limited` reads; ``None`` is no limit and no cache."""

    @property
    def budget_usd(self) -> float | None: ...  # noqa: D102

    @property
    def max_calls(self) -> int | None: ...  # noqa: D102

    @property
    def max_tokens(self) -> int | None: ...  # noqa: D102

    @property
    def cache(self) -> str | Path | None: ...  # noqa: D102

    @property
    def cache_mode(self) -> CacheMode: ...  # noqa: D102


class LimitedVLM:
    """A VLM within the limits of a run, made by :func:`limited`. Close it: it may hold a cache open."""

    def __init__(self, vlm: VLM, budget: Budget, limits: Limits):
        self.budget = budget
        self.name, self.capabilities = vlm.name, vlm.capabilities
        self._vlm: BudgetVLM | CachedVLM = BudgetVLM(vlm, budget)
        if limits.cache is not None:
            self._vlm = CachedVLM(
                self._vlm, limits.cache, limits.cache_mode, recovered=budget.recover
            )

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """The cached reply, else the VLM's own within the budget."""
        return self._vlm.complete(messages, sampling=sampling)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """The cached scores, else the VLM's own within the budget."""
        return self._vlm.score_choices(messages, choices)

    def restore(self, replies: Iterable[Mapping[str, Any]]) -> None:
        """Count what an earlier part of the run paid for (``Journal.replies(paid=True)``)."""
        self.budget.restore_from(replies)

    def close(self) -> None:
        """Close the cache. The VLM inside belongs to whoever made it."""
        if isinstance(self._vlm, CachedVLM):
            self._vlm.close()


def limited(
    vlm: VLM, limits: Limits, *, api_key: str | None = None, budget: Budget | None = None
) -> LimitedVLM:
    """``vlm`` behind what every run puts around it. Several VLMs of one run share a ``budget``; the ``keys`` that a VLM says it
    sends are hidden too, whoever made it.

    Raises ``ConfigError`` where a limit cannot be kept, before anything is paid.
    """
    budget = budget or budget_of(limits)
    if limits.cache is None or limits.cache_mode != "replay-only":  # what only replays pays nothing
        budget.refuse_unpriced(vlm)
    keys = [*known_keys(api_key), *getattr(vlm, "keys", ())]
    return LimitedVLM(KeylessVLM(vlm, keys), budget, limits)


def budget_of(limits: Limits) -> Budget:
    """An unspent budget of these limits."""
    return Budget(limits.budget_usd, limits.max_calls, limits.max_tokens)
