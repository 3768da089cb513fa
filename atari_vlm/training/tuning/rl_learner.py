"""The weights that learn from rewards: those of imitation, and a value head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.learner import Method, TuningLearner, UpdateConfig
from atari_vlm.training.tuning.ppo import PPOConfig, Turns, ppo_loss
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.training.tuning.turns import log_softmax
from atari_vlm.training.tuning.values import ValueHead
from atari_vlm.vlm.local.adapter import Adapter, load_weights
from atari_vlm.world_models.learned.team import Team


class ReinforcedLearner(TuningLearner):
    """The weights that learn, with a value head on what the model's own head reads behind the prompt.

    All processes of a team ask the same, each computes its part, and all are given every answer.
    """

    def __init__(
        self,
        base: Base,
        method: Method,
        config: UpdateConfig,
        ppo: PPOConfig,
        start: Adapter | None = None,
        *,
        team: Team | None = None,
    ):
        layers = None if start is None else start.config
        super().__init__(base, method, config, layers, team=team)
        if start is not None:
            load_weights(start, self.tuned)
        self.ppo = ppo
        self.values = ValueHead(base.network.get_output_embeddings().weight.shape[1])
        self._first = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def policy(self, asked: Sequence[TaughtDecision]) -> tuple[list[np.ndarray], np.ndarray]:
        """Log-probabilities among the legal answers, float64 ``(A,)`` each, and last hidden states float32 ``(B, D)``."""
        self.tuned.eval()
        own, count = self._own(asked)
        with torch.no_grad():
            scores, hidden = self.states([asked[n] for n in own])
        rows = [log_softmax(row.cpu().numpy()) for row in scores][:count]
        states = self.team.gather(hidden[:count].float().cpu())
        return self._gathered(asked, rows), states.numpy()

    def _own(self, asked: Sequence[TaughtDecision]) -> tuple[range, int]:
        """What this process computes of ``asked``, and how many of these count: where nothing is left for it, one for nothing."""
        own = range(len(asked))[self.team.part(len(asked))]
        return own or range(1), len(own)

    def _gathered(
        self, asked: Sequence[TaughtDecision], rows: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """The rows of all processes, each as long as its decision has answers."""
        if self.team.size == 1:
            return list(rows)
        padded = np.zeros((len(rows), max(len(d.names) for d in asked)))
        for padded_row, row in zip(padded, rows, strict=True):
            padded_row[: len(row)] = row
        every = self.team.gather(torch.from_numpy(padded)).numpy()
        return [row[: len(d.names)] for row, d in zip(every, asked, strict=True)]

    def worth(self, asked: Sequence[TaughtDecision]) -> np.ndarray:
        """Values float64 ``(B,)``."""
        return self.values(self.policy(asked)[1])

    def first_policy(self, asked: Sequence[TaughtDecision]) -> list[np.ndarray]:
        """What the weights that training began with say."""
        now = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self._put(self._first)
        try:
            return self.policy(asked)[0]
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
        loss, parts = ppo_loss(self._scores([asked[n] for n in own]), turns.part(own), self.ppo)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        parts["loss"] = float(loss.detach())
        sums = self.team.sum_values({name: part * share for name, part in parts.items()})
        norm = self.step(sums.pop("loss"))
        return {**sums, "norm": norm, "learning_rate": rate}

    def arrays(self) -> dict[str, np.ndarray]:
        """Also the value head."""
        return {**super().arrays(), **self.values.arrays()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        super().restore(arrays)
        self.values.restore(arrays)
