"""Perceptual losses of pictures: LPIPS from a local file, and a multi-scale stand-in that needs none."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError


class MultiScaleLoss(nn.Module):
    """What stands in for LPIPS without downloaded weights: mean absolute difference of pictures and of their edges at four
    scales. Small moving objects weigh more in it than in a mean square.

    ``moving`` > 0 adds so many times the mean absolute difference where a picture is not the batch's median (by more than 4 of
    255), every place having the same weight however often it is so: in a game with a still background, what moves. A ball of one
    pixel that is here and there then counts for as much as a score that is nearly always in one place.
    """

    def __init__(self, moving: float = 0.0):
        super().__init__()
        self.moving = moving

    def forward(self, decoded: Tensor, target: Tensor) -> Tensor:
        """A scalar distance of pictures ``(N, 3, H, W)``."""
        total = decoded.new_zeros(())
        if self.moving:
            gap = (target - target.median(0).values).abs().amax(1, keepdim=True)  # (N, 1, H, W)
            apart = (gap > 4 / 127.5).to(target)
            weight = apart / apart.sum(0, keepdim=True).clamp(min=1)
            gaps = (decoded - target).abs() * weight
            total = 4 * self.moving * gaps.sum() / (target.shape[1] * weight.sum().clamp(min=1))
        for _ in range(4):
            total = total + (decoded - target).abs().mean()
            for dim in (2, 3):
                total = total + (decoded.diff(dim=dim) - target.diff(dim=dim)).abs().mean()
            decoded, target = functional.avg_pool2d(decoded, 2), functional.avg_pool2d(target, 2)
        return total / 4


class Lpips(nn.Module):
    """LPIPS with VGG16 (Zhang et al. 2018, arXiv 1801.03924) from a local safetensors file; never part of a checkpoint.

    The file has torchvision's names for VGG16's convolutions (``features.0.weight`` ... ``features.28.bias``) and
    ``lin0`` ... ``lin4`` for the five non-negative channel weights, ``(C,)`` or ``(1, C, 1, 1)``.
    """

    WIDTHS: tuple[tuple[int, ...], ...] = (
        (64, 64),
        (128, 128),
        (256, 256, 256),
        (512, 512, 512),
        (512, 512, 512),
    )

    def __init__(self, path: str | Path):
        super().__init__()
        try:
            weights = require("safetensors.torch", "train").load_file(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"LPIPS weights {path} cannot be read: {error}") from error
        except Exception as error:  # safetensors has its own error type, not exported by name
            raise ConfigError(
                f"LPIPS weights {path} are not a safetensors file: {error}"
            ) from error
        self.stages, wide, index = nn.ModuleList(), 3, 0
        for widths in self.WIDTHS:
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if index else []
            index += len(layers)
            for width in widths:
                layers += [_loaded_conv(wide, width, weights, f"features.{index}", path), nn.ReLU()]
                wide, index = width, index + 2
            self.stages.append(nn.Sequential(*layers))
        for i, last in enumerate(widths[-1] for widths in self.WIDTHS):
            self.register_buffer(f"lin{i}", _entry(weights, f"lin{i}", path).reshape(1, last, 1, 1))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, decoded: Tensor, target: Tensor) -> Tensor:
        """The mean distance of pictures ``(N, 3, H, W)`` in [-1, 1]."""
        a, b = (decoded - self.shift) / self.scale, (target - self.shift) / self.scale
        total = decoded.new_zeros(())
        for i, stage in enumerate(self.stages):
            a, b = stage(a), stage(b)
            gap = (
                functional.normalize(a, dim=1, eps=1e-10)
                - functional.normalize(b, dim=1, eps=1e-10)
            ) ** 2
            total = total + (gap * getattr(self, f"lin{i}")).sum(1).mean()
        return total


def _loaded_conv(
    wide: int, width: int, weights: dict[str, Tensor], name: str, path: str | Path
) -> nn.Conv2d:
    conv = nn.Conv2d(wide, width, 3, padding=1)
    for part in ("weight", "bias"):
        value, own = _entry(weights, f"{name}.{part}", path), getattr(conv, part)
        if value.shape != own.shape:
            raise ConfigError(
                f"{path}: {name}.{part} is {tuple(value.shape)}, VGG16 has {tuple(own.shape)}"
            )
        own.data.copy_(value)
    return conv


def _entry(weights: dict[str, Tensor], name: str, path: str | Path) -> Tensor:
    if name not in weights:
        raise ConfigError(f"{path} is not LPIPS with VGG16: it has no {name!r}")
    return cast(Tensor, weights[name].float())
