"""What the latent is held to: its classes are never impossible, and the prior and the posterior meet at two speeds."""

from __future__ import annotations

from torch import Tensor


def unimix(logits: Tensor, share: float) -> Tensor:
    """Log-probabilities ``(..., classes)`` of which a ``share`` is uniform (Hafner et al. 2023, section "Robust prediction").

    With a share of 0 they are those of ``logits``.
    """
    if share == 0:
        return logits.float().log_softmax(-1)
    return (logits.float().softmax(-1) * (1 - share) + share / logits.shape[-1]).log()


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
