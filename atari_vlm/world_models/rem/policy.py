"""The trained actor-critic as a player: it sees the tokenizer's code map and observes what was executed."""

from __future__ import annotations

from collections.abc import Mapping

import gymnasium
import numpy as np
import torch
from torch import Tensor

from atari_vlm.experience.replay import Column
from atari_vlm.world_models.rem.actor_critic import ActorCritic, Memory
from atari_vlm.world_models.rem.tokenizer import Tokenizer


@torch.no_grad()
def picture(tokenizer: Tokenizer, view: str, tokens: Tensor) -> Tensor:
    """What an actor sees of tokens ``(B, K)``: the code map, or the decoded frame as floats."""
    codes = tokenizer.code_map(tokens)
    return codes if view == "latent" else tokenizer.decoder(codes).clamp(-1, 1)


@torch.no_grad()
def burned_in(
    actor: ActorCritic, tokenizer: Tokenizer, tokens: Tensor, actions: Tensor, mask: Tensor
) -> Memory:
    """The memory after T steps: tokens ``(B, T, K)``, executed actions ``(B, T)``; steps with mask
    False leave no trace.
    """
    memory = actor.begin(len(tokens))
    for t in range(tokens.shape[1]):
        features = picture(tokenizer, actor.config.view, tokens[:, t])
        _, _, after = actor.observe(features, memory)
        after = actor.executed(actions[:, t], after)
        real = mask[:, t, None]
        memory = torch.where(real, after[0], memory[0]), torch.where(real, after[1], memory[1])
    return memory


class RemPolicy:
    """A :class:`~atari_vlm.world_models.learned.learner.Policy` whose state is the LSTM's memory."""

    def __init__(
        self, tokenizer: Tokenizer, actor: ActorCritic, device: str = "cpu", first_action: int = 0
    ):
        self.tokenizer, self.actor, self.device = tokenizer, actor, device
        px, num_actions = tokenizer.config.frame_px, actor.policy_head.out_features
        self.inputs = {"image": Column((px, px, 3), "uint8")}
        self.action_space = gymnasium.spaces.Discrete(num_actions, start=first_action)
        self._first = first_action

    def begin(self, rows: int) -> Memory:
        """See the protocol."""
        return self.actor.begin(rows)

    @torch.no_grad()
    def act(
        self,
        observations: Mapping[str, np.ndarray],
        state: Memory,
        *,
        generator: torch.Generator | None,
        temperature: float = 1.0,
    ) -> tuple[np.ndarray, Memory]:
        """Actions int64 ``(B,)`` for frames uint8 ``(B, H, W, 3)``; see the protocol."""
        frames = torch.from_numpy(np.ascontiguousarray(observations["image"])).to(self.device)
        features = picture(self.tokenizer, self.actor.config.view, self.tokenizer.encode(frames))
        policy, _, state = self.actor.observe(features, state)
        actions: np.ndarray = policy.sample(generator, temperature).cpu().numpy()
        return actions + self._first, state

    @torch.no_grad()
    def executed(self, actions: np.ndarray, state: Memory) -> Memory:
        """See the protocol."""
        executed_actions = torch.as_tensor(np.asarray(actions) - self._first, device=self.device)
        return self.actor.executed(executed_actions, state)

    def actor_memory(self, state: Memory) -> Memory:
        """The same."""
        return state
