"""The action buffer: plans that a world model found good, best first, given out one action at a time.

A plan enters only if its score reaches the threshold; when the buffer is full the worst plan leaves. The plan being followed is
not among the waiting ones. Waiting plans were made for an earlier state: an agent judges them again (:meth:`take_waiting`)
before it follows one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, check_positive


@dataclass(frozen=True)
class BufferedPlan:
    """A plan with its score; ``order`` tells which of two equal scores came first."""

    actions: tuple[int, ...]
    score: float
    order: int


class ActionBuffer:
    """Holds up to ``max_buffer_size`` plans whose score is at least ``score_threshold``.

    Counts what it did: ``hits`` (actions given out), ``expired`` (actions of plans that were cleared away), ``refused`` and
    ``dropped`` plans.
    """

    def __init__(self, max_buffer_size: int = 10, score_threshold: float = 0.0):
        check_positive(max_buffer_size=max_buffer_size)
        if not isinstance(max_buffer_size, int) or math.isnan(score_threshold):
            raise ConfigError(
                f"max_buffer_size is a whole number and score_threshold a number, got {max_buffer_size!r}, {score_threshold!r}"
            )
        self.max_buffer_size, self.score_threshold = max_buffer_size, score_threshold
        self._plans: list[BufferedPlan] = []
        self._rest: list[int] = []
        self._score = math.nan
        self._entered = 0
        self.hits = self.expired = self.refused = self.dropped = 0

    def add_plan(self, actions: Sequence[int], score: float) -> bool:
        """Offer a plan; whether it is in the buffer afterwards.

        Empty plans, actions that are no index, and scores that are no finite number never are.
        """
        if not _is_plan(actions) or not math.isfinite(score) or score < self.score_threshold:
            self.refused += 1
            return False
        plan = tuple(int(action) for action in actions)
        self._entered += 1
        entry = BufferedPlan(plan, float(score), self._entered)
        self._plans.append(entry)
        self._plans.sort(key=lambda waiting: (-waiting.score, waiting.order))
        if len(self._plans) <= self.max_buffer_size:
            return True
        worst = self._plans.pop()
        self.dropped += 1
        return worst is not entry

    def get_action(self) -> int | None:
        """The next action of the plan being followed, else the first of the best waiting plan; ``None`` when empty."""
        if not self._rest:
            if not self._plans:
                return None
            best = self._plans.pop(0)
            self._rest, self._score = list(best.actions), best.score
        self.hits += 1
        return self._rest.pop(0)

    def stop_following(self) -> None:
        """Give up the rest of the plan being followed; the waiting ones stay."""
        self.expired += len(self._rest)
        self._rest = []

    def take_waiting(self) -> tuple[BufferedPlan, ...]:
        """Remove and return the waiting plans, best first, so that they can be judged again; they count as expired."""
        plans, self._plans = tuple(self._plans), []
        self.expired += sum(len(plan.actions) for plan in plans)
        return plans

    def clear(self) -> None:
        """Forget every plan; what was not given out counts as expired."""
        self.stop_following()
        self.take_waiting()

    def is_empty(self) -> bool:
        """Whether :meth:`get_action` would return ``None``."""
        return not self._rest and not self._plans

    @property
    def is_following(self) -> bool:
        """Whether a plan has begun and is not at its end."""
        return bool(self._rest)

    def get_buffer_status(self) -> dict[str, Any]:
        """Plain data: sizes, the plan being followed, the waiting plans' scores, and the counters."""
        return {
            "size": len(self._plans),
            "max_size": self.max_buffer_size,
            "score_threshold": self.score_threshold,
            "actions_remaining": len(self._rest),
            "plan": list(self._rest),
            "scores": [plan.score for plan in self._plans],
            "hits": self.hits,
            "expired": self.expired,
            "refused": self.refused,
            "dropped": self.dropped,
        }


def _is_plan(actions: Sequence[int]) -> bool:
    """Whether these are action indices, one at least; booleans and fractions are none."""
    return len(actions) > 0 and all(
        isinstance(action, (int, np.integer)) and not isinstance(action, bool) and action >= 0
        for action in actions
    )
