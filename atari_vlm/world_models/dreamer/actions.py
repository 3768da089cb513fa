"""Actions as a Dreamer's networks take them, and the distributions that its actor draws from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.actions import bounds
from atari_vlm.errors import ConfigError
from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.losses import unimix
from atari_vlm.world_models.learned.heads import Categorical
from atari_vlm.world_models.learned.learner import ActionDistribution

_LEAST_STD, _MOST_STD = 0.1, 1.0


@dataclass(frozen=True)
class Choices:
    """Several choices at once, each from logits ``(..., n)`` of its own; actions int64 ``(..., choices)``."""

    logits: tuple[Tensor, ...]

    def sample(self, generator: torch.Generator | None, temperature: float = 1.0) -> Tensor:
        """See :class:`~atari_vlm.world_models.learned.learner.ActionDistribution`."""
        drawn = [part.sample(generator, temperature) for part in self._parts]
        return torch.stack(drawn, -1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """The sum over the choices, ``(...)``."""
        likely = [part.log_prob(actions[..., n]) for n, part in enumerate(self._parts)]
        return torch.stack(likely).sum(0)

    def entropy(self) -> Tensor:
        """The sum over the choices, in nats, ``(...)``."""
        return torch.stack([part.entropy() for part in self._parts]).sum(0)

    @property
    def _parts(self) -> list[Categorical]:
        return [Categorical(logits) for logits in self.logits]


@dataclass(frozen=True)
class Normal:
    """Independent normal numbers of ``mean`` and ``std`` ``(..., A)``; draws may lie outside the action space."""

    mean: Tensor
    std: Tensor

    def sample(self, generator: torch.Generator | None, temperature: float = 1.0) -> Tensor:
        """Float32 ``(..., A)``, no gradient; the mean at temperature 0."""
        if temperature == 0:
            return self.mean.detach()
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return (self.mean + temperature * self.std * noise).detach()

    def log_prob(self, actions: Tensor) -> Tensor:
        """The sum over the numbers, ``(...)``."""
        away = (actions - self.mean) / self.std
        return (-0.5 * away**2 - self.std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """The sum over the numbers, in nats, ``(...)``."""
        return (self.std.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


class ActionCode(nn.Module):
    """An action space in numbers: one-hot choices, or floats from -1 to 1; from 0 on, whatever its ``start``.

    ``size`` numbers stand for an action, ``outputs`` of the actor for a distribution.
    """

    def __init__(self, space: gymnasium.Space[Any], config: DreamerConfig):
        super().__init__()
        self.space, self.share, self.choices = space, config.actor_unimix, _choices(space)
        self.size = self.outputs = sum(self.choices)
        if isinstance(space, Box):
            low, high = (torch.from_numpy(end.astype(np.float32)) for end in bounds(space))
            self.register_buffer("middle", (low + high) / 2, persistent=False)
            self.register_buffer("reach", (high - low) / 2, persistent=False)
            self.size, self.outputs = len(low), 2 * len(low)

    def encode(self, actions: Tensor) -> Tensor:
        """Floats ``(..., size)`` for actions int64 ``(...)`` or ``(..., choices)``, or floats ``(..., A)``."""
        if not self.choices:
            scaled = (actions - self.middle) / self.reach.clamp(min=1e-8)
            return scaled / scaled.abs().clamp(min=1)
        parts = [actions] if isinstance(self.space, Discrete) else actions.unbind(-1)
        hot = [functional.one_hot(part, n) for part, n in zip(parts, self.choices, strict=True)]
        return torch.cat(hot, -1).float()

    def distribution(self, outputs: Tensor) -> ActionDistribution:
        """What an actor with these outputs ``(..., outputs)`` does."""
        if not self.choices:
            mean, spread = outputs.float().chunk(2, -1)
            std = _LEAST_STD + (_MOST_STD - _LEAST_STD) * (spread + 2).sigmoid()
            return Normal(self.middle + self.reach * mean.tanh(), self.reach * std)
        mixed = tuple(unimix(part, self.share) for part in outputs.split(self.choices, -1))
        return Categorical(mixed[0]) if isinstance(self.space, Discrete) else Choices(mixed)

    def within(self, actions: np.ndarray) -> np.ndarray:
        """Drawn actions as actions of the space."""
        if isinstance(self.space, Box):
            return np.clip(actions, *bounds(self.space))
        return actions + self._start

    def from_zero(self, actions: np.ndarray) -> np.ndarray:
        """Actions of the space as the networks take them."""
        return actions.astype(np.float32) if isinstance(self.space, Box) else actions - self._start

    @property
    def _start(self) -> np.ndarray:
        return np.asarray(getattr(self.space, "start", 0), np.int64)


def _choices(space: gymnasium.Space[Any]) -> list[int]:
    """How many there are of each choice; none for floats. ``ConfigError`` for a space that cannot be learned."""
    if isinstance(space, Discrete):
        return [int(space.n)]
    if isinstance(space, MultiDiscrete) and space.nvec.ndim == 1:
        return [int(n) for n in space.nvec]
    bounded = isinstance(space, Box) and len(space.shape) == 1 and space.is_bounded()
    if bounded and np.issubdtype(space.dtype, np.floating):
        return []
    raise ConfigError(
        f"a Dreamer acts with Discrete, MultiDiscrete or a bounded Box of floats with one axis, not {space}"
    )
