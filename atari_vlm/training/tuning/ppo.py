"""PPO by the turn: a model that scores its legal answers in one pass is an ordinary policy, so nothing is generated.

The loss is that of Schulman et al. 2017 (arXiv 1707.06347, equations 7 and 9) over decisions, with advantages of Schulman et al.
2016 (arXiv 1506.02438, equation 16), and a penalty for leaving the policy that training began with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atari_vlm.errors import ConfigError, check_count, check_positive
from atari_vlm.training.tuning.thoughts import Thought


@dataclass(frozen=True)
class PPOConfig:
    """Constants of an iteration: ``envs`` games play ``steps`` decisions each, which are learned from ``epochs`` times.

    ``discount`` is per decision, ``trace`` is GAE's lambda, ``clip`` bounds the ratio, ``entropy`` and ``kl`` weigh the bonus for
    spread and the penalty for leaving the first policy. In the first ``value_warm_up`` iterations the value head alone learns.
    """

    envs: int = 16
    steps: int = 32
    epochs: int = 2
    minibatch: int = 64
    discount: float = 0.99
    trace: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    kl: float = 0.0
    value_warm_up: int = 0

    def __post_init__(self) -> None:
        check_count(envs=self.envs, steps=self.steps, epochs=self.epochs, minibatch=self.minibatch)
        if self.value_warm_up < 0:
            raise ConfigError(f"value_warm_up is 0 or more, got {self.value_warm_up!r}")
        check_positive(clip=self.clip)
        for name in ("discount", "trace"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is from 0 to 1, got {getattr(self, name)!r}")
        if min(self.entropy, self.kl) < 0:
            raise ConfigError("entropy and kl must not be negative")


@dataclass(frozen=True)
class Turns:
    """What was decided, ``(B,)`` each: the action, its log-probability then, the advantage, and the first policy's
    log-probabilities over the legal answers (a row each); where thoughts were written, these.
    """

    actions: np.ndarray
    log_probs: np.ndarray
    advantages: np.ndarray
    reference: tuple[np.ndarray, ...]
    thoughts: tuple[Thought, ...] = ()

    def part(self, rows: Sequence[int]) -> Turns:
        """Some of them."""
        index = np.asarray(rows)
        reference = tuple(self.reference[n] for n in rows)
        thoughts = tuple(self.thoughts[n] for n in rows) if self.thoughts else ()
        numbers = (self.actions[index], self.log_probs[index], self.advantages[index])
        return Turns(*numbers, reference, thoughts)


def generalised_advantages(
    rewards: np.ndarray, values: np.ndarray, ends: np.ndarray, config: PPOConfig
) -> np.ndarray:
    """Float64 ``(T, N)`` from rewards ``(T, N)``, values ``(T + 1, N)`` and whether a decision was its episode's last ``(T, N)``.

    What follows an end counts nothing; of an episode that was cut, the value of where it was cut is part of the last reward.
    """
    found = np.zeros_like(rewards, dtype=np.float64)
    last = np.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        goes_on = 1.0 - ends[t]
        surprise = rewards[t] + config.discount * goes_on * values[t + 1] - values[t]
        last = surprise + config.discount * config.trace * goes_on * last
        found[t] = last
    return found


def normalised(advantages: np.ndarray) -> np.ndarray:
    """Of mean 0 and standard deviation 1, where they differ."""
    return np.asarray((advantages - advantages.mean()) / (advantages.std() + 1e-8))


def ppo_loss(
    scores: Sequence[Tensor], turns: Turns, config: PPOConfig
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and what it is made of. ``scores`` are log-probabilities of the complete legal answers, a row each.

    The policy is their softmax: answers that are not legal have no part in it. Advantages are taken as they are.
    """
    rows = [torch.log_softmax(row, 0) for row in scores]
    chosen = torch.stack([row[int(a)] for row, a in zip(rows, turns.actions, strict=True)])
    advantages = torch.from_numpy(turns.advantages).to(chosen)
    ratio = (chosen - torch.from_numpy(turns.log_probs).to(chosen)).exp()
    clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
    policy = -torch.minimum(ratio * advantages, clipped * advantages).mean()
    entropy = torch.stack([-(row.exp() * row).sum() for row in rows]).mean()
    first = [torch.from_numpy(row).to(chosen) for row in turns.reference]
    apart = [(row.exp() * (row - old)).sum() for row, old in zip(rows, first, strict=True)]
    kl = torch.stack(apart).mean()
    loss = policy - config.entropy * entropy + config.kl * kl
    with torch.no_grad():
        cut = ((ratio - 1).abs() > config.clip).double().mean()
    parts = {"policy": policy, "entropy": entropy, "kl": kl, "clipped": cut}
    return loss, {name: float(part.detach()) for name, part in parts.items()}


def thought_loss(
    words: Sequence[Tensor], thoughts: Sequence[Thought], advantages: np.ndarray, config: PPOConfig
) -> tuple[Tensor, dict[str, float]]:
    """The loss of the thoughts of a batch, and what it is made of: the clipped objective, token by token.

    ``words`` are log-probabilities of their tokens now, ``(K,)`` each, and ``advantages`` ``(B,)`` those of their turns, since a
    thought is part of its turn's decision. A thought is the mean of its tokens, and the loss the mean of the thoughts: a long
    one weighs as much as a short one. The distance from the first policy is estimated by the tokens that were written
    (Schulman 2020, "Approximating KL divergence", k3; Shao et al. 2024, arXiv 2402.03300, equation 4): for an exact one whole
    distributions over a large vocabulary would have to be kept.
    """
    losses, apart, cut = [], [], []
    for row, thought, advantage in zip(words, thoughts, advantages, strict=True):
        ratio = (row - torch.from_numpy(thought.log_probs).to(row)).exp()
        clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
        losses.append(-torch.minimum(ratio * float(advantage), clipped * float(advantage)).mean())
        gap = torch.from_numpy(thought.reference).to(row) - row
        apart.append((gap.exp() - gap - 1).mean())
        cut.append(((ratio - 1).abs() > config.clip).double().mean())
    policy, kl = torch.stack(losses).mean(), torch.stack(apart).mean()
    parts = {"policy": policy, "kl": kl, "clipped": torch.stack(cut).mean()}
    named = {f"thought_{name}": float(part.detach()) for name, part in parts.items()}
    return policy + config.kl * kl, named
