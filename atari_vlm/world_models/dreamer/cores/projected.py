"""A core of one width among parts of other widths."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor, nn

from atari_vlm.errors import check_count
from atari_vlm.world_models.dreamer.cores.base import State
from atari_vlm.world_models.dreamer.cores.layers import linear
from atari_vlm.world_models.dreamer.cores.mamba import MambaCore

logger = logging.getLogger(__name__)


class ProjectedCore(nn.Module):
    """``core`` between a linear map of its inputs and one of its outputs, each only where the sizes differ."""

    def __init__(self, core: MambaCore, input_size: int, output_size: int):
        super().__init__()
        self.core, self.output_size = core, output_size
        self.into = _between(input_size, core.width)
        self.out = _between(core.width, output_size)

    def init(self, batch: int) -> State:
        """As the protocol has it."""
        return self.core.init(batch)

    def step(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        y, state = self.core.step(self.into(x), state, reset)
        return self.out(y), state

    def scan(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        y, state = self.core.scan(self.into(x), state, reset)
        return self.out(y), state

    def select(self, state: State, index: Tensor) -> State:
        """As the protocol has it."""
        return self.core.select(state, index)


def _between(inputs: int, outputs: int) -> nn.Module:
    return nn.Identity() if inputs == outputs else linear(inputs, outputs)


def mamba(
    input_sizes: tuple[int, ...],
    output_size: int,
    *,
    layers: int | None = None,
    width: int | None = None,
    state_size: int = 16,
    conv_kernel: int = 4,
    expand: int = 2,
    time_step_rank: int | None = None,
    from_pretrained: str | Path | None = None,
) -> nn.Module:
    """A fresh :class:`MambaCore` of ``layers`` (2) and ``width`` (``output_size``), or that of a language model, whose sizes are
    its own, all its layers or the first ``layers``; see :func:`fitted`.
    """
    if from_pretrained is not None:
        core = MambaCore.from_pretrained(from_pretrained, layers)
    else:
        width, layers = output_size if width is None else width, 2 if layers is None else layers
        core = MambaCore(width, layers, state_size, conv_kernel, expand, time_step_rank)
    return fitted(core, sum(input_sizes), output_size)


def fitted(core: MambaCore, input_size: int, output_size: int) -> nn.Module:
    """The core itself where its width is that of inputs and outputs, else between projections, which is logged."""
    check_count(input_size=input_size, output_size=output_size)
    if input_size == core.width == output_size:
        return core
    logger.info(
        "the Mamba core is %d wide: projections from %d inputs and to %d outputs stand around it",
        core.width,
        input_size,
        output_size,
    )
    return ProjectedCore(core, input_size, output_size)
