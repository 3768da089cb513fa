"""The weights that learn from rewards: those of imitation, and value heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.learner import Method, TuningLearner, UpdateConfig
from atari_vlm.training.tuning.ppo import PPOConfig, Turns, ppo_loss
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.training.tuning.thoughts import Thought
from atari_vlm.training.tuning.turns import log_softmax
from atari_vlm.training.tuning.values import ValueHeads
from atari_vlm.vlm.local.adapter import Adapter, load_weights
from atari_vlm.world_models.learned.team import Team


@dataclass(frozen=True)
class Decided:
    """Of some decisions: log-probabilities among the legal answers, and last hidden states ``(B, D)``.

    ``first_scores`` are what the first weights give (empty where nobody asks), ``thoughts`` what stands before the answers (empty
    where nothing is written).
    """

    scores: list[np.ndarray]
    hidden: np.ndarray
    first_scores: list[np.ndarray] = field(default_factory=list)
    thoughts: list[Thought] = field(default_factory=list)


class ReinforcedLearner(TuningLearner):
    """The weights that learn, with a value head for each of ``games`` on what the model's own head reads behind the prompt.

    All processes of a team ask the same, each computes its part, and all are given every answer.
    """

    state_reward = 0.0

    def __init__(
        self,
        base: Base,
        method: Method,
        config: UpdateConfig,
        ppo: PPOConfig,
        start: Adapter | None = None,
        *,
        team: Team | None = None,
        games: int = 1,
    ):
        layers = None if start is None else start.config
        super().__init__(base, method, config, layers, team=team)
        if start is not None:
            load_weights(start, self.tuned)
        self.ppo = ppo
        self.values = ValueHeads(base.network.get_output_embeddings().weight.shape[1], games)
        self._first = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def policy(self, asked: Sequence[TaughtDecision]) -> tuple[list[np.ndarray], np.ndarray]:
        """Log-probabilities among the legal answers, float64 ``(A,)`` each, and last hidden states float32 ``(B, D)``."""
        self.tuned.eval()
        own, count = self._own(asked)
        with torch.no_grad():
            scores, hidden = self.states([asked[n] for n in own])
        rows = [log_softmax(row.cpu().numpy()) for row in scores][:count]
        states = self.team.gather(hidden[:count].float().cpu())
        return self._gathered(rows, [len(d.names) for d in asked]), states.numpy()

    def _own(self, asked: Sequence[TaughtDecision]) -> tuple[range, int]:
        """What this process computes of ``asked``, and how many of these count: where nothing is left for it, one for nothing."""
        own = range(len(asked))[self.team.part(len(asked))]
        return own or range(1), len(own)

    def _gathered(self, rows: Sequence[np.ndarray], lengths: Sequence[int]) -> list[np.ndarray]:
        """The rows of all processes, float64, from those of this one; ``lengths`` are of all."""
        if self.team.size == 1:
            return list(rows)
        padded = np.zeros((len(rows), max(lengths)))
        for padded_row, row in zip(padded, rows, strict=True):
            padded_row[: len(row)] = row
        every = self.team.gather(torch.from_numpy(padded)).numpy()
        return [row[:length] for row, length in zip(every, lengths, strict=True)]

    def worth(self, asked: Sequence[TaughtDecision], games: Sequence[int]) -> np.ndarray:
        """Values float64 ``(B,)``; ``games`` are the numbers of the decisions' games."""
        return self.values(self.policy(asked)[1], games)

    def decide(self, asked: Sequence[TaughtDecision], rng: np.random.Generator) -> Decided:
        """What actions are drawn from; ``rng`` is for what is drawn before them, which is nothing here."""
        scores, hidden = self.policy(asked)
        return Decided(scores, hidden, self.first_policy(asked) if self.ppo.kl else [])

    def first_policy(self, asked: Sequence[TaughtDecision]) -> list[np.ndarray]:
        """What the weights that training began with say."""
        with self.first_weights():
            return self.policy(asked)[0]

    @contextmanager
    def first_weights(self) -> Iterator[None]:
        """In the block the weights are those that training began with."""
        now = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self._put(self._first)
        try:
            yield
        finally:
            self._put(now)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(weights[name])

    def improve(self, asked: Sequence[TaughtDecision], turns: Turns) -> dict[str, float]:
        """One update on a minibatch."""
        rate = self.begin()
        own, count = self._own(asked)
        share = count / len(asked)
        loss, parts = self._loss([asked[n] for n in own], turns.part(own))
        (loss * share).backward()  # type: ignore[no-untyped-call]
        parts["loss"] = float(loss.detach())
        sums = self.team.sum_values({name: part * share for name, part in parts.items()})
        norm = self.step(sums.pop("loss"))
        return {**sums, "norm": norm, "learning_rate": rate}

    def _loss(
        self, asked: Sequence[TaughtDecision], turns: Turns
    ) -> tuple[Tensor, dict[str, float]]:
        return ppo_loss(self._scores(asked), turns, self.ppo)

    def arrays(self) -> dict[str, np.ndarray]:
        """Also the value heads."""
        return {**super().arrays(), **self.values.arrays()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        super().restore(arrays)
        self.values.restore(arrays)
