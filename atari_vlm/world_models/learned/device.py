"""Where and how learned models are computed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from atari_vlm.errors import ConfigError, RunError, UnknownNameError

PRECISIONS = ("f32", "bf16")


@dataclass(frozen=True)
class Device:
    """Where and how it is computed: ``precision`` ``"f32"`` or ``"bf16"`` (autocast; weights stay
    float32). Making one is the check: ``ConfigError`` where torch cannot compute on ``name`` here.
    """

    name: str = "cpu"
    precision: str = "f32"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UnknownNameError("precision", self.precision, PRECISIONS)
        if not isinstance(self.name, str):
            raise ConfigError(f"a device is a name like cpu or cuda:1, got {self.name!r}")
        try:
            torch.Generator(self.name)
            float(torch.zeros(1, device=self.name).sum())  # "meta" makes tensors and computes none
        except Exception as error:  # every backend has its own way to be absent
            reason = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
            raise ConfigError(f"there is no device {self.name!r} here: {reason}") from error

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context of forward passes."""
        if self.precision == "f32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.name).type, torch.bfloat16)

    @property
    def dtype(self) -> torch.dtype:
        """Of products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


@contextlib.contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Tells ``RunError`` that the memory is too small for ``what`` where torch or the system says so, each in its own way."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RunError(f"out of memory: {what}") from error
    except RuntimeError as error:
        if "allocate memory" not in str(error) and "enough memory" not in str(error):
            raise
        raise RunError(f"out of memory: {what}") from error
