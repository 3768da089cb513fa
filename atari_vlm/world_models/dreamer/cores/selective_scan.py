"""The selective scan of Mamba (Gu and Dao 2023, arXiv 2312.00752, section 3) with its backward pass written by hand.

Under autograd the T steps of the recurrence keep four tensors of the state's size each; here a state is kept every few steps, and
what lies between is computed again on the way back. Rows are taken a block at a time, so that what is worked on stays in the
core's cache. Both are what makes it fast on a CPU; on other devices all rows are one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK = 8  # steps from one kept state to the next
_BLOCK = 1 << 18  # numbers in the states of a block of rows


def selective_scan(
    decay: Tensor, inputs: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    """``h_t = exp(decay_t a) h_{t-1} + b_t inputs_t`` and ``y_t = c_t h_t``, from a state ``h`` ``(B, N, E)``.

    ``decay`` and ``inputs`` ``(B, T, E)``: the time step, and the time step times the input. ``a`` ``(N, E)``, negative; ``b``
    and ``c`` ``(B, T, N)``. Gives ``y`` ``(B, T, E)`` and the state after the last step, at least float32, differentiable once in
    all six. Where a row begins anew its ``decay`` is endless, which clears the state and lets no gradient through.
    """
    terms = [at_least_float(term) for term in (decay, inputs, a, b, c, h)]
    with torch.autocast(h.device.type, enabled=False):
        if torch.is_grad_enabled() and any(term.requires_grad for term in terms):
            y, last = _Scan.apply(*terms)  # type: ignore[no-untyped-call]
            return y, last
        *parts, h = terms
        return _forward(_Terms(*parts), h, None)


def at_least_float(term: Tensor) -> Tensor:
    """``term`` as float32 where it is of less."""
    return term if term.dtype in (torch.float32, torch.float64) else term.float()


@dataclass(frozen=True)
class _Terms:
    """What the recurrence is made of; shapes as in :func:`selective_scan`."""

    decay: Tensor
    inputs: Tensor
    a: Tensor
    b: Tensor
    c: Tensor

    def rows(self, rows: slice) -> _Terms:
        """The terms of some rows."""
        decay, inputs, b, c = (term[rows] for term in (self.decay, self.inputs, self.b, self.c))
        return _Terms(decay, inputs, self.a, b, c)

    def advance(self, t: int, h: Tensor, factor: Tensor, out: Tensor) -> None:
        """Put the state after step ``t`` into ``out``, which may be ``h``, and what it faded by into ``factor``."""
        torch.mul(self.decay[:, t, None], self.a, out=factor).exp_()
        torch.mul(factor, h, out=out).addcmul_(self.b[:, t, :, None], self.inputs[:, t, None])

    def blocks(self) -> Iterator[slice]:
        """Rows that are computed together."""
        rows, size = len(self.decay), max(1, _BLOCK // self.a.numel())
        size = size if self.decay.device.type == "cpu" else rows
        yield from (slice(at, min(at + size, rows)) for at in range(0, rows, size))


def _forward(terms: _Terms, h: Tensor, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    """Outputs and last state; the states before steps 8, 16 ... go into ``kept`` ``(chunks - 1, B, N, E)``."""
    y, last = torch.empty_like(terms.inputs), torch.empty_like(h)
    for rows in terms.blocks():
        own, state, factor = terms.rows(rows), last[rows], torch.empty_like(h[rows])
        before = h[rows]
        for t in range(y.shape[1]):
            if kept is not None and t and t % _CHUNK == 0:
                kept[t // _CHUNK - 1, rows] = before
            own.advance(t, before, factor, state)
            y[rows, t] = torch.bmm(own.c[:, t, None], state)[:, 0]
            before = state
    return y, last


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *terms: Tensor) -> tuple[Tensor, Tensor]:
        *parts, h = terms
        kept = h.new_empty((parts[0].shape[1] - 1) // _CHUNK, *h.shape)
        ctx.save_for_backward(*terms, kept)
        return _forward(_Terms(*parts), h, kept)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> tuple[Tensor, ...]:
        *parts, h, kept = ctx.saved_tensors
        terms = _Terms(*parts)
        grads = _Terms(*(torch.empty_like(part) for part in parts))
        grads.a.zero_()
        grad_h = torch.empty_like(h)
        with torch.autocast(h.device.type, enabled=False):
            for rows in terms.blocks():
                starts = [h[rows], *kept[:, rows]]
                grad_h[rows] = _backward_rows(
                    terms.rows(rows), grads.rows(rows), starts, grad_y[rows], grad_last[rows]
                )
        return grads.decay, grads.inputs, grads.a, grads.b, grads.c, grad_h


def _backward_rows(
    terms: _Terms, grads: _Terms, starts: list[Tensor], grad_y: Tensor, grad_last: Tensor
) -> Tensor:
    """Fill ``grads`` (add to that of ``a``) of a block of rows, whose states before every chunk are ``starts``; gives that of
    the first state.
    """
    grad_h, work = grad_last.clone(), torch.empty_like(grad_last)
    of_a = torch.zeros_like(grad_last)
    states = grad_last.new_empty(_CHUNK + 1, *grad_last.shape)
    factors = torch.empty_like(states[1:])
    steps = grad_y.shape[1]
    for first in reversed(range(0, steps, _CHUNK)):
        chunk = range(first, min(first + _CHUNK, steps))
        states[0] = starts[first // _CHUNK]
        for i, t in enumerate(chunk):
            terms.advance(t, states[i], factors[i], states[i + 1])
        for i, t in reversed(list(enumerate(chunk))):
            grad_h.addcmul_(terms.c[:, t, :, None], grad_y[:, t, None])
            _over_channels(grads.c, t, grad_y, states[i + 1])
            _over_channels(grads.b, t, terms.inputs, grad_h)
            grads.inputs[:, t] = torch.bmm(terms.b[:, t, None], grad_h)[:, 0]
            grad_h.mul_(factors[i])
            torch.mul(grad_h, states[i], out=work)  # of the exponent, decay_t a
            of_a.addcmul_(work, terms.decay[:, t, None])
            grads.decay[:, t] = work.mul_(terms.a).sum(1)
    grads.a.add_(of_a.sum(0))
    return grad_h


def _over_channels(grad: Tensor, t: int, channels: Tensor, states: Tensor) -> None:
    """``grad[:, t] = sum over E of channels[:, t] * states``."""
    grad[:, t] = torch.bmm(channels[:, t, None], states.transpose(1, 2))[:, 0]
