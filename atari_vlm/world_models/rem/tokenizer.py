"""The VQ-VAE tokenizer: a frame to K codes and back (van den Oord et al. 2017, arXiv 1711.00937; REM's sizes)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.world_models.rem.settings import TokenizerConfig


class PlaceNorm(nn.LayerNorm):
    """Layer normalisation of pictures ``(N, C, h, w)`` over the channels of each place."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _norm_act(c: TokenizerConfig, channels: int) -> list[nn.Module]:
    return [nn.GroupNorm(8, channels) if c.norm == "frame" else PlaceNorm(channels), nn.SiLU()]


class Downsample(nn.Conv2d):
    """Stride-2 convolution padded on the right and bottom only."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(channels_in, channels_out, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the edges."""
        return super().forward(functional.pad(x, (0, 1, 0, 1)))


def _encoder(c: TokenizerConfig) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, c.channels[0], 3, padding=1)]
    for wide_in, wide_out in itertools.pairwise(c.channels):
        layers += [
            *_norm_act(c, wide_in),
            Downsample(wide_in, wide_out),
            nn.Conv2d(wide_out, wide_out, 3, padding=1),
        ]
    last = c.channels[-1]
    return nn.Sequential(
        *layers,
        *_norm_act(c, last),
        nn.Conv2d(last, last, 3, padding=1),
        nn.Conv2d(last, c.code_dim, 1),
    )


def _decoder(c: TokenizerConfig) -> nn.Sequential:
    widths = c.channels[::-1]
    layers: list[nn.Module] = [
        nn.Conv2d(c.code_dim, widths[0], 1),
        nn.Conv2d(widths[0], widths[0], 3, padding=1),
    ]
    for wide_in, wide_out in itertools.pairwise(widths):
        layers += [*_norm_act(c, wide_in), nn.Upsample(scale_factor=2, mode="nearest")]
        layers += [
            nn.Conv2d(wide_in, wide_out, 3, padding=1),
            nn.Conv2d(wide_out, wide_out, 3, padding=1),
        ]
    return nn.Sequential(*layers, *_norm_act(c, widths[-1]), nn.Conv2d(widths[-1], 3, 3, padding=1))


@dataclass(frozen=True)
class TokenizerLoss:
    """Means over the batch; ``total`` is what is minimised."""

    total: Tensor
    reconstruction: Tensor
    commitment: Tensor
    perceptual: Tensor


class Tokenizer(nn.Module):
    """Frames uint8 ``(..., H, W, 3)`` to tokens int64 ``(..., K)`` and back; inside, floats ``(N, 3, H, W)`` in [-1, 1]."""

    def __init__(self, config: TokenizerConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = _encoder(config), _decoder(config)
        self.codes = nn.Embedding(config.num_codes, config.code_dim)
        nn.init.uniform_(self.codes.weight, -1 / config.num_codes, 1 / config.num_codes)

    @staticmethod
    def to_float(frames: Tensor) -> Tensor:
        """uint8 ``(N, H, W, 3)`` to float ``(N, 3, H, W)`` in [-1, 1]."""
        return frames.permute(0, 3, 1, 2).float() / 127.5 - 1

    @staticmethod
    def to_frames(pixels: Tensor) -> Tensor:
        """The inverse of :meth:`to_float`, rounded and clipped."""
        return (
            ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        )

    def nearest(self, z: Tensor) -> Tensor:
        """Index of the nearest code of each vector: ``(N, code_dim, h, w)`` to int64 ``(N, h * w)``."""
        flat = z.permute(0, 2, 3, 1).flatten(1, 2)  # (N, K, code_dim)
        codes = self.codes.weight
        distance = (
            codes.pow(2).sum(1) - 2 * flat @ codes.T
        )  # the vector's own square is the same for every code
        return cast(Tensor, distance.argmin(-1))

    def code_map(self, tokens: Tensor) -> Tensor:
        """Code vectors as a picture, ``(N, code_dim, h, w)``, from tokens ``(N, K)``."""
        g = self.config.grid
        return cast(Tensor, self.codes(tokens).unflatten(1, (g, g)).permute(0, 3, 1, 2))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """uint8 frames ``(..., H, W, 3)`` to int64 tokens ``(..., K)``."""
        flat = frames.flatten(0, -4)
        return self.nearest(self.encoder(self.to_float(flat))).unflatten(0, frames.shape[:-3])

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """int64 tokens ``(..., K)`` to uint8 frames ``(..., H, W, 3)``."""
        flat = tokens.flatten(0, -2)
        return self.to_frames(self.decoder(self.code_map(flat))).unflatten(0, tokens.shape[:-1])

    def loss(
        self, frames: Tensor, perceptual: nn.Module | None = None, *, coded: bool = True
    ) -> TokenizerLoss:
        """VQ-VAE loss on uint8 frames ``(N, H, W, 3)``: codes to vectors, vectors to codes (both mean squared), pixels.

        ``perceptual(a, b)`` adds a scalar distance between pictures (LPIPS, or :class:`MultiScaleLoss`). Without ``coded`` the
        decoder sees the encoder's own vectors and the commitment is 0: an autoencoder.
        """
        target = self.to_float(frames)
        z = self.encoder(target)
        codes = self.code_map(self.nearest(z)) if coded else z
        commitment = functional.mse_loss(codes, z.detach()) + functional.mse_loss(z, codes.detach())
        decoded = self.decoder(z + (codes - z).detach())  # straight-through gradient
        reconstruction = functional.mse_loss(decoded, target)
        extra = (
            perceptual(decoded, target) if perceptual is not None else reconstruction.new_zeros(())
        )
        return TokenizerLoss(commitment + reconstruction + extra, reconstruction, commitment, extra)
