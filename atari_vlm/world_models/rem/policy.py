"""The trained actor-critic as a player: what it sees is the tokenizer's code map, what it is told is the executed action."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import numpy as np
import torch
from torch import Tensor

from atari_vlm.experience.replay import Column
from atari_vlm.world_models.learned.heads import categorical
from atari_vlm.world_models.rem.actor_critic import ActorCritic, Memory
from atari_vlm.world_models.rem.tokenizer import Tokenizer


def picture(actor: ActorCritic, tokenizer: Tokenizer, tokens: Tensor) -> Tensor:
    """What the actor looks at for tokens ``(B, K)``: the code map, or the decoded frame as floats; no gradient."""
    with torch.no_grad():
        codes = tokenizer.code_map(tokens)
        return codes if actor.config.view == "latent" else tokenizer.decoder(codes).clamp(-1, 1)


@torch.no_grad()
def remember(
    actor: ActorCritic,
    tokenizer: Tokenizer,
    tokens: Tensor,
    actions: Tensor,
    mask: Tensor,
    memory: Memory | None = None,
) -> Memory:
    """The memory after T steps: tokens ``(B, T, K)``, executed actions ``(B, T)``; steps with mask False leave no trace."""
    memory = actor.empty_memory(len(tokens)) if memory is None else memory
    for t in range(tokens.shape[1]):
        _, _, after = actor.look(picture(actor, tokenizer, tokens[:, t]), memory)
        after = actor.told(actions[:, t], after)
        seen = mask[:, t, None]
        memory = (torch.where(seen, after[0], memory[0]), torch.where(seen, after[1], memory[1]))
    return memory


class RemPolicy:
    """Plays B games at once. What it saw and what was done is in the state, the actor's memory; nothing is kept here."""

    def __init__(self, tokenizer: Tokenizer, actor: ActorCritic, device: str = "cpu"):
        self.tokenizer, self.actor, self.device = tokenizer, actor, device
        px = tokenizer.config.frame_px
        self.inputs: Mapping[str, Column] = {"image": Column((px, px, 3), "uint8")}
        self.action_space = gymnasium.spaces.Discrete(actor.policy_head.out_features)

    def begin(self, rows: int) -> Memory:
        """The state at the beginning of ``rows`` episodes."""
        return self.actor.empty_memory(rows)

    @torch.no_grad()
    def act(
        self,
        observations: Mapping[str, np.ndarray],
        state: Memory,
        *,
        generator: torch.Generator | None,
        temperature: float = 1.0,
    ) -> tuple[np.ndarray, Memory]:
        """Actions int64 ``(B,)`` for ``image`` uint8 ``(B, H, W, 3)``, the likeliest at temperature 0; the next state."""
        images = torch.from_numpy(np.ascontiguousarray(observations["image"]))
        tokens = self.tokenizer.encode(images.to(self.device))
        logits, _, state = self.actor.look(picture(self.actor, self.tokenizer, tokens), state)
        actions: np.ndarray = categorical(logits, generator, temperature).cpu().numpy()
        return actions, state

    @torch.no_grad()
    def executed(self, actions: np.ndarray, state: Memory) -> Memory:
        """The state after the actions int64 ``(B,)`` were played, whoever chose them."""
        return self.actor.told(torch.as_tensor(actions, device=self.device), state)

    def actor_memory(self, state: Memory) -> Memory:
        """The memory with which the actor goes on from here in a dream: the state itself."""
        return state
