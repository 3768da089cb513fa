"""The actor inside a dream and the player in the game: both see the latent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from atari_vlm.experience.columns import Column
from atari_vlm.world_models.dreamer.networks import Networks
from atari_vlm.world_models.dreamer.rssm import Latent
from atari_vlm.world_models.learned.learner import ActionDistribution


class DreamerActor:
    """An :class:`~atari_vlm.world_models.learned.learner.Actor` that remembers nothing: the latent does."""

    def __init__(self, networks: Networks):
        self.networks = networks

    def begin(self, rows: int) -> Tensor:
        """No memory, ``(B, 1)``."""
        return torch.zeros(rows, 1)

    def observe(
        self, features: Tensor, memory: Tensor
    ) -> tuple[ActionDistribution, Tensor, Tensor]:
        """What it does with features ``(B, features)``, the critic's outputs, and the same memory."""
        return self.networks.policy(features), self.networks.critic(features), memory

    def executed(self, action: Tensor, memory: Tensor) -> Tensor:
        """The same memory."""
        return memory


@dataclass(frozen=True)
class Playing:
    """A player's state: the latent before the present observation, and the code ``(B, A)`` of what was executed since."""

    latent: Latent
    action: Tensor


class DreamerPolicy:
    """A :class:`~atari_vlm.world_models.learned.learner.Policy`: it reads every observation into the latent."""

    def __init__(self, networks: Networks, device: str = "cpu"):
        self.networks, self.device, self.actor = networks, device, DreamerActor(networks)
        self.inputs: Mapping[str, Column] = networks.keys.columns
        self.action_space: gymnasium.Space[Any] = networks.code.space

    @torch.no_grad()
    def begin(self, rows: int) -> Playing:
        """See the protocol."""
        latent = self.networks.rssm.begin(rows)
        return Playing(latent, torch.zeros(rows, self.networks.code.size, device=self.device))

    @torch.no_grad()
    def act(
        self,
        observations: Mapping[str, np.ndarray],
        state: Playing,
        *,
        generator: torch.Generator | None,
        temperature: float = 1.0,
    ) -> tuple[np.ndarray, Playing]:
        """See the protocol; z is drawn too, unless at temperature 0."""
        inputs = {
            name: torch.from_numpy(np.ascontiguousarray(observations[name])).to(self.device)
            for name in self.inputs
        }
        latent = seen(self.networks, state, inputs, generator, min(temperature, 1.0))
        actions = self.networks.policy(latent.features).sample(generator, temperature)
        return self.networks.code.within(actions.cpu().numpy()), Playing(latent, state.action)

    @torch.no_grad()
    def executed(self, actions: np.ndarray, state: Playing) -> Playing:
        """See the protocol."""
        counted = torch.from_numpy(self.networks.code.from_zero(np.asarray(actions))).to(
            self.device
        )
        return replace(state, action=self.networks.code.encode(counted))

    def actor_memory(self, state: Playing) -> Tensor:
        """None."""
        return self.actor.begin(len(state.action))


def seen(
    networks: Networks,
    state: Playing,
    inputs: Mapping[str, Tensor],
    generator: torch.Generator | None,
    temperature: float,
) -> Latent:
    """The latent after what was executed, and after seeing observations ``(B, ...)``."""
    h, core = networks.rssm.advance(state.latent, state.action)
    words, language = networks.words, state.latent.language
    language = language if words is None else words.hear(inputs, language)
    likely = networks.rssm.seen(h, networks.embed(inputs, language.get("ids")))
    return Latent(core, h, networks.rssm.draw(likely, generator, temperature), language)
