"""Where and how learned models are computed."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from atari_vlm.errors import ConfigError


@dataclass(frozen=True)
class Device:
    """Where and how it is computed: ``precision`` ``"f32"`` or ``"bf16"`` (autocast; weights stay float32)."""

    name: str = "cpu"
    precision: str = "f32"

    def __post_init__(self) -> None:
        if self.precision not in ("f32", "bf16"):
            raise ConfigError(f"precision is f32 or bf16, got {self.precision!r}")
        try:
            torch.empty(0, device=self.name)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"there is no device {self.name!r} here: {error}") from error

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context of forward passes."""
        if self.precision == "f32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.name).type, torch.bfloat16)
