"""The weights that learn from rewards: those of imitation, and a value head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from atari_vlm.errors import DivergedError
from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.learner import Method, TuningLearner, UpdateConfig
from atari_vlm.training.tuning.ppo import PPOConfig, Turns, ppo_loss
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.training.tuning.turns import log_softmax
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
        width = base.network.get_output_embeddings().weight.shape[1]
        self.head = nn.Linear(width, 1).to(base.network.device, torch.float32)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.optimizer.add_param_group(
            {"params": list(self.head.parameters()), "weight_decay": 0.0}
        )
        self._first = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def policy(self, asked: Sequence[TaughtDecision]) -> tuple[list[np.ndarray], np.ndarray]:
        """Log-probabilities among the legal answers, float64 ``(A,)`` each, and values float64 ``(B,)``."""
        self.tuned.eval()
        with torch.no_grad():
            scores, values = self._look(asked)
        rows = [log_softmax(row.cpu().numpy()) for row in scores]
        return rows, values.double().cpu().numpy()

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
        self.tuned.train()
        self.updates += 1
        rate = self.config.rate(self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        scores, values = self._look(asked)
        loss, parts = ppo_loss(scores, values, turns, self.ppo)
        loss.backward()  # type: ignore[no-untyped-call]
        learned = [*self.weights.values(), *self.head.parameters()]
        norm = float(nn.utils.clip_grad_norm_(learned, self.config.max_norm))
        if not np.isfinite(norm):
            raise DivergedError(
                f"the loss of update {self.updates} is no number; lower --learning-rate", {}
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {**parts, "norm": norm, "learning_rate": rate}

    def _look(self, asked: Sequence[TaughtDecision]) -> tuple[list[Tensor], Tensor]:
        scores, hidden = self._states(asked)
        return scores, self.head(hidden.float())[:, 0]

    def arrays(self) -> dict[str, np.ndarray]:
        """Also the value head."""
        head = {f"head.{n}": p.detach().cpu().numpy() for n, p in self.head.named_parameters()}
        return {**super().arrays(), **head}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        super().restore(arrays)
        with torch.no_grad():
            for name, weight in self.head.named_parameters():
                weight.copy_(torch.from_numpy(arrays[f"head.{name}"]))
