"""Speed of the Mamba core on a CPU core: against transformers' Mamba on a CPU, and beside a GRU of the same width.

Both Mambas have the same weights, and that they compute the same is looked at before anything is measured. The GRU is torch's own
cell, stepped; it stands there without a goal, so that nobody takes Mamba for the faster core.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from atari_vlm.bench.measure import Case
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.world_models.dreamer.cores.mamba import MambaCore

WIDTHS = (256, 512, 768)
ROWS, STEPS, DREAMS, LAYERS = 16, 64, 1024, 1
LARGEST_DIFFERENCE = 1e-4
FORWARD, BOTH, STEP = 1.3, 8.0, 1.3  # goals


def cases(peers: dict[str, str]) -> list[Case]:
    """Reading 16 sequences of 64 positions, with and without gradients, and a step of 1,024 dreams, at each width."""
    for name in peers:
        raise UnknownNameError("peer of bench cores", name, [])
    return [
        case for width in WIDTHS for case in (*_against_transformers(width), *_beside_gru(width))
    ]


def _against_transformers(width: int) -> list[Case]:
    if importlib.util.find_spec("transformers") is None:
        print(
            f"Mamba of width {width} is not compared: transformers is not installed",
            file=sys.stderr,
        )
        return []
    ours, theirs = (
        functools.cache(lambda: Ours(width)),
        functools.cache(lambda: Theirs(width, ours())),
    )
    sizes = f"one layer, width {width}"
    note = "one layer with equal weights, float32, their path without kernels; checked: outputs and gradients agree"

    def case(name: str, method: str, goal: float) -> Case:
        peer = "transformers' Mamba"
        return Case(
            f"Mamba {name}, {sizes}",
            peer,
            _call(ours, method),
            _call(theirs, method),
            goal,
            note=note,
        )

    return [
        case(f"forward, {ROWS} x {STEPS}", "forward", FORWARD),
        case(f"forward and backward, {ROWS} x {STEPS}", "both", BOTH),
        case(f"imagination step, {DREAMS:,} rows", "step", STEP),
    ]


def _beside_gru(width: int) -> list[Case]:
    ours, gru = functools.cache(lambda: Ours(width)), functools.cache(lambda: Gru(width))
    names = {
        "both": f"forward and backward, {ROWS} x {STEPS}",
        "step": f"imagination step, {DREAMS:,} rows",
    }
    note = "no goal: what a layer of Mamba costs beside torch's GRUCell of the same width"
    return [
        Case(
            f"Mamba beside a GRU, {name}, width {width}", "GRUCell", _call(ours, method), _call(gru, method), None, note=note
        )
        for method, name in names.items()
    ]  # fmt: skip


def _call(made: Callable[[], Any], method: str) -> Callable[[], object]:
    return lambda: getattr(made(), method)()


class _Side:
    """What both sides are given: sequences, rows of dreams, and the gradient of what comes out."""

    def __init__(self, width: int):
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(ROWS, STEPS, width, generator=generator)
        self.gradient = torch.randn(ROWS, STEPS, width, generator=generator)
        self.dreams = torch.randn(DREAMS, width, generator=generator)


class Ours(_Side):
    """Our core with random weights."""

    def __init__(self, width: int):
        super().__init__(width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.core = MambaCore(width, LAYERS)
        self.state, self.never = self.core.init(ROWS), torch.zeros(ROWS, STEPS, dtype=torch.bool)
        self.goes_on = torch.zeros(DREAMS, dtype=torch.bool)
        with torch.no_grad():
            _, self.dreamed = self.core.step(self.dreams, self.core.init(DREAMS), self.goes_on)

    def scan(self) -> Tensor:
        """What comes out of the sequences."""
        return self.core.scan(self.x, self.state, self.never)[0]

    @torch.no_grad()
    def forward(self) -> Tensor:
        """The same without gradients."""
        return self.scan()

    def both(self) -> None:
        """Forward and backward."""
        self.core.zero_grad()
        self.scan().backward(self.gradient)

    @torch.no_grad()
    def step(self) -> Tensor:
        """One step of dreams that have begun."""
        return self.core.step(self.dreams, self.dreamed, self.goes_on)[0]


class Theirs(_Side):
    """transformers' ``MambaModel`` with our weights; ``ConfigError`` where it does not compute what ours does."""

    def __init__(self, width: int, ours: Ours):
        from transformers import MambaConfig, MambaModel

        super().__init__(width)
        config = MambaConfig(hidden_size=width, num_hidden_layers=LAYERS, vocab_size=2)
        self.model = MambaModel(config).eval()
        self.model.load_state_dict(ours.core.state_dict(), strict=False)
        with torch.no_grad():
            begun = self.model(inputs_embeds=self.dreams[:, None], use_cache=True)
        self.cache = begun.cache_params
        self._check(ours)

    def _check(self, ours: Ours) -> None:
        ours.both()
        self.both()
        mine, own = dict(ours.core.named_parameters()), dict(self.model.named_parameters())
        pairs = [(ours.forward(), self.forward())]
        pairs += [(value.grad, own[name].grad) for name, value in mine.items()]
        for first, second in pairs:
            if (first - second).abs().max() > LARGEST_DIFFERENCE * second.abs().max():
                raise ConfigError(
                    "transformers' Mamba of this version computes something else than ours"
                )

    def scan(self) -> Tensor:
        """What comes out of the sequences."""
        out: Tensor = self.model(inputs_embeds=self.x, use_cache=False).last_hidden_state
        return out

    @torch.no_grad()
    def forward(self) -> Tensor:
        """The same without gradients."""
        return self.scan()

    def both(self) -> None:
        """Forward and backward."""
        self.model.zero_grad()
        self.scan().backward(self.gradient)

    @torch.no_grad()
    def step(self) -> Tensor:
        """One step with its cache, which it changes in place."""
        dreams = self.dreams[:, None]
        out: Tensor = self.model(
            inputs_embeds=dreams, cache_params=self.cache, use_cache=True
        ).last_hidden_state
        return out


class Gru(_Side):
    """torch's cell."""

    def __init__(self, width: int):
        super().__init__(width)
        self.cell = nn.GRUCell(width, width)
        self.h = torch.zeros(DREAMS, width)

    def both(self) -> None:
        """Forward and backward, step by step."""
        self.cell.zero_grad()
        h, outputs = torch.zeros_like(self.x[:, 0]), []
        for x in self.x.unbind(1):
            h = self.cell(x, h)
            outputs.append(h)
        torch.stack(outputs, 1).backward(self.gradient)

    @torch.no_grad()
    def step(self) -> Tensor:
        """One step of dreams."""
        out: Tensor = self.cell(self.dreams, self.h)
        return out
