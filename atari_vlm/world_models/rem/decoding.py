"""Frames from tokens, fast: the tokenizer's decoder arranged for inference.

Doubling the edges (nearest) and a 3 x 3 convolution over the result are one transposed convolution of 4 x 4 and stride 2: every
output then takes 4 products per channel instead of 9. The first layer, 1 x 1 on code vectors, is a table of the codes.
"""

from __future__ import annotations

import copy
import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.world_models.rem.tokenizer import Tokenizer


class FrameDecoder:
    """A tokenizer's ``decode`` with the weights that it had when this was made; convolutions in ``dtype`` (float32 or bfloat16),
    channels last. Gives no gradients.
    """

    @torch.no_grad()
    def __init__(self, tokenizer: Tokenizer, dtype: torch.dtype = torch.float32):
        self.grid = tokenizer.config.grid
        first, *rest = list(tokenizer.decoder)
        first = cast(nn.Conv2d, first)
        self.table = functional.linear(
            tokenizer.codes.weight, first.weight[:, :, 0, 0], first.bias
        ).to(dtype)
        pairs = itertools.pairwise([first, *rest])
        layers = [
            _doubling(cast(nn.Conv2d, module)) if isinstance(before, nn.Upsample) else module
            for before, module in pairs
            if not isinstance(module, nn.Upsample)
        ]
        network = copy.deepcopy(nn.Sequential(*layers))
        for module in network:
            if isinstance(module, nn.SiLU):
                module.inplace = True  # on what the norm before it has just made
        self.network = network.to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(
            False
        )

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """int64 tokens ``(B, K)`` to uint8 frames ``(B, H, W, 3)``."""
        picture = (
            functional.embedding(tokens, self.table)
            .unflatten(1, (self.grid, self.grid))
            .permute(0, 3, 1, 2)
        )
        with torch.autocast(tokens.device.type, enabled=False):
            return Tokenizer.to_frames(self.network(picture))


def _doubling(conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """Nearest doubling followed by ``conv`` (3 x 3, padding 1): each input pixel's four copies share its products."""
    spread = conv.weight.new_zeros(conv.in_channels, conv.out_channels, 4, 4)
    for row in (0, 1):
        for column in (0, 1):
            spread[:, :, row : row + 3, column : column + 3] += conv.weight.transpose(0, 1).flip(
                -1, -2
            )
    sizes = (conv.in_channels, conv.out_channels, 4)
    whole = nn.utils.skip_init(nn.ConvTranspose2d, *sizes, stride=2, padding=1)  # draws no numbers
    whole.weight.copy_(spread)
    assert whole.bias is not None and conv.bias is not None
    whole.bias.copy_(conv.bias)
    return whole.to(conv.weight.device)
