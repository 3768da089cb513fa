"""Layers of DreamerV3: block-diagonal linear maps, root-mean-square norms, and how weights begin (Hafner et al. 2025)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.errors import ConfigError, check_count

NORM_EPS = 1e-4
_STD_OF_CUT = 1.1368  # 1 / standard deviation of a standard normal cut off at 2


class NormedSilu(nn.Module):
    """RMSNorm over ``size`` features, then SiLU, computed in float32 whatever comes in."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape and type."""
        made: Tensor = _NormedSilu.apply(x.float(), self.weight)  # type: ignore[no-untyped-call]
        return made.to(x.dtype)


class _NormedSilu(torch.autograd.Function):
    """With its derivative by hand: on a CPU a third of the operations that autograd would record."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        scale = (x * x).mean(-1, keepdim=True).add_(NORM_EPS).rsqrt_()
        normed = x * scale
        before = normed * weight
        ctx.save_for_backward(normed, scale, before, weight)
        return functional.silu(before)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        normed, scale, before, weight = ctx.saved_tensors
        gradient = torch.ops.aten.silu_backward(gradient, before)
        of_weight = (gradient * normed).flatten(0, -2).sum(0)
        gradient = gradient * weight
        shared = (gradient * normed).mean(-1, keepdim=True)
        return (gradient - normed * shared) * scale, of_weight


class BlockLinear(nn.Module):
    """A linear map whose matrix has ``blocks`` equal blocks on its diagonal and zeros elsewhere.

    ``(..., inputs) -> (..., outputs)``; part ``i`` of the outputs sees part ``i`` of the inputs only.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int):
        super().__init__()
        check_count(inputs=inputs, outputs=outputs, blocks=blocks)
        if inputs % blocks or outputs % blocks:
            raise ConfigError(
                f"{inputs} inputs and {outputs} outputs do not fall into {blocks} blocks"
            )
        self.blocks = blocks
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks))
        self.bias = nn.Parameter(torch.zeros(outputs))
        draw_weights(self.weight, inputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., outputs)``."""
        parts = x.reshape(-1, self.blocks, self.weight.shape[1]).transpose(0, 1)
        mapped = torch.bmm(parts, self.weight).transpose(0, 1)  # (rows, blocks, outputs / blocks)
        return mapped.reshape(*x.shape[:-1], -1) + self.bias


def draw_weights(weight: Tensor, fan_in: int, scale: float = 1.0) -> None:
    """Fill ``weight`` from a normal distribution of variance ``scale / fan_in``, cut off at two of its standard deviations."""
    std = _STD_OF_CUT * math.sqrt(scale / fan_in)
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer as DreamerV3 begins it: weights by :func:`draw_weights`, biases 0."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    draw_weights(layer.weight, inputs)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """Linear, RMSNorm, SiLU."""
    return nn.Sequential(linear(inputs, outputs), NormedSilu(outputs))
