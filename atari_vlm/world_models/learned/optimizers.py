"""Optimizers of learned world models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.world_models.learned.schedule import Updates
from atari_vlm.world_models.learned.team import Team


def optimizer_for(network: nn.Module, updates: Updates) -> torch.optim.AdamW:
    """AdamW; weight decay on the weights of linear and convolution layers only, none on biases, norms and embeddings."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                weight = isinstance(module, (nn.Linear, nn.Conv2d)) and name == "weight"
                (decayed if weight else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": updates.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=updates.learning_rate)


def apply_gradients(optimizer: torch.optim.Optimizer, max_norm: float, team: Team) -> float:
    """Sum the gradients over the ranks, clip, step and forget them; their norm before clipping."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    team.sum_gradients(parameters)
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)


_LAST_SHARE = 0.1


class LaProp(torch.optim.Optimizer):
    """DreamerV3's optimizer: adaptive gradient clipping, then LaProp (Ziyin et al. 2020, arXiv 2002.04839).

    A gradient longer than ``clip`` times its parameter's norm (1e-3 at least) is cut to that (Brock et al. 2021,
    arXiv 2102.06171, but by whole tensors); it is divided by the root of the running mean of its squares, and momentum is
    taken of the quotients; both means are corrected for their beginning at 0. The rate rises linearly from 0, at the first
    update, to ``lr`` after ``warm_up`` updates. With ``decay`` it then falls linearly to a tenth of that, at
    that update (not official).
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 4e-5,
        warm_up: int = 1000,
        clip: float = 0.3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
        decay: int = 0,
    ):
        check_positive(lr=lr, clip=clip, eps=eps)
        if warm_up < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(
                f"warm_up >= 0 and betas in [0, 1) are needed, got {warm_up}, {betas}"
            )
        if decay and decay <= warm_up:
            raise ConfigError(f"decay is 0 or beyond warm_up ({warm_up}), got {decay}")
        constants = {"lr": lr, "warm_up": warm_up, "clip": clip, "betas": betas, "eps": eps}
        constants["decay"] = decay
        super().__init__(parameters, constants)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, group)
        return loss

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        states = [self._state(parameter) for parameter in parameters]
        squares, momenta = ([state[name] for state in states] for name in ("square", "momentum"))
        (first, second), count = group["betas"], int(states[0]["step"]) + 1
        gradients = _clipped(
            [p.grad for p in parameters if p.grad is not None], parameters, group["clip"]
        )
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        roots = torch._foreach_sqrt(torch._foreach_div(squares, 1 - second**count))
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_div_(gradients, roots)
        torch._foreach_mul_(momenta, first)
        torch._foreach_add_(momenta, gradients, alpha=1 - first)
        rate = group["lr"] * _share(count, group["warm_up"], group["decay"])
        torch._foreach_add_(parameters, momenta, alpha=-rate / (1 - first**count))
        for state in states:
            state["step"] += 1

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["square"], state["momentum"] = (
                torch.zeros_like(parameter),
                torch.zeros_like(parameter),
            )
        return state


def _share(count: int, warm_up: int, decay: int) -> float:
    """Of the rate, at update ``count`` (from 1)."""
    if count <= warm_up:
        return (count - 1) / warm_up
    if not decay:
        return 1.0
    return max(_LAST_SHARE, 1 - (1 - _LAST_SHARE) * (count - warm_up) / (decay - warm_up))


def _clipped(gradients: list[Tensor], parameters: list[Tensor], clip: float) -> list[Tensor]:
    """Copies of the gradients, none longer than ``clip`` times the norm of its parameter."""
    longest = torch._foreach_clamp_min(torch._foreach_norm(parameters), 1e-3)
    longest = torch._foreach_mul(longest, clip)
    lengths = torch._foreach_maximum(torch._foreach_norm(gradients), longest)
    return list(torch._foreach_mul(gradients, torch._foreach_div(longest, lengths)))
