"""The losses of REM's world model and actor-critic, and the LPIPS distance from a local file of weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atari_vlm._lazy import require
from atari_vlm.errors import ConfigError
from atari_vlm.world_models.rem.actor_critic import ActorCritic, lambda_returns
from atari_vlm.world_models.rem.world_model import TokenWorldModel


@dataclass(frozen=True)
class Blocks:
    """B segments of T blocks: ``tokens`` int64 ``(B, T, K)``, ``actions`` int64, ``rewards`` float32, ``ends`` bool (terminated,
    not truncated) and ``mask`` bool ``(B, T)`` (False where padded on the right).
    """

    tokens: Tensor
    actions: Tensor
    rewards: Tensor
    ends: Tensor
    mask: Tensor

    def rows(self, begin: int, end: int) -> Blocks:
        """Some of the rows."""
        leaves = (self.tokens, self.actions, self.rewards, self.ends, self.mask)
        return Blocks(*(leaf[begin:end] for leaf in leaves))

    def scored(self, context: int) -> tuple[Tensor, Tensor]:
        """Where tokens, and where rewards and ends are scored, bool ``(B, T)`` each.

        The first ``context`` frames are given, never predicted; the action on the last of them is the first imagined one, so
        its reward and end are scored.
        """
        place = torch.arange(self.mask.shape[1], device=self.mask.device)
        return self.mask & (place >= context), self.mask & (place >= context - 1)


@dataclass(frozen=True)
class WorldModelLoss:
    """Sums over the scored elements divided by ``counts``; ``rows`` is each row's own token loss, ``(B,)``."""

    total: Tensor
    tokens: Tensor
    reward: Tensor
    end: Tensor
    rows: Tensor
    accuracy: Tensor


def world_model_loss(
    network: TokenWorldModel,
    blocks: Blocks,
    context: int,
    counts: tuple[Tensor, Tensor] | None = None,
    known: Tensor | None = None,
) -> WorldModelLoss:
    """The unweighted sum of the cross-entropies of tokens, reward and end (rem.md section 2.3).

    ``counts`` (scored token blocks, scored rewards) of the whole batch make the losses of its parts add up to the batch's;
    default: this batch's own. ``known`` int64 ``(B, T, K)`` reveals tokens (-1 where open); only open ones are scored.
    """
    on_tokens, on_acts = blocks.scored(context)
    block_count, act_count = counts or (on_tokens.sum(), on_acts.sum())
    predicted = network(blocks.tokens, blocks.actions, known=known)
    logits = predicted.tokens.float()
    per_token = functional.cross_entropy(logits.flatten(0, 2), blocks.tokens.flatten(), reduction="none")
    per_token = per_token.view(blocks.tokens.shape)  # (B, T, K)
    is_open = torch.ones_like(per_token) if known is None else (known < 0).float()
    per_block = (per_token * is_open).sum(-1) / is_open.sum(-1).clamp(min=1)  # (B, T)
    token_sums = (per_block * on_tokens).sum(1)  # (B,)
    tokens = token_sums.sum() / block_count.clamp(min=1)
    reward = (network.reward.loss(predicted.reward.float(), blocks.rewards) * on_acts).sum() / act_count.clamp(min=1)
    ends = functional.cross_entropy(predicted.end.float().flatten(0, 1), blocks.ends.long().flatten(), reduction="none")
    end = (ends.view(blocks.ends.shape) * on_acts).sum() / act_count.clamp(min=1)
    right = ((logits.argmax(-1) == blocks.tokens).float().mean(-1) * on_tokens).sum() / block_count.clamp(min=1)
    rows = (token_sums / on_tokens.sum(1).clamp(min=1)).detach()
    return WorldModelLoss(tokens + reward + end, tokens, reward, end, rows, right.detach())


