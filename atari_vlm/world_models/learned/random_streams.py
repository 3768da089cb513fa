"""The random streams of a learner as arrays: for a checkpoint, and for sending them between processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


class Streams:
    """The random streams of one rank: ``rng`` (numpy), ``generator`` (torch, on ``device``); ``tag`` tells families apart."""

    def __init__(self, seed: int, rank: int, device: str, tag: int):
        self.rng = np.random.default_rng(
            np.random.SeedSequence([seed, tag, *([rank] if rank else [])])
        )
        self.generator = torch.Generator(device).manual_seed(seed + 1_000_033 * rank)

    def arrays(self) -> dict[str, np.ndarray]:
        """Their states, and that of torch's global stream on the CPU, which dropout uses."""
        return pack_streams(self.rng, self.generator)

    def restore(self, states: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`."""
        self.rng = restore_streams(states, self.generator)


def pack_streams(rng: np.random.Generator, generator: torch.Generator) -> dict[str, np.ndarray]:
    """States of ``rng`` (``numpy``), ``generator``, and torch's global stream on the CPU (``torch``), which dropout uses."""
    states = {
        "generator": generator.get_state().cpu().numpy(),
        "torch": torch.get_rng_state().numpy(),
    }
    return {**states, "numpy": pack_rng(rng)}


def restore_streams(
    states: Mapping[str, np.ndarray], generator: torch.Generator
) -> np.random.Generator:
    """The inverse of :func:`pack_streams`; returns ``rng``."""
    generator.set_state(torch.from_numpy(states["generator"]))
    torch.set_rng_state(torch.from_numpy(states["torch"]))
    return unpack_rng(states["numpy"])


def pack_rng(rng: np.random.Generator) -> np.ndarray:
    """The state of a PCG64 generator, uint64 ``(6,)``."""
    state: Any = rng.bit_generator.state
    words = [
        state["state"][name] >> shift & (2**64 - 1)
        for name in ("state", "inc")
        for shift in (64, 0)
    ]
    return np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64)


def unpack_rng(words: np.ndarray) -> np.random.Generator:
    """The inverse of :func:`pack_rng`."""
    rng = np.random.default_rng(0)
    w = [int(word) for word in words]
    inner = {"state": w[0] << 64 | w[1], "inc": w[2] << 64 | w[3]}
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": inner,
        "has_uint32": w[4],
        "uinteger": w[5],
    }
    return rng
