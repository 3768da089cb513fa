"""How a local model is loaded and asked; no torch is imported to read or write these options."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from atari_vlm.errors import ConfigError, UnknownNameError, check_positive
from atari_vlm.vlm.base import check_drawing

LoadIn = Literal["4bit", "8bit"]
DTYPES = ("auto", "float32", "bfloat16", "float16")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class LocalOptions:
    """Options of every in-process model."""

    device: str = "auto"
    """auto (CUDA where there is one, else the CPU), or a torch device such as cpu, cuda:1, mps"""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16; auto is bfloat16 on a GPU, on a CPU float32 where it fits the memory"""
    load_in: LoadIn | None = None
    """4bit (nf4) or 8bit weights through bitsandbytes"""
    trust_remote_code: bool = False
    """run the Python code that comes with the model; for a hub id only together with a pinned revision"""
    revision: str | None = None
    """branch, tag or commit of a hub id; a full commit (40 hex digits) with trust_remote_code"""
    max_batch: int = 8
    """requests of parallel episodes that are answered in one batch, at most"""
    batch_wait_ms: float = 5.0
    """how long the first request of a batch waits for the others; a single episode never waits"""
    prefix_cache: bool = True
    """keep the keys and values of the constant start of the prompt between requests"""
    fast_images: bool = True
    """own image preprocessing for the Qwen-VL and GLM-V families; False takes the stock processor"""
    adapter: str | None = None
    """folder of an adapter that `atari_vlm.tune` trained for this model"""
    offline: bool = False
    """never contact the model hub; only folders and what was downloaded before"""
    temperature: float = 0.0
    """used where a request leaves its temperature open; 0 is greedy"""
    top_p: float | None = None
    """likewise; sample only from the most probable tokens that add up to this"""
    top_k: int | None = None
    """likewise; sample only from this many most probable tokens"""

    def __post_init__(self) -> None:
        check_positive(max_batch=self.max_batch)
        if self.dtype not in DTYPES:
            raise UnknownNameError("dtype", self.dtype, DTYPES)
        if self.load_in is not None and self.load_in not in get_args(LoadIn):
            raise UnknownNameError("load_in", self.load_in, get_args(LoadIn))
        if self.batch_wait_ms < 0 or self.temperature < 0:
            raise ConfigError("batch_wait_ms and temperature must not be negative")
        check_drawing(self.top_p, self.top_k)

    @property
    def pinned(self) -> bool:
        """Whether ``revision`` is one exact commit."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None
