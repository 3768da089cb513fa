"""Output heads: small MLPs, and scalars as classes (sign) or as two-hot bins (DreamerV3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm._lazy import computed_once
from atari_vlm.errors import ConfigError


def mlp(width: int, outputs: int) -> nn.Sequential:
    """Linear, ReLU, Linear."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


def symlog(x: Tensor) -> Tensor:
    """``sign(x) log(1 + |x|)`` (Hafner et al. 2023, arXiv 2301.04104, equation 9)."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """The inverse of :func:`symlog`."""
    return torch.sign(x) * torch.expm1(x.abs())


class SignScalar:
    """A scalar reduced to its sign: classes -1, 0, 1."""

    size = 3

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy per element; ``logits`` ``(..., 3)``, ``target`` ``(...)``."""
        classes = torch.sign(target).long() + 1
        return functional.cross_entropy(
            logits.flatten(0, -2), classes.flatten(), reduction="none"
        ).view(target.shape)

    def mean(self, logits: Tensor) -> Tensor:
        """Expected sign, ``(...)`` in [-1, 1]."""
        probabilities = logits.softmax(-1)
        return probabilities[..., 2] - probabilities[..., 0]

    def sample(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """A sampled sign, float32 ``(...)``."""
        drawn = torch.multinomial(logits.flatten(0, -2).float().softmax(-1), 1, generator=generator)
        return drawn.view(logits.shape[:-1]).float() - 1


class SymlogTwoHot:
    """A scalar as a distribution over bins that are evenly spaced in symlog space over
    [-``limit``, ``limit``].

    The target puts its mass on the two nearest bins (Hafner et al. 2023, equation 10).
    """

    def __init__(self, bins: int, limit: float = 10.0):
        self.size = bins
        self.centres = torch.linspace(-limit, limit, bins)

    @torch.no_grad()
    def begin(self, layer: nn.Linear) -> None:
        """Make the last layer say 0 for every input, with nearly all mass close by: what is common to
        all targets need not be learned through the layers before it.
        """
        nn.init.zeros_(layer.weight)
        bins = self.centres / (self.centres[1] - self.centres[0])
        layer.bias.copy_(-(bins**2 / 2).clamp(max=8))

    def encode(self, x: Tensor) -> Tensor:
        """Probabilities ``(..., bins)`` whose mean in symlog space is ``symlog(x)``."""
        centres = self.centres.to(x.device)
        first, last = float(centres[0]), float(centres[-1])
        place = (symlog(x).clamp(first, last) - centres[0]) / (centres[1] - centres[0])
        low = place.floor().clamp(max=self.size - 2)
        weight = (place - low)[..., None]
        two_hot = functional.one_hot(low.long(), self.size) * (1 - weight)
        return two_hot + functional.one_hot(low.long() + 1, self.size) * weight

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy per element; ``logits`` ``(..., bins)``, ``target`` ``(...)``."""
        return -(self.encode(target) * logits.float().log_softmax(-1)).sum(-1)

    def mean(self, logits: Tensor) -> Tensor:
        """Expected value, ``(...)``: the expectation is taken in symlog space and inverted."""
        return symexp((logits.float().softmax(-1) * self.centres.to(logits.device)).sum(-1))

    def sample(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """The expected value: a reward is regressed, not drawn."""
        return self.mean(logits)


class SymexpTwoHot:
    """A scalar as a distribution over bins at ``symexp`` of evenly spaced points over [-``limit``, ``limit``]
    (DreamerV3 as published in Nature 2025): unlike :class:`SymlogTwoHot`, targets and means are in raw space.

    Values up to ``symexp(limit)``, 4.85e8, go through encoding and mean unchanged; bins next to 0 are 0.17 apart.
    """

    def __init__(self, bins: int = 255, limit: float = 20.0):
        if bins < 3 or bins % 2 == 0:
            raise ConfigError(f"bins around one at 0 are an odd number of 3 or more, got {bins!r}")
        self.size = bins
        below = symexp(torch.linspace(-limit, 0, bins // 2 + 1))
        self.centres = torch.cat([below, -below[:-1].flip(0)])  # symmetric to the bit

    def start(self, fall_off: float) -> Tensor:
        """Logits ``(bins,)`` whose mean is 0: equal as far as symlog 3, then ``fall_off`` nats less a unit."""
        return -fall_off * (symlog(self.centres).abs() - 3).clamp(min=0)

    def encode(self, x: Tensor) -> Tensor:
        """Probabilities ``(..., bins)`` whose mean is ``x``: all on the two bins around it."""
        low, weight = self._place(x)
        two_hot = functional.one_hot(low, self.size) * (1 - weight)[..., None]
        return two_hot + functional.one_hot(low + 1, self.size) * weight[..., None]

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy per element; ``logits`` ``(..., bins)``, ``target`` ``(...)``."""
        low, weight = self._place(target)
        likely = logits.float().log_softmax(-1).gather(-1, torch.stack([low, low + 1], -1))
        return -(likely[..., 0] * (1 - weight) + likely[..., 1] * weight)

    def mean(self, logits: Tensor) -> Tensor:
        """Expected value, ``(...)``; bins of opposite sign are summed as pairs, so that equal logits give exactly 0."""
        half, likely = self.size // 2, logits.float().softmax(-1)
        tilt = likely[..., half + 1 :] - likely[..., :half].flip(-1)
        return (tilt * self.centres[half + 1 :].to(logits.device)).sum(-1)

    def sample(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """The expected value: a reward is regressed, not drawn."""
        return self.mean(logits)

    def _place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The bin at or below ``x``, int64, and the share of the next one."""
        centres = self.centres.to(x.device)
        x = x.detach().float().clamp(-float(self.centres[-1]), float(self.centres[-1]))
        low = (torch.bucketize(x, centres, right=True) - 1).clamp(0, self.size - 2)
        return low, (x - centres[low]) / (centres[low + 1] - centres[low])


ScalarHead = SignScalar | SymlogTwoHot


def scalar_head(kind: str, bins: int) -> ScalarHead:
    """The head for ``"sign"`` or ``"two-hot"``."""
    return SignScalar() if kind == "sign" else SymlogTwoHot(bins)


def categorical(
    logits: Tensor, generator: torch.Generator | None, temperature: float = 1.0
) -> Tensor:
    """Sample classes ``(...)`` from ``logits`` ``(..., n)`` by the Gumbel maximum; the most likely at temperature 0."""
    if temperature == 0:
        return cast(Tensor, logits.argmax(-1))
    noise = torch.rand(logits.shape, generator=generator, device=logits.device)
    noise.clamp_(min=1e-20).log_().neg_().log_()
    return cast(Tensor, (logits.float() / temperature - noise).argmax(-1))


class ScalarValue:
    """A value head trained with the squared error."""

    size = 1

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Squared error per element."""
        return (outputs.squeeze(-1) - target) ** 2

    def mean(self, outputs: Tensor) -> Tensor:
        """The value itself, ``(...)``."""
        return outputs.squeeze(-1)


ValueHead = ScalarValue | SymlogTwoHot | SymexpTwoHot


@dataclass(frozen=True)
class Categorical:
    """A choice among classes from ``logits`` ``(..., n)``."""

    logits: Tensor

    @computed_once
    def log_probabilities(self) -> Tensor:
        """Float32 ``(..., n)``."""
        return self.logits.float().log_softmax(-1)

    def sample(self, generator: torch.Generator | None, temperature: float = 1.0) -> Tensor:
        """Classes int64 ``(...)``, as :func:`categorical`; no gradient."""
        return categorical(self.logits.detach(), generator, temperature)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Of classes int64 ``(...)``."""
        return self.log_probabilities.gather(-1, actions[..., None]).squeeze(-1)

    def entropy(self) -> Tensor:
        """In nats, ``(...)``."""
        return -(self.log_probabilities.exp() * self.log_probabilities).sum(-1)
