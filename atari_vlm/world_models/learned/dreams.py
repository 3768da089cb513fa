"""The player in its own dream, to be looked at and to be measured; nothing is learned from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.experience.episodes import RemEpisode
from atari_vlm.world_models.learned.heads import categorical
from atari_vlm.world_models.rem.networks import CONTEXT, Moments, Networks
from atari_vlm.world_models.rem.policy import picture, remember

_AT_ONCE = 256  # frames encoded or decoded at once


@dataclass(frozen=True)
class DreamConfig:
    """At most ``steps`` steps; actions drawn at ``temperature``, the world's frames and ends at ``world_temperature`` (0: the
    likeliest).
    """

    steps: int = 100
    temperature: float = 0.5
    world_temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if min(self.temperature, self.world_temperature) < 0:
            raise ConfigError(f"temperatures must not be negative, got {self}")


@dataclass(frozen=True)
class Dreams:
    """B dreams of N steps: ``tokens`` int64 ``(B, N + 1, K)``; ``actions`` int64, ``rewards`` float32, ``ends`` bool ``(B, N)``.

    What follows a row's end is no part of its dream.
    """

    tokens: Tensor
    actions: Tensor
    rewards: Tensor
    ends: Tensor

    @property
    def lengths(self) -> Tensor:
        """Steps of each dream, its end included, int64 ``(B,)``."""
        over = self.ends.int().cumsum(1) - self.ends.int()
        return (over == 0).sum(1)

    @property
    def returns(self) -> Tensor:
        """Undiscounted imagined return of each dream, ``(B,)``."""
        counts = torch.arange(self.rewards.shape[1], device=self.rewards.device) < self.lengths[:, None]
        return (self.rewards * counts).sum(1)


@torch.no_grad()
def dream(networks: Networks, moments: Moments, config: DreamConfig, generator: torch.Generator) -> Dreams:
    """Play on from ``moments``, all at once, until every dream is over or has ``config.steps`` steps."""
    world, actor, tokenizer = networks.world_model, networks.actor, networks.tokenizer
    tokens, actions = moments.tokens, moments.actions
    memory = remember(actor, tokenizer, tokens[:, :-1], actions[:, :-1], moments.mask[:, :-1])
    state = world.empty_state(len(tokens))
    for t in range(-CONTEXT, -1):
        state, _, _ = world.read(state, tokens[:, t], actions[:, t])
    frames = [tokens[:, -1]]
    steps: list[tuple[Tensor, Tensor, Tensor]] = []
    over = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    while len(steps) < config.steps and not over.all():
        logits, _, memory = actor.look(picture(actor, tokenizer, frames[-1]), memory)
        action = categorical(logits, generator, config.temperature)
        memory = actor.told(action, memory)
        state, reward, end = world.read(state, frames[-1], action)
        ended = categorical(end, generator, config.world_temperature).bool()
        steps.append((action, world.reward.sample(reward, generator).float(), ended))
        frames.append(world.draw_frame(state, generator, config.world_temperature))
        over |= ended
    return Dreams(torch.stack(frames, 1), *(torch.stack(leaf, 1) for leaf in zip(*steps, strict=True)))


@torch.no_grad()
def as_episodes(networks: Networks, dreams: Dreams) -> list[RemEpisode]:
    """Dreams as the tokenizer decodes them; one that did not end counts as truncated."""
    found = []
    for row, length in enumerate(dreams.lengths.tolist()):
        seen = dreams.tokens[row, : length + 1].split(_AT_ONCE)
        pictures = torch.cat([networks.tokenizer.decode(some) for some in seen]).cpu().numpy()
        actions, rewards, terminated = (
            leaf[row, :length].cpu().numpy() for leaf in (dreams.actions, dreams.rewards, dreams.ends)
        )
        truncated = np.zeros(length, np.bool_)
        truncated[-1] = not terminated[-1]
        found.append(RemEpisode(pictures, actions, rewards, terminated, truncated, np.zeros(length, np.bool_)))
    return found
