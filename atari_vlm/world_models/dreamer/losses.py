"""What the latent is held to: its classes are never impossible, and the prior and the posterior meet at two speeds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_FEW = 8  # classes


def unimix(logits: Tensor, share: float) -> Tensor:
    """Log-probabilities ``(..., classes)`` of which a ``share`` is uniform (Hafner et al. 2023, section "Robust prediction").

    With a share of 0 they are those of ``logits``.
    """
    if share == 0:
        return logits.float().log_softmax(-1)
    mixed: Tensor = _Unimix.apply(logits.float(), share)  # type: ignore[no-untyped-call]
    return mixed


class _Unimix(torch.autograd.Function):
    """With its derivative by hand."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, share: float) -> Tensor:
        likely = _softmax(logits)
        mixed = likely * (1 - share) + share / logits.shape[-1]
        ctx.share = share
        ctx.save_for_backward(likely, mixed)
        return mixed.log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        likely, mixed = ctx.saved_tensors
        of_likely = gradient * (1 - ctx.share) / mixed
        return likely * (of_likely - (of_likely * likely).sum(-1, keepdim=True)), None


def _softmax(logits: Tensor) -> Tensor:
    """PyTorch's own takes three times as long for fewer than eight classes on a CPU."""
    if logits.shape[-1] >= _FEW:
        return logits.softmax(-1)
    likely = (logits - logits.amax(-1, keepdim=True)).exp_()
    return likely.div_(likely.sum(-1, keepdim=True))


def drawn(likely: Tensor, generator: torch.Generator | None) -> Tensor:
    """One-hot draws ``(..., classes)``, float32, from log-probabilities: where a random number falls among their sums."""
    upto = likely.exp().cumsum(-1)
    place = torch.rand(*likely.shape[:-1], 1, generator=generator, device=likely.device)
    reached = (upto > place).float()
    reached[..., -1] = 1  # rounding may leave the last sum below 1
    return torch.cat([reached[..., :1], reached[..., 1:] - reached[..., :-1]], -1)


def kl_losses(posterior: Tensor, prior: Tensor, free_nats: float = 1.0) -> tuple[Tensor, Tensor]:
    """The dynamics loss, which moves the prior alone, and the representation loss, which moves the posterior alone.

    Each is the divergence of the posterior from the prior, summed over the groups, and ``free_nats`` where it is below that.
    Logits ``(..., groups, classes)`` are mixed already; results ``(...)``.
    """
    dynamics = _divergence(posterior.detach(), prior)
    representation = _divergence(posterior, prior.detach())
    return dynamics.clamp(min=free_nats), representation.clamp(min=free_nats)


def _divergence(posterior: Tensor, prior: Tensor) -> Tensor:
    log_p, log_q = posterior.float().log_softmax(-1), prior.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum((-2, -1))
