"""Pictures into floats and back: four stages that halve an edge, and four that double it."""

from __future__ import annotations

import itertools
import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.cores.layers import (
    BlockLinear,
    CentredSilu,
    NormedSilu,
    draw_weights,
    linear,
)
from atari_vlm.world_models.dreamer.heads import NORM_EPS_2023, hidden_layer

STAGES = 4
_WIDTHS = {"nature": (2, 3, 4, 4), "2023": (1, 2, 4, 8)}  # channels of the stages, times the depth
Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d)
_BLOCKS = 8  # of the map that the core's output is turned into


class ChannelNorm(nn.Module):
    """The norm of a generation over the channels of each place of ``(N, C, H, W)``, then SiLU."""

    def __init__(self, config: DreamerConfig, channels: int):
        super().__init__()
        nature = config.generation == "nature"
        self.norm = NormedSilu(channels) if nature else CentredSilu(channels, NORM_EPS_2023)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class PictureEncoder(nn.Module):
    """Pictures uint8 ``(N, H, W, C)`` into floats ``(N, outputs)``."""

    def __init__(self, config: DreamerConfig, channels: int):
        super().__init__()
        self.pools = config.generation == "nature"
        widths = [channels, *_stage_widths(config)]
        self.convolutions = nn.ModuleList(
            _convolution(config, *pair) for pair in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(ChannelNorm(config, width) for width in widths[1:])
        self.outputs = widths[-1] * (config.frame_px // 2**STAGES) ** 2

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        x = pictures.permute(0, 3, 1, 2).float() / 255 - 0.5
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(x)
            x = norm(functional.max_pool2d(x, 2) if self.pools else x)
        return x.permute(0, 2, 3, 1).flatten(1)


class PictureDecoder(nn.Module):
    """The core's output ``(N, deter)`` and z ``(N, latent)`` into pictures, floats around [0, 1] ``(N, H, W, C)``."""

    def __init__(self, config: DreamerConfig, channels: int):
        super().__init__()
        self.edge, self.nature = config.frame_px // 2**STAGES, config.generation == "nature"
        *others, widest = _stage_widths(config)
        if self.nature:
            self.begin: nn.Module = _SplitMap(config, self.edge, widest)
        else:
            self.begin = _JointMap(config, self.edge, widest)
        widths = [widest, *reversed(others), channels]
        make = _convolution if self.nature else _widening
        pairs = list(itertools.pairwise(widths))
        self.convolutions = nn.ModuleList(
            make(config, *pair, bias=self.nature or pair is pairs[-1]) for pair in pairs
        )
        self.norms = nn.ModuleList(ChannelNorm(config, width) for width in widths[1:-1])

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """See the class."""
        x = self.begin(h, z)
        for stage, convolution in enumerate(self.convolutions):
            x = doubled(x, convolution) if self.nature else convolution(x)
            x = self.norms[stage](x) if stage < len(self.norms) else x
        return (x.sigmoid() if self.nature else x + 0.5).permute(0, 2, 3, 1)


def doubled(x: Tensor, convolution: nn.Module) -> Tensor:
    """A 5 x 5 convolution of ``(N, C, H, W)`` with every place repeated to 2 x 2, ``(N, O, 2 H, 2 W)``, from 3 x 3 places each.

    Of the 25 places that an output sees at most 9 differ; for each of the four positions within a 2 x 2 the weights of equal
    places are summed first.
    """
    assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
    same = _SAME_PLACE.to(x.device)
    weight = torch.einsum("pik,ockl,qjl->pqocij", same, convolution.weight, same).flatten(0, 2)
    y = functional.conv2d(x, weight.to(x.dtype), convolution.bias.repeat(4).to(x.dtype), padding=1)
    rows, _, high, wide = y.shape
    parts = y.permute(0, 2, 3, 1).reshape(rows, high, wide, 2, 2, -1)  # (N, H, W, 2, 2, O)
    return parts.transpose(2, 3).reshape(rows, 2 * high, 2 * wide, -1).permute(0, 3, 1, 2)


def _same_place() -> Tensor:
    """1 where tap k of 5, around the first or second of two equal places, is neighbour i of 3: ``(2, 3, 5)``."""
    same = torch.zeros(2, 3, 5)
    for position in (0, 1):
        for tap in range(5):
            same[position, (position + tap - 2) // 2 + 1, tap] = 1
    return same


_SAME_PLACE = _same_place()


class _SplitMap(nn.Module):
    """The smallest map ``(N, C, h, w)``: the core's output block by block, plus z through a hidden layer."""

    def __init__(self, config: DreamerConfig, edge: int, channels: int):
        super().__init__()
        self.edge, outputs = edge, edge * edge * channels
        self.of_core = BlockLinear(config.deter, outputs, _BLOCKS)
        self.of_latent = nn.Sequential(
            hidden_layer(config, config.latent, 2 * config.units), linear(2 * config.units, outputs)
        )
        self.norm = ChannelNorm(config, channels)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        blocks = self.of_core(h).view(len(h), _BLOCKS, self.edge, self.edge, -1)
        of_core = blocks.permute(0, 1, 4, 2, 3).flatten(1, 2)  # a block gives some of the channels
        of_latent = self.of_latent(z).view(len(z), self.edge, self.edge, -1).permute(0, 3, 1, 2)
        mapped: Tensor = self.norm(of_core + of_latent)
        return mapped


class _JointMap(nn.Module):
    """The smallest map ``(N, C, h, w)`` by one linear layer (2023)."""

    def __init__(self, config: DreamerConfig, edge: int, channels: int):
        super().__init__()
        self.edge = edge
        self.map = linear(config.features, edge * edge * channels)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        mapped = self.map(torch.cat([z, h], -1))
        return mapped.view(len(h), self.edge, self.edge, -1).permute(0, 3, 1, 2)


def _stage_widths(config: DreamerConfig) -> list[int]:
    return [config.depth * times for times in _WIDTHS[config.generation]]


def _convolution(config: DreamerConfig, inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    """5 x 5 at the same size, or as of 2023 4 x 4 in strides of 2 without a bias."""
    if config.generation == "nature":
        layer = nn.Conv2d(inputs, outputs, 5, padding=2, bias=bias)
    else:
        layer = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return _drawn(layer, inputs)


def _widening(
    config: DreamerConfig, inputs: int, outputs: int, bias: bool = False
) -> nn.ConvTranspose2d:
    """4 x 4 in strides of 2, backwards (2023)."""
    return _drawn(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias), inputs)


def _drawn(layer: Layer, inputs: int) -> Layer:
    draw_weights(layer.weight, inputs * math.prod(layer.kernel_size))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
