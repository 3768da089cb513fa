"""Learning to act from imagination: lambda-returns, scaled returns, and the actor-critic's loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from atari_vlm.world_models.rem.actor_critic import ActorCritic


def lambda_returns(rewards: Tensor, ends: Tensor, values: Tensor, discount: float, lam: float) -> Tensor:
    """Lambda-returns ``(B, T)`` from rewards and ends of T steps and values ``(B, T + 1)`` (Sutton & Barto, section 12.1).

    ``G_t = r_t + discount (1 - d_t) [(1 - lam) V_{t+1} + lam G_{t+1}]`` with ``G_T = V_T``.
    """
    following = values[:, -1]
    returns = []
    for t in reversed(range(rewards.shape[1])):
        mixed = (1 - lam) * values[:, t + 1] + lam * following
        following = rewards[:, t] + discount * (1 - ends[:, t].float()) * mixed
        returns.append(following)
    return torch.stack(returns[::-1], dim=1)


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
