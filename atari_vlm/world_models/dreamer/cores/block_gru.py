"""The block-diagonal gated recurrent unit of DreamerV3 (Hafner et al. 2025, Nature 640; version 2 of arXiv 2301.04104)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atari_vlm.errors import check_count
from atari_vlm.world_models.dreamer.cores.base import VectorCore
from atari_vlm.world_models.dreamer.cores.gru import gated
from atari_vlm.world_models.dreamer.cores.layers import BlockLinear, NormedSilu, dense


class BlockGruCore(VectorCore):
    """A GRU whose memory falls into ``blocks`` blocks that do not mix within a step, except through a narrow projection.

    Memory and every part of the input go through a layer of ``hidden`` each; all of them are given to every block beside its own
    part of the memory. The last input is the action: what is larger than 1 in it is brought to 1.
    """

    def __init__(
        self, input_sizes: tuple[int, ...], output_size: int, *, hidden: int, blocks: int = 8
    ):
        check_count(output_size=output_size, hidden=hidden)
        super().__init__(output_size)
        self.input_sizes, self.blocks = list(input_sizes), blocks
        self.memory = dense(output_size, hidden)
        self.inputs = nn.ModuleList(dense(size, hidden) for size in input_sizes)
        shared = (1 + len(input_sizes)) * hidden
        self.mix = nn.Sequential(
            BlockLinear(output_size + blocks * shared, output_size, blocks), NormedSilu(output_size)
        )
        self.gates = BlockLinear(output_size, 3 * output_size, blocks)

    def read(self, x: Tensor) -> Tensor:
        """Every part of the input, projected: ``(..., parts * hidden)``."""
        *others, action = x.split(self.input_sizes, -1)
        action = action / action.detach().abs().clamp(min=1)
        parts = [layer(part) for layer, part in zip(self.inputs, [*others, action], strict=True)]
        return torch.cat(parts, -1)

    def advance(self, features: Tensor, h: Tensor) -> Tensor:
        """As the base has it."""
        gates = self.gates(self.mix[1](self._mixed(h, torch.cat([self.memory(h), features], -1))))
        by_kind = gates.unflatten(-1, (self.blocks, 3, -1)).unbind(-2)
        return gated(h, *(gate.flatten(1) for gate in by_kind))

    def _mixed(self, h: Tensor, shared: Tensor) -> Tensor:
        """The first layer of all blocks, ``(B, output_size)``, each of which reads its own part of h and all of ``shared``: that
        part of their weights is one matrix, so that nothing is repeated for every block.
        """
        layer, width = self.mix[0], self.output_size // self.blocks
        own, common = layer.weight[:, :width], layer.weight[:, width:]
        of_own = torch.bmm(h.unflatten(-1, (self.blocks, width)).transpose(0, 1), own)
        of_common = torch.addmm(layer.bias, shared, common.transpose(0, 1).flatten(1))
        return of_common + of_own.transpose(0, 1).flatten(1)
