"""The trained actor-critic as a player: what it sees is the tokenizer's code map, what it is told is the executed action."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

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
    """Plays B games at once: :meth:`act` on frames, then :meth:`told` what was really done."""

    def __init__(self, tokenizer: Tokenizer, actor: ActorCritic, device: str = "cpu"):
        self.tokenizer, self.actor, self.device = tokenizer, actor, device
        self.reset(1)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of one frame."""
        px = self.tokenizer.config.frame_px
        return px, px, 3

    def reset(self, rows: int = 1) -> None:
        """Begin episodes."""
        self.memory = self.actor.empty_memory(rows)

    @torch.no_grad()
    def act(self, frames: np.ndarray, generator: torch.Generator | None, temperature: float = 1.0) -> np.ndarray:
        """Actions int64 ``(B,)`` for frames uint8 ``(B, H, W, 3)``; the likeliest ones at temperature 0."""
        tokens = self.tokenizer.encode(torch.from_numpy(np.ascontiguousarray(frames)).to(self.device))
        logits, _, self.memory = self.actor.look(picture(self.actor, self.tokenizer, tokens), self.memory)
        actions: np.ndarray = categorical(logits, generator, temperature).cpu().numpy()
        return actions

    @torch.no_grad()
    def told(self, actions: np.ndarray) -> None:
        """Take in the executed actions int64 ``(B,)``."""
        self.memory = self.actor.told(torch.as_tensor(actions, device=self.device), self.memory)
