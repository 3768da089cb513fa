"""Limits on dollars, calls and tokens that stop a run cleanly, before the call that would go beyond them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from atari_vlm.errors import BudgetExhaustedError, ConfigError, check_positive
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Sampling


class Budget:
    """What may be spent and what was spent; shared by all threads of a run.

    A limit of ``None`` is no limit. Limits are checked before each call, so a run exceeds them by no more than the calls in
    flight at that moment.
    """

    def __init__(
        self, usd: float | None = None, calls: int | None = None, tokens: int | None = None
    ):
        check_positive(
            **{
                k: v
                for k, v in (("usd", usd), ("calls", calls), ("tokens", tokens))
                if v is not None
            }
        )
        self.limits = {"usd": usd, "calls": calls, "tokens": tokens}
        self.spent: dict[str, float] = {"usd": 0.0, "calls": 0, "tokens": 0}
        self._unpriced_model: str | None = None
        self._uncounted_model: str | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock: a copy in another process counts for itself."""
        with self._lock:
            state = {**self.__dict__, "spent": dict(self.spent)}
        del state["_lock"]
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def refuse_unpriced(self, vlm: VLM) -> None:
        """Raise ``ConfigError`` before anything is paid where a limit in dollars cannot be kept for ``vlm``."""
        if self.limits["usd"] is not None and getattr(vlm, "price_known", True) is False:
            raise _unpriced(vlm.name)

    def restore(self, *, usd: float, calls: int, tokens: int) -> None:
        """Count what an earlier part of the run spent."""
        with self._lock:
            self.spent = {"usd": usd, "calls": calls, "tokens": tokens}

    def restore_from(self, replies: Iterable[Mapping[str, Any]]) -> None:
        """Likewise, from the replies (and scores) that it paid for, as the journal holds them."""
        self.restore(usd=0.0, calls=0, tokens=0)
        for reply in replies:
            self.recover(Reply.from_dict(reply) if "text" in reply else None)

    def recover(self, reply: Reply | None) -> None:
        """Count a call that was made earlier, whatever the limits; ``None`` is one that has no price, such as scores."""
        with self._lock:
            self.spent["calls"] += 1
        if reply is not None:
            self.spend(reply)

    def reserve_call(self) -> None:
        """Count one call, or raise ``BudgetExhaustedError`` when a limit is reached.

        A limit in dollars cannot be kept once a reply came whose price is unknown, nor one in tokens once a reply came
        without their number: that is a ``ConfigError``.
        """
        with self._lock:
            if self._unpriced_model is not None and self.limits["usd"] is not None:
                raise _unpriced(self._unpriced_model)
            if self._uncounted_model is not None and self.limits["tokens"] is not None:
                raise ConfigError(
                    f"{self._uncounted_model!r} does not say how many tokens it reads and writes, so a budget in tokens cannot "
                    "be kept; limit calls instead (--max-calls)"
                )
            for kind, limit in self.limits.items():
                if limit is not None and self.spent[kind] >= limit:
                    raise BudgetExhaustedError(
                        f"the budget of {limit:g} {kind} is used up ({self.spent[kind]:g} spent); raise it and run the same "
                        "command again to continue",
                        kind,
                    )
            self.spent["calls"] += 1

    def release_call(self) -> None:
        """Give back a reserved call that brought no reply."""
        with self._lock:
            self.spent["calls"] -= 1

    def spend(self, reply: Reply) -> None:
        """Count a reply's tokens and dollars; a price that is no number is unknown."""
        cost = reply.legal().cost_usd
        with self._lock:
            self.spent["tokens"] += reply.usage.total
            self.spent["usd"] += cost or 0.0
            if cost is None:
                self._unpriced_model = reply.model
            if reply.usage.input_tokens is None or reply.usage.output_tokens is None:
                self._uncounted_model = reply.model


def _unpriced(model: str) -> ConfigError:
    return ConfigError(
        f"the price of {model!r} is unknown, so a budget in dollars cannot be kept; limit calls or tokens instead (--max-calls, "
        "--max-tokens), or add the price to a file named by ATARI_VLM_PRICES"
    )


class BudgetVLM:
    """A VLM that spends from a budget. Wrap it inside the cache: what is served from there is free."""

    def __init__(self, vlm: VLM, budget: Budget):
        self._vlm, self.budget = vlm, budget
        self.name, self.capabilities = vlm.name, vlm.capabilities

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Answer within the budget; ``BudgetExhaustedError`` otherwise."""
        self.budget.reserve_call()
        try:
            reply = self._vlm.complete(messages, sampling=sampling)
        except BaseException:
            self.budget.release_call()
            raise
        self.budget.spend(reply)
        return reply

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Score within the budget; counted as one call."""
        self.budget.reserve_call()
        try:
            return self._vlm.score_choices(messages, choices)
        except BaseException:
            self.budget.release_call()
            raise
