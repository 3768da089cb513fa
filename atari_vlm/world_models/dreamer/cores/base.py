"""The protocol of sequence cores, and what those share whose memory is one vector."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


@runtime_checkable
class SequenceCore(Protocol):
    """Reads positions one by one (``step``) or many at once (``scan``), and remembers.

    A state is a flat dict of tensors with the rows first; nothing is changed in place, so a state may be branched, stored and
    differentiated through. ``reset`` marks the rows whose state is cleared, to what ``init`` gives, before the position is read:
    neither values nor gradients cross it. The two ways agree: a scan equals its steps, cut anywhere, and rows are independent.
    ``check_core`` holds a core to all of this.
    """

    output_size: int

    def init(self, batch: int) -> State:
        """The state of ``batch`` rows that have read nothing."""
        ...

    def step(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """One position: ``x`` float ``(B, D)``, ``reset`` bool ``(B,)``; gives ``(B, output_size)`` and the state after it."""
        ...

    def scan(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """T positions: ``x`` ``(B, T, D)``, ``reset`` ``(B, T)``; gives ``(B, T, output_size)`` and the state after the last."""
        ...

    def select(self, state: State, index: Tensor) -> State:
        """The rows ``index`` (int64) of a state, in that order; repeated indices repeat rows."""
        ...


def select_rows(state: State, index: Tensor) -> State:
    """The rows ``index`` of every tensor of a state."""
    return {name: value[index] for name, value in state.items()}


class VectorCore(nn.Module):
    """A core that remembers one vector, which is its output too.

    A core of this kind writes :meth:`read`, which sees a position without memory, and so all positions of a scan at once, and
    :meth:`advance`. With ``learned_start`` the vector that a row begins with, and is reset to, is the hyperbolic tangent of a
    parameter; else it is zero.
    """

    def __init__(self, output_size: int, *, learned_start: bool = False):
        super().__init__()
        self.output_size = output_size
        self.start: Tensor
        if learned_start:
            self.start = nn.Parameter(torch.zeros(output_size))
        else:
            self.register_buffer("start", torch.zeros(output_size), persistent=False)

    def read(self, x: Tensor) -> Tensor:
        """What ``(..., D)`` says without memory: ``(..., F)``."""
        raise NotImplementedError

    def advance(self, features: Tensor, h: Tensor) -> Tensor:
        """The next vector ``(B, output_size)`` from features ``(B, F)`` and the present one."""
        raise NotImplementedError

    def init(self, batch: int) -> State:
        """As the protocol has it."""
        return {"h": self.start.tanh().expand(batch, -1)}

    def step(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        h = self._advance_or_start(self.read(x), state["h"], reset)
        return h, {"h": h}

    def scan(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        h, outputs = state["h"], []
        for features, begins in zip(self.read(x).unbind(1), reset.unbind(1), strict=True):
            h = self._advance_or_start(features, h, begins)
            outputs.append(h)
        return torch.stack(outputs, 1), {"h": h}  # (B, T, output_size)

    def _advance_or_start(self, features: Tensor, h: Tensor, reset: Tensor) -> Tensor:
        return self.advance(features, torch.where(reset[:, None], self.start.tanh(), h))

    def select(self, state: State, index: Tensor) -> State:
        """As the protocol has it."""
        return select_rows(state, index)
