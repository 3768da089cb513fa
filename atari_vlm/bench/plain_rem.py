"""REM's step of imagination straight from the equations: what a first implementation does, as a reference for speed.

Rotations and decay masks are made anew in every call, four projections, every layer for every token, prediction tokens repeated
for each row, memory and frame one after the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from atari_vlm.world_models.rem.retention import rotate, token_decays
from atari_vlm.world_models.rem.stepper import BlockStep
from atari_vlm.world_models.rem.world_model import TokenWorldModel


class PlainStepper:
    """A step with a network's weights, as :class:`~atari_vlm.world_models.rem.stepper.Stepper` gives it."""

    def __init__(self, network: TokenWorldModel):
        self.network = network

    @torch.no_grad()
    def step(self, memory: Tensor, tokens: Tensor, actions: Tensor) -> BlockStep:
        """The state after a block, and logits of reward, end and the next frame's tokens."""
        n = self.network
        x, after = n.embed(tokens, actions), []
        for i, layer in enumerate(n.layers):
            x, state = self._layer(layer, x, memory[:, i])
            after.append(state)
        reward, end = n.reward_head(x[:, -1]), n.end_head(x[:, -1])
        ahead = n.prediction_tokens.expand(len(tokens), -1, -1).contiguous()
        for i, layer in enumerate(n.layers):
            ahead, _ = self._layer(layer, ahead, after[i])
        return BlockStep(torch.stack(after, 1), reward, end, n.token_head(ahead))

    def draw(self, memory: Tensor, tokens: Tensor, actions: Tensor) -> tuple[BlockStep, Tensor]:
        """:meth:`step`, and the next frame's tokens ``(B * K, 1)``."""
        imagined = self.step(memory, tokens, actions)
        return imagined, torch.multinomial(imagined.tokens.softmax(-1).flatten(0, 1), 1)

    def _layer(self, layer: Any, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        r, heads, dim = layer.retention, layer.retention.num_heads, layer.retention.head_dim
        normed = layer.retention_norm(x)
        parts = zip(r.qkvg.weight.chunk(4), r.qkvg.bias.chunk(4), strict=True)
        q, k, v, gate = (functional.linear(normed, weight, bias) for weight, bias in parts)
        q, k, v = (y.unflatten(-1, (heads, dim)).transpose(-3, -2) for y in (q, k, v))
        length = x.shape[1]
        place = torch.arange(length + 1, dtype=torch.float64)
        frequency = (
            10000.0 ** -torch.linspace(0, 1, dim // 2, dtype=torch.float64)
        ).repeat_interleave(2)
        cos, sin = (
            (place[:, None] * frequency).cos().float(),
            (place[:, None] * frequency).sin().float(),
        )
        decays = token_decays(heads)
        gap = (place[:length, None] - place[None, :length]).clamp(min=0)
        mask = (decays[:, None, None] ** gap).tril().float()
        power = (decays[:, None] ** place).float()
        q, k = (
            rotate(q, cos[:length], sin[:length]),
            rotate(k * dim**-0.5, cos[:length], sin[:length]),
        )
        retained = (q @ k.transpose(-1, -2) * mask) @ v + (q @ state) * power[:, :length, None]
        added = (
            k.transpose(-1, -2) @ (v * power[:, 1:].flip(-1)[..., None])
            + state * power[:, length, None, None]
        )
        after = rotate(added.transpose(-1, -2), cos[length], -sin[length]).transpose(-1, -2)
        return layer.feed(x + r.finish(retained, gate)), after