def revealed_tokens(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """What refinement learns from: half of the blocks see nothing, the others a random share of their own tokens (-1: hidden)."""
    shape = (*tokens.shape[:-1], 1)
    share = torch.rand(shape, generator=generator, device=tokens.device)
    some = torch.rand(shape, generator=generator, device=tokens.device) < 0.5
    shown = torch.rand(tokens.shape, generator=generator, device=tokens.device) < share
    return torch.where(shown & some, tokens, -1)


@dataclass(frozen=True)
class Imagined:
    """B rollouts of N scored steps: ``logits`` ``(B, N, A)``, ``actions`` int64 ``(B, N)``, ``outputs`` of the value head
    ``(B, N + 1, .)``, ``rewards`` float32 and ``ends`` bool ``(B, N)``.
    """

    logits: Tensor
    actions: Tensor
    outputs: Tensor
    rewards: Tensor
    ends: Tensor

    @property
    def alive(self) -> Tensor:
        """1 for steps before or at the imagined end, 0 after it, float ``(B, N)``."""
        over = self.ends.float().cumsum(1) - self.ends.float()
        return (over == 0).float()


class ReturnScale:
    """The running range of returns, 5th to 95th percentile, by which advantages are divided when it exceeds 1 (DreamerV3)."""

    def __init__(self, momentum: float = 0.99):
        self.momentum, self.range = momentum, torch.zeros(())

    def update(self, returns: Tensor) -> float:
        """Take in some returns; what to divide by."""
        low, high = torch.quantile(returns.detach().float().flatten().cpu(), torch.tensor([0.05, 0.95]))
        self.range = self.momentum * self.range + (1 - self.momentum) * (high - low)
        return max(1.0, float(self.range))


@dataclass(frozen=True)
class ActorCriticLoss:
    """Means over the steps that count; ``imagined_return`` is the mean undiscounted reward sum per rollout."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    imagined_return: Tensor
    alive: Tensor


@dataclass(frozen=True)
class PolicyGradient:
    """The constants of the actor-critic's loss."""

    discount: float
    lam: float
    entropy: float
    normalise: bool = False
    value_weight: float = 1.0


def actor_critic_loss(
    network: ActorCritic,
    imagined: Imagined,
    constants: PolicyGradient,
    scale: ReturnScale | None = None,
    everyone: Callable[[Tensor], Tensor] = lambda rows: rows,
) -> ActorCriticLoss:
    """REINFORCE with the value as baseline on lambda-returns, value regression, entropy bonus; all masked after the end.

    ``everyone`` returns the rows of the whole batch where these rollouts are a part of it; the losses of the parts add up.
    """
    alive = imagined.alive
    count = everyone(alive.sum()[None]).sum().clamp(min=1)
    values = network.value.mean(imagined.outputs).float()  # (B, N + 1)
    returns = lambda_returns(imagined.rewards, imagined.ends, values.detach(), constants.discount, constants.lam)
    advantage = returns - values[:, :-1].detach()
    if scale is not None:
        advantage = advantage / scale.update(everyone(returns[alive > 0]))
    if constants.normalise:
        chosen = everyone(advantage[alive > 0])
        advantage = (advantage - chosen.mean()) / (chosen.std() + 1e-3)
    log_p = imagined.logits.float().log_softmax(-1)
    taken = log_p.gather(-1, imagined.actions[..., None]).squeeze(-1)
    policy = -(taken * advantage * alive).sum() / count
    value = (network.value.loss(imagined.outputs[:, :-1].float(), returns) * alive).sum() / count
    entropy = (-(log_p.exp() * log_p).sum(-1) * alive).sum() / count
    total = policy + constants.value_weight * value - constants.entropy * entropy
    return ActorCriticLoss(total, policy, value, entropy, (imagined.rewards * alive).sum(1).mean(), alive.mean())


class Lpips(nn.Module):
    """LPIPS with VGG16 (Zhang et al. 2018, arXiv 1801.03924) from a local safetensors file; never part of a checkpoint.

    The file has torchvision's names for VGG16's convolutions (``features.0.weight`` ... ``features.28.bias``) and
    ``lin0`` ... ``lin4`` for the five non-negative channel weights, ``(C,)`` or ``(1, C, 1, 1)``.
    """

    WIDTHS: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

    def __init__(self, path: str | Path):
        super().__init__()
        try:
            weights = require("safetensors.torch", "train").load_file(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"LPIPS weights {path} cannot be read: {error}") from error
        except Exception as error:  # safetensors has its own error type, not exported by name
            raise ConfigError(f"LPIPS weights {path} are not a safetensors file: {error}") from error
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
            gap = (functional.normalize(a, dim=1, eps=1e-10) - functional.normalize(b, dim=1, eps=1e-10)) ** 2
            total = total + (gap * getattr(self, f"lin{i}")).sum(1).mean()
        return total


def _loaded_conv(wide: int, width: int, weights: dict[str, Tensor], name: str, path: str | Path) -> nn.Conv2d:
    conv = nn.Conv2d(wide, width, 3, padding=1)
    for part in ("weight", "bias"):
        value, own = _entry(weights, f"{name}.{part}", path), getattr(conv, part)
        if value.shape != own.shape:
            raise ConfigError(f"{path}: {name}.{part} is {tuple(value.shape)}, VGG16 has {tuple(own.shape)}")
        own.data.copy_(value)
    return conv


def _entry(weights: dict[str, Tensor], name: str, path: str | Path) -> Tensor:
    if name not in weights:
        raise ConfigError(f"{path} is not LPIPS with VGG16: it has no {name!r}")
    return cast(Tensor, weights[name].float())
