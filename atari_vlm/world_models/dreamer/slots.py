"""The positions that a core reads per step of a game: one of everything, or one each for z, action and readout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.cores import SequenceCore, make_core
from atari_vlm.world_models.dreamer.cores.base import State
from atari_vlm.world_models.dreamer.cores.layers import linear
from atari_vlm.world_models.dreamer.cores.mamba import MambaCore
from atari_vlm.world_models.dreamer.cores.projected import ProjectedCore
from atari_vlm.world_models.dreamer.lora import add_lora

_NARROW = ("gru", "block_gru")  # cores of ours whose inputs go through layers of config.hidden


def core_of(config: DreamerConfig, input_sizes: Sequence[int]) -> nn.Module:
    """The core of these settings, which reads ``sum(input_sizes)`` numbers a step and gives ``config.deter``."""
    core, sizes = config.core, dict(config.core.sizes)
    if core.kind in _NARROW:
        sizes.setdefault("hidden", config.hidden)
    if core.seq_len == 1:
        made = inner = make_core(core.kind, tuple(input_sizes), config.deter, **sizes)
    else:
        made = SlottedCore(core.kind, tuple(input_sizes), config.deter, core.seq_len, sizes)
        inner = made.positions
    if core.lora is not None:
        add_lora(inner, core.lora.rank, core.lora.alpha, core.lora.targets)
        if core.lora.train_base:
            inner.requires_grad_(True)
    return made


def sizes_of(core: nn.Module) -> dict[str, Any]:
    """The sizes of a core that was made from pretrained weights, of which it can be made without them."""
    inner = core.positions if isinstance(core, SlottedCore) else core
    inner = inner.core if isinstance(inner, ProjectedCore) else inner
    return dict(inner.sizes) if isinstance(inner, MambaCore) else {}


def _position(size: int, width: int) -> nn.Module:
    """What makes a position of a part; one of the positions' width, such as a language model's embedding, is one already."""
    return nn.Identity() if size == width else linear(size, width)


class SlottedCore(nn.Module):
    """A :class:`~atari_vlm.world_models.dreamer.cores.SequenceCore` of steps above one of positions.

    A step is ``seq_len`` positions of ``output_size`` numbers, the last of which is a learned readout that sees those before it:
    its output is the step's. The parts of the input have a position each, in their order, as far as there are positions; further
    parts are added to the last of them, and positions without a part are learned vectors.
    """

    def __init__(
        self,
        kind: str,
        input_sizes: tuple[int, ...],
        output_size: int,
        seq_len: int,
        sizes: dict[str, Any],
    ):
        super().__init__()
        self.output_size, self.seq_len, self.input_sizes = output_size, seq_len, list(input_sizes)
        self.positions = make_core(kind, (output_size,), output_size, **sizes)
        self.inputs = nn.ModuleList(_position(size, output_size) for size in input_sizes)
        self.learned = nn.Parameter(torch.randn(seq_len, output_size) * output_size**-0.5)

    @property
    def core(self) -> SequenceCore:
        """That of positions."""
        return cast(SequenceCore, self.positions)

    def init(self, batch: int) -> State:
        """As the protocol has it."""
        return self.core.init(batch)

    def step(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        y, state = self.scan(x[:, None], state, reset[:, None])
        return y[:, 0], state

    def scan(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        places = self._places(x).flatten(1, 2)  # (B, T * seq_len, output_size)
        begins = torch.zeros(*reset.shape, self.seq_len, dtype=torch.bool, device=x.device)
        begins[..., 0] = reset
        y, state = self.core.scan(places, state, begins.flatten(1))
        return y[:, self.seq_len - 1 :: self.seq_len], state

    def select(self, state: State, index: Tensor) -> State:
        """As the protocol has it."""
        return self.core.select(state, index)

    def _places(self, x: Tensor) -> Tensor:
        """What is read, ``(B, T, seq_len, output_size)``."""
        places = list(self.learned.expand(*x.shape[:-1], -1, -1).unbind(-2))
        for number, (layer, part) in enumerate(
            zip(self.inputs, x.split(self.input_sizes, -1), strict=True)
        ):
            place = min(number, self.seq_len - 2)
            places[place] = places[place] + layer(part)
        return torch.stack(places, -2)
