"""Mamba (Gu and Dao 2023, arXiv 2312.00752) as a sequence core: resets within the scan, state in and out, gradients through both.

Parameters are named as in transformers' ``MambaModel`` (without its embeddings), so weights of either fit the other.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm.errors import CheckpointError, check_count, reading
from atari_vlm.hub import CONFIG
from atari_vlm.world_models.dreamer.cores.base import State, select_rows
from atari_vlm.world_models.dreamer.cores.pretrained import (
    first_layers,
    folder_of,
    sizes_of,
    weights_of,
)
from atari_vlm.world_models.dreamer.cores.selective_scan import at_least_float, selective_scan

_SHORTEST_STEP, _LONGEST_STEP = 1e-3, 1e-1
_ENDLESS = 1e30  # a time step after which nothing is left of a state


class MambaCore(nn.Module):
    """``layers`` residual blocks of ``width``, and a norm; ``width`` numbers in and out at every position.

    A state holds, for each layer, the last ``conv_kernel - 1`` inputs of its convolution, ``conv.I`` ``(B, conv_kernel - 1, E)``,
    and the memory of its scan, ``ssm.I`` ``(B, state_size, E)``, with ``E = expand * width``. ``time_step_rank`` is by default a
    sixteenth of the width.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        state_size: int = 16,
        conv_kernel: int = 4,
        expand: int = 2,
        time_step_rank: int | None = None,
        *,
        norm_eps: float = 1e-5,
    ):
        super().__init__()
        rank = math.ceil(width / 16) if time_step_rank is None else time_step_rank
        check_count(width=width, layers=layers, state_size=state_size, time_step_rank=rank)
        check_count(conv_kernel=conv_kernel, expand=expand)
        self.width = self.output_size = width
        self.sizes = {"width": width, "layers": layers, "state_size": state_size, "conv_kernel": conv_kernel, "expand": expand,
                      "time_step_rank": rank, "norm_eps": norm_eps}  # fmt: skip
        self.layers = nn.ModuleList(
            _Block(width, _Mixer(width, expand * width, state_size, conv_kernel, rank), norm_eps)
            for _ in range(layers)
        )
        for block in self.layers:
            block.mixer.out_proj.weight.data /= math.sqrt(layers)
        self.norm_f = nn.RMSNorm(width, eps=norm_eps)

    @classmethod
    def from_pretrained(cls, folder_or_id: str | Path, layers: int | None = None) -> MambaCore:
        """The core of a Mamba language model, or of its first ``layers``, with its weights and its last norm.

        ``folder_or_id`` is a folder or an id of the Hugging Face hub. Raises ``ModelNotAvailableError`` where neither is to be
        had, ``CheckpointError`` for pickled or damaged weights, ``MismatchError`` for a model of another kind.
        """
        folder = folder_of(folder_or_id)
        sizes = sizes_of(folder)
        sizes["layers"] = first_layers(sizes, layers)
        with reading(folder / CONFIG, CheckpointError), torch.device("meta"):
            shapes = {name: tuple(value.shape) for name, value in cls(**sizes).state_dict().items()}
        weights = weights_of(folder, shapes)
        core = cls(**sizes)
        core.load_state_dict(weights)
        return core

    def init(self, batch: int) -> State:
        """As the protocol has it: zeros."""
        state = {}
        for i, block in enumerate(self.layers):
            mixer, weight = block.mixer, block.mixer.D
            channels, state_size = mixer.A_log.shape
            state[f"conv.{i}"] = weight.new_zeros(batch, mixer.taps - 1, channels)
            state[f"ssm.{i}"] = weight.new_zeros(batch, state_size, channels)
        return state

    def step(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        y, after = self.scan(x[:, None], state, reset[:, None])
        return y[:, 0], after

    def scan(self, x: Tensor, state: State, reset: Tensor) -> tuple[Tensor, State]:
        """As the protocol has it."""
        after: State = {}
        for i, block in enumerate(self.layers):
            names = (f"conv.{i}", f"ssm.{i}")
            x, *memory = block(x, *(state[name] for name in names), reset)
            after |= zip(names, memory, strict=True)
        return self.norm_f(x), after

    def select(self, state: State, index: Tensor) -> State:
        """As the protocol has it."""
        return select_rows(state, index)


class _Block(nn.Module):
    def __init__(self, width: int, mixer: _Mixer, norm_eps: float):
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=norm_eps)
        self.mixer = mixer

    def forward(
        self, x: Tensor, window: Tensor, h: Tensor, reset: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        mixed, window, h = self.mixer(self.norm(x), window, h, reset)
        return x + mixed, window, h


class _Mixer(nn.Module):
    """A gated branch of convolution and selective scan; ``E`` channels, a state of ``N`` numbers for each."""

    def __init__(self, width: int, channels: int, state_size: int, taps: int, rank: int):
        super().__init__()
        self.taps, self.sizes = taps, [rank, state_size, state_size]
        self.in_proj = nn.Linear(width, 2 * channels, bias=False)
        self.conv1d = nn.Conv1d(channels, channels, taps, groups=channels)
        self.x_proj = nn.Linear(channels, sum(self.sizes), bias=False)
        self.dt_proj = nn.Linear(rank, channels)
        self.A_log = nn.Parameter(torch.arange(1.0, state_size + 1).log().repeat(channels, 1))
        self.D = nn.Parameter(torch.ones(channels))
        self.out_proj = nn.Linear(channels, width, bias=False)
        nn.init.zeros_(self.conv1d.bias)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        self.dt_proj.bias.data.copy_(_first_steps(channels))

    def forward(
        self, x: Tensor, window: Tensor, h: Tensor, reset: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``x`` ``(B, T, width)``, the convolution's window, the scan's state: outputs and both after the last position."""
        x, gate = self.in_proj(x).chunk(2, -1)  # (B, T, E) each
        x, window = self._convolve(x, window, reset)
        x = functional.silu(x)
        rank, b, c = self.x_proj(x).split(self.sizes, -1)
        time = functional.softplus(at_least_float(self.dt_proj(rank)))
        a = -at_least_float(self.A_log).exp().t()
        endless = torch.where(reset[..., None], _ENDLESS, time)
        y, h = selective_scan(endless, time * x, a, b, c, h)
        y = (y + x * self.D) * functional.silu(gate)
        return self.out_proj(y.to(gate.dtype)), window, h

    def _convolve(self, x: Tensor, window: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        """Causal and channel by channel; no tap reaches back over a reset, nor does the window that is carried on."""
        positions, weights = x.shape[1], self.conv1d.weight[:, 0].flip(-1)  # (E, taps)
        x = torch.cat([window, x.to(window.dtype)], 1)
        within = _within(reset, self.taps) if _any(reset) else None
        y = self.conv1d.bias
        for back in range(self.taps):
            first = self.taps - 1 - back
            seen = x[:, first : first + positions]
            seen = seen if within is None or not back else seen * within[back][..., None]
            y = torch.addcmul(y, seen, weights[:, back])
        window = x[:, positions:]
        if within is not None:
            window = window * within[:-1, :, -1].flip(0).t()[..., None]  # (B, taps - 1, E)
        return y, window


def _any(reset: Tensor) -> bool:
    """Whether there may be a reset; it is not looked for where that would hold up a device."""
    return reset.device.type != "cpu" or bool(reset.any())


def _within(reset: Tensor, taps: int) -> Tensor:
    """Whether 0 ... taps - 1 positions back is the same episode, ``(taps, B, T)``; what came before the first position is."""
    same = torch.ones_like(reset)
    masks = [same]
    for back in range(taps - 1):
        same = same & ~functional.pad(reset, (back, 0))[:, : reset.shape[1]]
        masks.append(same)
    return torch.stack(masks)


def _first_steps(channels: int) -> Tensor:
    """Biases whose softplus, a time step, is spread evenly over orders of magnitude (section 3.6 of the paper)."""
    low, high = math.log(_SHORTEST_STEP), math.log(_LONGEST_STEP)
    step = torch.empty(channels).uniform_(low, high).exp()
    return step + (-torch.expm1(-step)).log()
