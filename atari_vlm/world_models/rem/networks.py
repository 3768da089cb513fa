"""REM's three networks together, and the states that imagined rollouts begin from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atari_vlm.world_models.rem.actor_critic import ActorCritic
from atari_vlm.world_models.rem.settings import RemConfig
from atari_vlm.world_models.rem.tokenizer import Tokenizer
from atari_vlm.world_models.rem.world_model import TokenWorldModel


@dataclass(frozen=True)
class Networks:
    """REM's three networks."""

    tokenizer: Tokenizer
    world_model: TokenWorldModel
    actor: ActorCritic

    @classmethod
    def of(cls, config: RemConfig, seed: int) -> Networks:
        """Freshly drawn; the world model embeds observations with the tokenizer's codes."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = cls(Tokenizer(config.tokenizer), TokenWorldModel(config), ActorCritic(config))
        made.share_codes()
        return made

    def named(self) -> dict[str, torch.nn.Module]:
        """By the names of checkpoints."""
        return {
            "tokenizer": self.tokenizer,
            "world_model": self.world_model,
            "actor_critic": self.actor,
        }

    def share_codes(self) -> None:
        """Bring the world model's code vectors up to date with the tokenizer's."""
        self.world_model.use_codes(self.tokenizer.codes.weight)


@dataclass(frozen=True)
class StartStates:
    """Where rollouts begin: T steps that end there, padded on the left. The last action is not used.

    ``tokens`` int64 ``(B, T, K)``, ``actions`` int64 and ``mask`` bool ``(B, T)``; the last two steps
    are always real.
    """

    tokens: Tensor
    actions: Tensor
    mask: Tensor
