"""The weights that learn, and one update of them: cross-entropy over the complete legal answers of one pass.

A decision's loss is minus the log of the probability that the model gives the teacher's answer among the legal ones
(softmax over the log-probabilities of the whole answers, their ends included): exactly the distribution that it plays from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from atari_vlm.errors import ConfigError, DivergedError, RunError, check_count, check_positive
from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.memory import within_memory
from atari_vlm.training.tuning.resting import RestingEyes
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.vlm.local.adapter import EVERY_LAYER, with_layers
from atari_vlm.vlm.local.engine import ScoreRequest
from atari_vlm.vlm.local.prompt import Prompt
from atari_vlm.world_models.learned.arrays import array_of, optimizer_arrays, restore_optimizers
from atari_vlm.world_models.learned.team import Team

Method = Literal["lora", "full", "qlora"]
_LAST_SHARE = 0.05  # of the learning rate
_SCORED_AT_ONCE = 32
_REMEMBERED = 100_000  # answers as tokens


@dataclass(frozen=True)
class UpdateConfig:
    """How weights are changed.

    ``reasoning`` weighs the cross-entropy of the teacher's reasoning (its mean over tokens, written instead of an answer) beside
    that of its answer: describing what is seen teaches seeing. Play stays one pass.

    The rate rises over the first ``warm_up`` share of the updates, holds, and falls linearly over the last ``falling`` share.
    ``rank`` and ``alpha`` are LoRA's. ``micro_batch`` decisions are computed at once; the gradients of a batch are summed.
    """

    updates: int = 500
    batch_size: int = 32
    learning_rate: float = 1e-3
    warm_up: float = 0.05
    falling: float = 0.4
    weight_decay: float = 0.01
    max_norm: float = 1.0
    rank: int = 16
    alpha: float = 32.0
    micro_batch: int | None = None
    gradient_checkpointing: bool = False
    balance: bool = False
    reasoning: float = 0.0

    def __post_init__(self) -> None:
        check_count(updates=self.updates, batch_size=self.batch_size, rank=self.rank)
        check_positive(learning_rate=self.learning_rate, max_norm=self.max_norm, alpha=self.alpha)
        if self.micro_batch is not None:
            check_count(micro_batch=self.micro_batch)
        if not 0 <= self.reasoning < float("inf"):
            raise ConfigError(f"reasoning is a weight of at least 0, got {self.reasoning!r}")
        if not 0 <= self.warm_up <= 1 or not 0 < self.falling <= 1 or self.weight_decay < 0:
            raise ConfigError(
                "warm_up is a share from 0 to 1, falling one above 0, and weight_decay at least 0"
            )

    def rate(self, update: int) -> float:
        """The learning rate of update ``update``, from 1."""
        rising = min(1.0, update / max(1.0, self.warm_up * self.updates))
        left = (self.updates - update) / (self.falling * self.updates)
        return self.learning_rate * rising * min(1.0, max(_LAST_SHARE, left))


def layers_of(network: Any, method: Method, config: UpdateConfig) -> dict[str, Any]:
    """Peft's configuration: low-rank layers on every linear layer of the language model, or whole modules for ``full``."""
    common = {"r": config.rank, "lora_alpha": config.alpha}
    if method == "full":
        return {**common, "target_modules": EVERY_LAYER, "modules_to_save": _whole_modules(network)}
    decoder = network.get_decoder()
    prefix = next(name for name, module in network.named_modules() if module is decoder)
    names = [
        f"{prefix}.{name}"
        for name, module in decoder.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    if not names:
        raise ConfigError(f"{type(network).__name__} has no linear layers for an adapter")
    return {**common, "target_modules": sorted(names)}


def _whole_modules(network: Any) -> list[str]:
    """The parts of a model that hold all its weights: its children, those of ``model`` instead of that."""
    names = []
    for name, child in network.named_children():
        inner = [n for n, _ in child.named_children()] if name == "model" else [name]
        names += inner
    return sorted(names)


class TuningLearner:
    """A base with new layers, their optimizer, and its updates. Deterministic on one CPU thread.

    Every process of a ``team`` is given the same batch and computes a part of it; gradients are summed, so weights stay equal.
    """

    eyes: RestingEyes | None = None  # where what sees does not learn

    def __init__(
        self,
        base: Base,
        method: Method,
        config: UpdateConfig,
        layers: Mapping[str, Any] | None = None,
        *,
        team: Team | None = None,
    ):
        self.base, self.method, self.config = base, method, config
        self.team = team or Team()
        network = base.network
        if config.gradient_checkpointing:
            network.gradient_checkpointing_enable({"use_reentrant": False})
        if method == "qlora":
            network.requires_grad_(False)
            _keep_unpacked(network)
        self.layers = dict(layers) if layers is not None else layers_of(network, method, config)
        self.tuned = with_layers(network, self.layers)
        self.weights = {n: p for n, p in self.tuned.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            _groups(self.weights, config.weight_decay), lr=config.learning_rate, fused=True
        )
        self.updates = 0
        self._prompts: WeakKeyDictionary[TaughtDecision, Prompt] = WeakKeyDictionary()
        self._choices: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}

    def update(self, batch: Sequence[TaughtDecision], shares: np.ndarray) -> dict[str, float]:
        """One update; ``shares`` float ``(B,)`` weigh the decisions. Mean loss, accuracy, gradient norm, learning rate."""
        rate = self.begin()
        own, whole = self.team.part(len(batch)), float(shares.sum())
        sums = {"loss": 0.0, "right": 0.0, "said": 0.0}
        size = self.config.micro_batch or len(batch)
        for at in range(own.start, own.stop, size):
            part = slice(at, min(at + size, own.stop))
            scores, words = self._worded(batch[part])
            losses = [_loss(row, d.action) for row, d in zip(scores, batch[part], strict=True)]
            both = torch.stack(losses) + self.config.reasoning * torch.stack(words)
            total = (both * torch.from_numpy(shares[part]).to(both)).sum() / whole
            total.backward()  # type: ignore[no-untyped-call]
            sums["loss"] += float(total.detach())
            sums["said"] += float(torch.stack(words).detach().sum())
            sums["right"] += sum(
                int(row.argmax()) == d.action for row, d in zip(scores, batch[part], strict=True)
            )
        sums = self.team.sum_values(sums)
        loss, accuracy = sums["loss"], sums["right"] / len(batch)
        measured = {"loss": loss, "accuracy": accuracy, "norm": self.step(loss)}
        measured["learning_rate"] = rate
        if self.config.reasoning:
            measured["reasoning"] = sums["said"] / len(batch)
        return measured

    def begin(self) -> float:
        """Begin an update; its learning rate."""
        self.tuned.train()
        self.updates += 1
        rate = self.config.rate(self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def step(self, loss: float) -> float:
        """Change the weights by the gradients of all processes; their norm. ``loss`` is that of all, too."""
        self.team.sum_gradients(self.weights.values())
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights.values(), self.config.max_norm))
        if not np.isfinite(loss) or not np.isfinite(norm):
            raise DivergedError(
                f"the loss of update {self.updates} is no number; lower --learning-rate", {}
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def log_probs(self, decisions: Sequence[TaughtDecision]) -> list[np.ndarray]:
        """Log-probabilities of the legal answers, float64 ``(A,)`` a decision, as play computes them."""
        self.tuned.eval()
        with torch.no_grad():
            rows = [
                row.cpu().numpy()
                for at in range(0, len(decisions), _SCORED_AT_ONCE)
                for row in self._scores(decisions[at : at + _SCORED_AT_ONCE])
            ]
        return rows

    def _scores(self, batch: Sequence[TaughtDecision]) -> list[Tensor]:
        return self.states(batch)[0]

    def _worded(self, batch: Sequence[TaughtDecision]) -> tuple[list[Tensor], list[Tensor]]:
        """The answers' log-probabilities, and the mean over the tokens of the reasoning of minus theirs, 0 where there is none.

        The reasoning stands in the same pass as the answers, and neither sees the other.
        """
        said = [d.reasoning if self.config.reasoning else "" for d in batch]
        requests = [
            ScoreRequest(
                self._prompt(d), (*self._ids(d.names), *(self._ids((text,)) if text else ()))
            )
            for d, text in zip(batch, said, strict=True)
        ]
        rows = self._run(requests, batch)[0]
        scores = [row[: len(d.names)] for row, d in zip(rows, batch, strict=True)]
        words = [
            -row[-1] / (len(request.choices[-1]) + 1) if text else row.new_zeros(())
            for row, request, text in zip(rows, requests, said, strict=True)
        ]
        return scores, words

    def states(self, batch: Sequence[TaughtDecision]) -> tuple[list[Tensor], Tensor]:
        """Log-probabilities of the legal answers, and the states ``(B, D)`` that they are read from, with gradients."""
        return self._run([self._request(d) for d in batch], batch)

    def _run(
        self, requests: Sequence[ScoreRequest], batch: Sequence[TaughtDecision]
    ) -> tuple[list[Tensor], Tensor]:
        with within_memory(batch):
            return (self.eyes or self.base.engine).states(requests)

    def _request(self, decision: TaughtDecision) -> ScoreRequest:
        return ScoreRequest(self._prompt(decision), self._ids(decision.names))

    def _prompt(self, decision: TaughtDecision) -> Prompt:
        """The decision as the model reads it: words are tokenised once, pixels are made ready anew."""
        known = self._prompts.get(decision)
        if known is None:
            prompt = self.base.encoder.encode(decision.messages)
            self._prompts[decision] = dataclasses.replace(prompt, pieces=())
            return prompt
        return dataclasses.replace(known, pieces=tuple(self.base.encoder.pieces(decision.messages)))

    def _ids(self, names: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        if names not in self._choices:
            if len(self._choices) > _REMEMBERED:
                self._choices.clear()
            self._choices[names] = tuple(tuple(self.base.encoder.choice_ids(n)) for n in names)
        return self._choices[names]

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, optimizer and the number of updates, for a checkpoint."""
        kept = {f"weights.{n}": array_of(p) for n, p in self.weights.items()}
        return {
            **kept,
            **optimizer_arrays({"tuned": self.optimizer}),
            "updates": np.array(self.updates, np.int64),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`; ``RunError`` for those of another model."""
        kept = {n: arrays.get(f"weights.{n}") for n in self.weights}
        for name, array in kept.items():
            if array is None or array.shape != tuple(self.weights[name].shape):
                raise RunError(f"the checkpoint is of another model: {name} does not fit")
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(torch.from_numpy(arrays[f"weights.{name}"]))
        restore_optimizers({"tuned": self.optimizer}, arrays)
        self.updates = int(arrays["updates"])


def _keep_unpacked(network: Any) -> None:
    """4-bit weights that bitsandbytes packs in evaluation, on CPUs with AVX512-BF16, have no gradient from then on."""
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _loss(scores: Tensor, action: int) -> Tensor:
    return -torch.log_softmax(scores, 0)[action]


def _groups(weights: Mapping[str, Tensor], decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices, none on biases, norms and embeddings."""
    matrices = [p for n, p in weights.items() if p.ndim > 1 and "embed" not in n]
    others = [p for n, p in weights.items() if p.ndim <= 1 or "embed" in n]
    groups = [(matrices, decay), (others, 0.0)]
    return [{"params": params, "weight_decay": d} for params, d in groups if params]
