"""Vectors into floats and back: numbers of any size through symlog and a multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from atari_vlm.experience.columns import Column
from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.heads import head, perceptron
from atari_vlm.world_models.learned.heads import symlog


class VectorEncoder(nn.Module):
    """Named numbers ``(N, ...)``, side by side, into floats ``(N, outputs)``."""

    def __init__(self, config: DreamerConfig, vectors: Mapping[str, Column]):
        super().__init__()
        self.names = tuple(vectors)
        inputs = sum(math.prod(column.shape) for column in vectors.values())
        self.outputs = config.units
        self.layers = perceptron(config, inputs, [config.units] * config.layers)
        if config.spread:
            nn.init.normal_(self.layers[0][0].bias, std=config.spread)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """See the class."""
        flat = [inputs[name].reshape(len(inputs[name]), -1).float() for name in self.names]
        encoded: Tensor = self.layers(symlog(torch.cat(flat, -1)))
        return encoded


class VectorDecoder(nn.Module):
    """Features ``(N, features)`` into the symlog of each named vector, ``(N, ...)``."""

    def __init__(self, config: DreamerConfig, vectors: Mapping[str, Column]):
        super().__init__()
        self.shapes = {name: column.shape for name, column in vectors.items()}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.layers = head(config, config.features, sum(self.sizes), layers=config.layers)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """See the class."""
        parts = self.layers(features).split(self.sizes, -1)
        return {
            name: part.reshape(len(part), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
