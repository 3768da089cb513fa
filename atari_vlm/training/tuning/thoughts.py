"""Thoughts that a model writes before it is scored."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from atari_vlm.errors import ConfigError
from atari_vlm.vlm.local.adapter import LONGEST_THOUGHT

_NONE = np.zeros(0)


@dataclass(frozen=True)
class ThinkingConfig:
    """``tokens``: the most of a thought.

    ``state_reward``: what a turn earns beside the game's reward where its thought states the next state rightly
    (:mod:`stating`); 0: nothing is judged.
    """

    tokens: int = 24
    state_reward: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.tokens <= LONGEST_THOUGHT:
            raise ConfigError(
                f"reasoning_tokens is from 1 to {LONGEST_THOUGHT}, got {self.tokens!r}"
            )
        if not 0 <= self.state_reward < float("inf"):
            raise ConfigError(f"state_reward must not be negative, got {self.state_reward!r}")

    @property
    def in_words(self) -> str:
        """What a table says of a run with thoughts."""
        extra = f" and a state reward of {self.state_reward:g} that is in no return"
        return f"thoughts of at most {self.tokens} tokens{extra if self.state_reward else ''}"


@dataclass(frozen=True, eq=False)
class Thought:
    """What was written before an answer.

    ``ids`` are the drawn tokens; ``ended`` says whether an end was drawn behind them, which is one more (a drawn mark of a
    picture, which is no word, counts as an end). ``text`` is what they say before an answer, and ``answers`` are the tokens
    of every complete answer that begins with it. ``log_probs`` and ``reference`` are of the drawn tokens, float64 ``(K,)``:
    when they were drawn, and by the policy that training began with.
    """

    ids: tuple[int, ...]
    ended: bool
    text: str
    answers: tuple[tuple[int, ...], ...]
    log_probs: np.ndarray = field(default_factory=_NONE.copy)
    reference: np.ndarray = field(default_factory=_NONE.copy)

    def __len__(self) -> int:
        return len(self.ids) + self.ended
