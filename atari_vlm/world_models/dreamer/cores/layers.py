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
    """With its derivative by hand, and what is weighed made again for it: on a CPU less than half of autograd's time, and a
    third less memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = length.square_().div_(len(weight)).add_(NORM_EPS).rsqrt_()
        normed = x * scale
        ctx.save_for_backward(normed, scale, weight)
        return functional.silu(normed * weight, inplace=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        normed, scale, weight = ctx.saved_tensors
        gradient = _through_silu(gradient, normed * weight)
        product = gradient * normed
        of_weight = product.flatten(0, -2).sum(0)
        shared = (product @ weight).div_(-len(weight))[..., None]
        return gradient.mul_(weight).addcmul_(normed, shared).mul_(scale), of_weight


def _through_silu(gradient: Tensor, before: Tensor) -> Tensor:
    """The gradient before SiLU, written over what was there."""
    over: Tensor = torch.ops.aten.silu_backward.grad_input(gradient, before, grad_input=before)
    return over


class CentredSilu(nn.LayerNorm):
    """LayerNorm, then SiLU, computed in float32 whatever comes in; what lies between them is made again for the derivative: of
    pictures it would be much memory.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The same shape and type."""
        made: Tensor = _CentredSilu.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        return made


class _CentredSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        x = x.contiguous()
        before, mean, scale = torch.native_layer_norm(x.float(), weight.shape, weight, bias, eps)
        ctx.eps = eps
        ctx.save_for_backward(x, mean, scale, weight, bias)
        return functional.silu(before, inplace=True).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, mean, scale, weight, bias = ctx.saved_tensors
        inputs, size = x.float(), list(weight.shape)
        before = torch.native_layer_norm(inputs, size, weight, bias, ctx.eps)[0]
        gradient = _through_silu(gradient.float(), before)
        of_x, of_weight, of_bias = torch.ops.aten.native_layer_norm_backward(
            gradient, inputs, size, mean, scale, weight, bias, [True] * 3
        )
        return of_x.to(x.dtype), of_weight, of_bias, None


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
