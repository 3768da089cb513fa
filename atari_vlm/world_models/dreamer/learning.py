"""A Dreamer's losses: of the world model on real sequences, and of the player on imagined and replayed ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from atari_vlm.trees import map_leaves
from atari_vlm.world_models.dreamer.batches import Batch
from atari_vlm.world_models.dreamer.losses import kl_losses
from atari_vlm.world_models.dreamer.networks import Networks
from atari_vlm.world_models.dreamer.rssm import Latent, Observed, Reading
from atari_vlm.world_models.dreamer.settings import Behaviour
from atari_vlm.world_models.learned.actor_critic import ReturnScale, lambda_returns


def world_model_losses(
    networks: Networks, batch: Batch, reading: Reading, free_nats: float
) -> dict[str, Tensor]:
    """Means over a batch: ``reconstruction``, ``reward``, ``goes_on``, ``dynamics``, ``representation``."""
    h, z = reading.h.flatten(0, 1), reading.z.flatten(0, 1)
    flat = {name: values.flatten(0, 1) for name, values in batch.inputs.items()}
    shown = networks.decoder.losses(networks.decoder(h, z), flat)
    if networks.words is not None and networks.words.head is not None and batch.ids is not None:
        shown["language"] = networks.words.loss(h, z, batch.ids.flatten(0, 1))
    features = torch.cat([z, h], -1)
    dynamics, representation = kl_losses(reading.posterior, reading.prior, free_nats)
    goes_on = (~batch.terminal).float().flatten() * networks.config.goes_on
    chance = networks.goes_on(features).squeeze(-1).float()
    nothing = h.new_zeros(())
    return {
        "reconstruction": sum((loss.mean() for loss in shown.values()), nothing),
        "reward": networks.scalar.loss(networks.reward(features), batch.rewards.flatten()).mean(),
        "goes_on": functional.binary_cross_entropy_with_logits(chance, goes_on),
        "dynamics": dynamics.mean(),
        "representation": representation.mean(),
    }


def read(
    networks: Networks, batch: Batch, generator: torch.Generator | None, starts: int
) -> Reading:
    """A batch read by the world model; latents are kept of the last ``starts`` steps."""
    rows, length = batch.reset.shape
    flat = {name: values.flatten(0, 1) for name, values in batch.inputs.items()}
    said = None if batch.ids is None else batch.ids.flatten(0, 1)
    embedding = networks.embed(flat, said).unflatten(0, (rows, length))
    keep = range(length - starts, length)
    observed = Observed(embedding, batch.actions, batch.reset, batch.ids)
    return networks.rssm.read(observed, batch.latent, generator, keep)


@dataclass(frozen=True)
class Dreamed:
    """N rollouts of H steps: features ``(N, H + 1, F)`` and actions ``(N, H)`` or ``(N, H, A)``; rewards ``(N, H)``, and the
    chance to go on at each state, with the discount in it, ``(N, H + 1)``.
    """

    features: Tensor
    actions: Tensor
    rewards: Tensor
    goes_on: Tensor

    @property
    def weights(self) -> Tensor:
        """How likely each state is still of the episode, ``(N, H + 1)``."""
        return self.goes_on.cumprod(1)


@torch.no_grad()
def dreamed(
    networks: Networks, batch: Batch, kept: Latent, steps: int, generator: torch.Generator
) -> Dreamed:
    """Play on from the kept latents ``(B, K, ...)`` of a batch; no gradient comes of it."""
    starts = kept.h.shape[1]
    latent: Latent = map_leaves(lambda leaf: leaf.flatten(0, 1), kept)
    features, actions = [latent.features], []
    for _ in range(steps):
        action = networks.policy(features[-1]).sample(generator, 1.0)
        latent = networks.rssm.imagine(latent, networks.code.encode(action), generator)
        features.append(latent.features)
        actions.append(action)
    seen = torch.stack(features, 1)
    rewards = networks.scalar.mean(networks.reward(seen[:, 1:]))
    chances = networks.goes_on(seen[:, 1:]).squeeze(-1).float().sigmoid()
    real = (~batch.terminal[:, -starts:]).float().flatten() * networks.config.goes_on
    goes_on = torch.cat([real[:, None], chances], 1)
    return Dreamed(seen, torch.stack(actions, 1), rewards, goes_on)


def player_losses(
    networks: Networks,
    dream: Dreamed,
    config: Behaviour,
    scale: ReturnScale,
    gather: Callable[[Tensor], Tensor],
) -> tuple[dict[str, Tensor], Tensor]:
    """Means of ``policy`` (REINFORCE with the value as baseline, and entropy), ``value`` and ``entropy``; and the lambda-returns
    ``(N, H)``.
    """
    weights, outputs = dream.weights[:, :-1], networks.critic(dream.features)
    policies = networks.policy(dream.features[:, :-1])
    values = networks.scalar.mean(outputs).detach()
    returns = lambda_returns(dream.rewards, dream.goes_on[:, 1:], values, config.lam)
    advantages = (returns - values[:, :-1]) / scale.update(gather(returns))
    entropy, taken = policies.entropy(), policies.log_prob(dream.actions)
    policy = -(weights * (taken * advantages + config.entropy * entropy)).mean()
    value = weights * value_loss(
        networks, outputs[:, :-1], dream.features[:, :-1], returns, config.slow_weight
    )
    return {"policy": policy, "value": value.mean(), "entropy": entropy.mean()}, returns


def replayed_value_loss(
    networks: Networks, batch: Batch, reading: Reading, returns: Tensor, config: Behaviour
) -> Tensor:
    """The critic's loss on the last real steps of each sequence, with what was imagined from each as its value.

    Its gradient goes on into the world model. ``returns`` are those imagined from the kept steps, ``(B, K)``.
    """
    starts = returns.shape[1]
    features = torch.cat([reading.z, reading.h], -1)[:, -starts:-1]
    terminal, last = batch.terminal[:, -starts:], batch.last[:, -starts:]
    discounts = (~terminal[:, 1:]).float() * networks.config.goes_on
    lam = config.lam * (~last[:, 1:]).float()
    targets = lambda_returns(batch.rewards[:, -starts:][:, 1:], discounts, returns, lam)
    outputs = networks.critic(features)
    losses = value_loss(networks, outputs, features.detach(), targets, config.slow_weight)
    return ((~last[:, :-1]).float() * losses).mean()


def value_loss(
    networks: Networks, outputs: Tensor, features: Tensor, targets: Tensor, slow_weight: float
) -> Tensor:
    """Of the critic's ``outputs`` for returns, and for what the slow critic says of the same ``features``; per element."""
    loss = networks.scalar.loss(outputs, targets)
    if not slow_weight:
        return loss
    with torch.no_grad():
        slow = networks.scalar.mean(networks.slow_critic(features))
    return loss + slow_weight * networks.scalar.loss(outputs, slow)
