"""The gated recurrent unit of DreamerV3 as of 2023, with layer norms (Hafner et al. 2023, arXiv 2301.04104v1)."""

from __future__ import annotations

from torch import Tensor, nn

from atari_vlm.errors import check_count
from atari_vlm.world_models.dreamer.cores.base import VectorCore
from atari_vlm.world_models.dreamer.cores.layers import linear

_NORM_EPS = 1e-3


class GruCore(VectorCore):
    """Inputs through a normalised layer of ``hidden`` (default ``output_size``) into a GRU whose three gates share a layer norm.

    ``h' = u * tanh(r * c) + (1 - u) * h`` with ``r, c, u`` from ``norm(W [h, x])``, ``r`` and ``u - 1`` through a sigmoid. The
    version of 2023 learns the first vector: ``learned_start``.
    """

    def __init__(
        self,
        input_sizes: tuple[int, ...],
        output_size: int,
        *,
        hidden: int | None = None,
        learned_start: bool = False,
    ):
        hidden = output_size if hidden is None else hidden
        check_count(output_size=output_size, hidden=hidden)
        super().__init__(output_size, learned_start=learned_start)
        self.inputs = nn.Sequential(
            linear(sum(input_sizes), hidden, bias=False),
            nn.LayerNorm(hidden, eps=_NORM_EPS),
            nn.SiLU(),
        )
        self.input_gates = linear(hidden, 3 * output_size, bias=False)
        self.memory_gates = linear(output_size, 3 * output_size, bias=False)
        self.norm = nn.LayerNorm(3 * output_size, eps=_NORM_EPS)

    def read(self, x: Tensor) -> Tensor:
        """The inputs' share of the gates, before the norm."""
        gates: Tensor = self.input_gates(self.inputs(x))
        return gates

    def advance(self, features: Tensor, h: Tensor) -> Tensor:
        """As the base has it."""
        gates = self.norm(features + self.memory_gates(h))
        return gated(h, *gates.chunk(3, -1))


def gated(h: Tensor, reset: Tensor, candidate: Tensor, update: Tensor) -> Tensor:
    """The next vector from the present one and three gates ``(B, output_size)``; the update gate begins near a quarter."""
    update = (update - 1).sigmoid()
    return update * (reset.sigmoid() * candidate).tanh() + (1 - update) * h
