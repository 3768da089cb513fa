"""A core of one width among parts of other widths."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from atari_vlm.world_models.dreamer.cores.base import State
from atari_vlm.world_models.dreamer.cores.layers import linear
from atari_vlm.world_models.dreamer.cores.mamba import MambaCore

logger = logging.getLogger(__name__)


class ProjectedCore(nn.Module):
    """``core`` with a linear map of its inputs before it, and one of its outputs behind it where the sizes differ.

    Parts of the input that are of the core's width are read as they are, as a language model reads its embeddings; the others go
    through the map, and all are added. With ``quiet`` the map begins at 0, which leaves a language model what it was.
    """

    def __init__(
        self, core: MambaCore, input_sizes: Sequence[int], output_size: int, *, quiet: bool = False
    ):
        super().__init__()
        self.core, self.output_size, self.input_sizes = core, output_size, list(input_sizes)
        others = sum(size for size in input_sizes if size != core.width)
        self.into = linear(others, core.width) if others else None
        if quiet and self.into is not None and core.width in input_sizes:
            nn.init.zeros_(self.into.weight)
        same = output_size == core.width
        self.out = nn.Identity() if same else linear(core.width, output_size)

    def _read(self, x: Tensor) -> Tensor:
        parts = x.split(self.input_sizes, -1)
        read = [part for part in parts if part.shape[-1] == self.core.width]
        if self.into is not None:
            others = [part for part in parts if part.shape[-1] != self.core.width]
            read.append(self.into(torch.cat(others, -1)))
        return torch.stack(read).sum(0) if len(read) > 1 else read[0]

    def init(self, batch: int) -> State:
        """As the protocol has it."""
        return self.core.init(batch)

    def step(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        y, state = self.core.step(self._read(x), state, reset)
        return self.out(y), state

    def scan(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        y, state = self.core.scan(self._read(x), state, reset)
        return self.out(y), state

    def select(self, state: State, index: Tensor) -> State:
        """As the protocol has it."""
        return self.core.select(state, index)


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
    norm_eps: float = 1e-5,
    from_pretrained: str | Path | None = None,
) -> nn.Module:
    """A fresh :class:`MambaCore` of ``layers`` (2) and ``width`` (``output_size``), or that of a language model, whose sizes are
    its own, all its layers or the first ``layers``; see :func:`fitted`.
    """
    if from_pretrained is not None:
        core = MambaCore.from_pretrained(from_pretrained, layers)
    else:
        width, layers = output_size if width is None else width, 2 if layers is None else layers
        core = MambaCore(
            width, layers, state_size, conv_kernel, expand, time_step_rank, norm_eps=norm_eps
        )
    return fitted(core, input_sizes, output_size, quiet=from_pretrained is not None)


def fitted(
    core: MambaCore, input_sizes: Sequence[int], output_size: int, *, quiet: bool = False
) -> nn.Module:
    """The core itself where its width is that of the only input and of the output, else a logged :class:`ProjectedCore`."""
    if tuple(input_sizes) == (core.width,) and output_size == core.width:
        return core
    logger.info(
        "the Mamba core is %d wide: inputs of %s and outputs of %d are brought to its width and back",
        core.width,
        " + ".join(map(str, input_sizes)),
        output_size,
    )
    return ProjectedCore(core, input_sizes, output_size, quiet=quiet)
