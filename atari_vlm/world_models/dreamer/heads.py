"""The multilayer perceptrons of a Dreamer, in the layers of its generation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.cores.layers import dense, draw_weights, linear

NORM_EPS_2023 = 1e-3


def hidden_layer(config: DreamerConfig, inputs: int, outputs: int) -> nn.Sequential:
    """Linear, norm, SiLU: with a bias and RMSNorm, or as of 2023 with LayerNorm and no bias."""
    if config.generation == "nature":
        return dense(inputs, outputs)
    return nn.Sequential(
        linear(inputs, outputs, bias=False), nn.LayerNorm(outputs, eps=NORM_EPS_2023), nn.SiLU()
    )


def perceptron(config: DreamerConfig, inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """Hidden layers of these widths."""
    sizes = [inputs, *widths]
    return nn.Sequential(*(hidden_layer(config, *pair) for pair in itertools.pairwise(sizes)))


def head(
    config: DreamerConfig, inputs: int, outputs: int, *, layers: int, scale: float = 1.0
) -> nn.Sequential:
    """``layers`` hidden layers of ``config.units``, and a linear one whose weights begin ``scale`` times as large as usual."""
    body = perceptron(config, inputs, [config.units] * layers)
    last = nn.Linear(config.units, outputs)
    nn.init.zeros_(last.bias)
    nn.init.zeros_(last.weight) if scale == 0 else draw_weights(last.weight, config.units, scale**2)
    return nn.Sequential(*body, last)
