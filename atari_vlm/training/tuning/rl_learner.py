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


class ReinforcedLearner(TuningLearner):
    """The weights that learn, with a value head on what the model's own head reads behind the prompt."""

    def __init__(
        self,
        base: Base,
        method: Method,
        config: UpdateConfig,
        ppo: PPOConfig,
        start: Adapter | None = None,
    ):
        super().__init__(base, method, config, None if start is None else start.config)
        if start is not None:
            load_weights(start, self.tuned)
        self.ppo = ppo
        self.values = ValueHead(base.network.get_output_embeddings().weight.shape[1])
        self._first = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def policy(self, asked: Sequence[TaughtDecision]) -> tuple[list[np.ndarray], np.ndarray]:
        """Log-probabilities among the legal answers, float64 ``(A,)`` each, and last hidden states float32 ``(B, D)``."""
        self.tuned.eval()
        with torch.no_grad():
            scores, hidden = self.states(asked)
        return [log_softmax(row.cpu().numpy()) for row in scores], hidden.float().cpu().numpy()

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
        loss, parts = ppo_loss(self._scores(asked), turns, self.ppo)
        loss.backward()  # type: ignore[no-untyped-call]
        return {**parts, "norm": self.step(float(loss.detach())), "learning_rate": rate}

    def arrays(self) -> dict[str, np.ndarray]:
        """Also the value head."""
        return {**super().arrays(), **self.values.arrays()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        super().restore(arrays)
        self.values.restore(arrays)
