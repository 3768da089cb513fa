"""REM's three networks together, and where imagined rollouts begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atari_vlm.experience.episodes import RemEpisode
from atari_vlm.world_models.rem.actor_critic import ActorCritic
from atari_vlm.world_models.rem.tokenizer import Tokenizer
from atari_vlm.world_models.rem.world_model import TokenWorldModel

_AT_ONCE = 256  # frames encoded at once
CONTEXT = 2  # real blocks a rollout begins from


@dataclass(frozen=True)
class Networks:
    """REM's three networks."""

    tokenizer: Tokenizer
    world_model: TokenWorldModel
    actor: ActorCritic

    def named(self) -> dict[str, torch.nn.Module]:
        """By the names of checkpoints."""
        return {"tokenizer": self.tokenizer, "world_model": self.world_model, "actor_critic": self.actor}


@dataclass(frozen=True)
class Moments:
    """Where rollouts begin: T steps that end at the moment, padded on the left. The last action is not used.

    ``tokens`` int64 ``(B, T, K)``, ``actions`` int64 and ``mask`` bool ``(B, T)``; the last two steps are always real.
    """

    tokens: Tensor
    actions: Tensor
    mask: Tensor


@torch.no_grad()
def moments_at(networks: Networks, frames: np.ndarray, actions: np.ndarray, mask: np.ndarray) -> Moments:
    """Where dreams begin, from frames uint8 ``(B, T, H, W, 3)``, actions and mask ``(B, T)``; see :class:`Moments`."""
    networks.world_model.use_codes(networks.tokenizer.codes.weight)
    device = networks.tokenizer.codes.weight.device
    flat = torch.from_numpy(np.ascontiguousarray(frames.reshape(-1, *frames.shape[2:])))
    tokens = torch.cat([networks.tokenizer.encode(some.to(device)) for some in flat.split(_AT_ONCE)])
    told, real = (torch.from_numpy(np.ascontiguousarray(values)).to(device) for values in (actions, mask))
    return Moments(tokens.view(*frames.shape[:2], -1), told, real)


def beginnings(networks: Networks, episodes: list[RemEpisode]) -> Moments:
    """The second picture of each game, after the action that was really played on the first; games of two steps at least."""
    frames = np.stack([episode.pictures[:CONTEXT] for episode in episodes])
    actions = np.stack([episode.actions[:CONTEXT] for episode in episodes])
    return moments_at(networks, frames, actions, np.ones(actions.shape, np.bool_))
