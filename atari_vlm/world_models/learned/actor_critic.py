"""Learning to act from imagination: lambda-returns, scaled returns, and the actor-critic's loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from atari_vlm.world_models.learned.heads import ValueHead
from atari_vlm.world_models.learned.imagination import Imagination
from atari_vlm.world_models.learned.schedule import PolicyGradient


def lambda_returns(
    rewards: Tensor, discounts: Tensor, values: Tensor, lam: float | Tensor
) -> Tensor:
    """Lambda-returns ``(B, T)`` from rewards and discounts of T steps and values ``(B, T + 1)``.

    ``G_t = r_t + discount_t [(1 - lam) V_{t+1} + lam G_{t+1}]`` with ``G_T = V_T`` (Sutton & Barto,
    section 12.1); a discount is 0 where an episode ends. ``lam`` may be one for each step,
    ``(B, T)``: 0 where what follows is of another episode.
    """
    following = values[:, -1]
    returns = []
    for t in reversed(range(rewards.shape[1])):
        share = lam[:, t] if isinstance(lam, Tensor) else lam
        mixed = (1 - share) * values[:, t + 1] + share * following
        following = rewards[:, t] + discounts[:, t] * mixed
        returns.append(following)
    return torch.stack(returns[::-1], dim=1)


class ReturnScale:
    """The running range of returns, 5th to 95th percentile, by which advantages are divided when it
    exceeds 1 (DreamerV3).
    """

    def __init__(self, momentum: float = 0.99):
        self.momentum, self.range = momentum, torch.zeros(())

    def update(self, returns: Tensor) -> float:
        """Take in some returns; what to divide by."""
        flat = returns.detach().float().flatten().cpu()
        low, high = torch.quantile(flat, torch.tensor([0.05, 0.95]))
        self.range = self.momentum * self.range + (1 - self.momentum) * (high - low)
        return max(1.0, float(self.range))


@dataclass(frozen=True)
class ActorCriticLoss:
    """Means over the steps that count; ``imagined_return`` is the mean undiscounted reward sum."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    imagined_return: Tensor
    alive: Tensor


def actor_critic_loss(
    imagined: Imagination,
    value_head: ValueHead,
    config: PolicyGradient,
    scale: ReturnScale | None = None,
    gather: Callable[[Tensor], Tensor] = lambda rows: rows,
) -> ActorCriticLoss:
    """REINFORCE with the value as baseline on lambda-returns, value regression, entropy bonus; all
    masked after the end.

    ``gather`` returns the rows of the whole batch where these rollouts are a part of it; the losses
    of the parts add up.
    """
    alive = imagined.alive
    count = gather(alive.sum()[None]).sum().clamp(min=1)
    values = value_head.mean(imagined.outputs).float()  # (B, N + 1)
    discounts = config.discount * (1 - imagined.ends.float())
    returns = lambda_returns(imagined.rewards, discounts, values.detach(), config.lam)
    advantage = returns - values[:, :-1].detach()
    if scale is not None:
        advantage = advantage / scale.update(gather(returns[alive > 0]))
    if config.normalise:
        counted = gather(advantage[alive > 0])
        spread = counted.std() if len(counted) > 1 else 0.0  # one number has none
        advantage = (advantage - counted.mean()) / (spread + 1e-3)
    taken = imagined.policies.log_prob(imagined.actions)
    policy = -(taken * advantage * alive).sum() / count
    errors = value_head.loss(imagined.outputs[:, :-1].float(), returns)
    value = (errors * alive).sum() / count
    entropy = (imagined.policies.entropy() * alive).sum() / count
    total = policy + config.value_weight * value - config.entropy * entropy
    imagined_return = imagined.returns.mean()
    return ActorCriticLoss(total, policy, value, entropy, imagined_return, alive.mean())
