"""Imagination: the actor-critic plays inside the world model from moments of the replay, gradients through the actor only."""

from __future__ import annotations

import torch
from torch import Tensor

from atari_vlm.world_models.learned.actor_critic import Imagined
from atari_vlm.world_models.learned.heads import categorical
from atari_vlm.world_models.rem.networks import CONTEXT, Moments, Networks
from atari_vlm.world_models.rem.policy import picture, remember
from atari_vlm.world_models.rem.stepper import Stepper


def imagine(
    networks: Networks,
    moments: Moments,
    decisions: int,
    generator: torch.Generator,
    stepper: Stepper | None = None,
    *,
    temperature: float = 1.0,
) -> Imagined:
    """Roll out ``decisions - 1`` steps; the last decision only values what was reached. ``stepper`` steps the world model (made
    for its present weights unless given); ``temperature`` is that of its frames and ends, 0 takes the likeliest.

    The actor's memory is burned in on all steps before the moment, each with its executed action, as in real play.
    """
    world, actor = networks.world_model, networks.actor
    tokens, actions = moments.tokens, moments.actions
    memory = remember(actor, networks.tokenizer, tokens[:, :-1], actions[:, :-1], moments.mask[:, :-1])
    with torch.no_grad():
        state = world.empty_state(len(tokens))
        for t in range(-CONTEXT, -1):
            state, _, _ = world.read(state, tokens[:, t], actions[:, t])
    stepper = stepper or Stepper(world, _product_dtype(tokens.device.type))
    frame, kept = tokens[:, -1], _Kept()
    for step in range(decisions):
        logits, output, memory = actor.look(picture(actor, networks.tokenizer, frame), memory)
        kept.outputs.append(output)
        if step == decisions - 1:
            break
        action = categorical(logits.detach(), generator)
        memory = actor.told(action, memory)
        with torch.no_grad():
            imagined = stepper.step(state, frame, action)
            state = imagined.memory
            kept.rewards.append(world.reward.sample(imagined.reward, generator).float())
            kept.ends.append(categorical(imagined.end, generator, temperature).bool())
            frame = world.settle(imagined.tokens, state, generator, temperature)
        kept.logits.append(logits)
        kept.actions.append(action)
    return kept.stacked()


def _product_dtype(device: str) -> torch.dtype:
    """Of autocast where that is on."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


class _Kept:
    """Lists of what a rollout leaves, one entry a step."""

    def __init__(self) -> None:
        self.logits: list[Tensor] = []
        self.actions: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.rewards: list[Tensor] = []
        self.ends: list[Tensor] = []

    def stacked(self) -> Imagined:
        leaves = (self.logits, self.actions, self.outputs, self.rewards, self.ends)
        return Imagined(*(torch.stack(leaf, 1) for leaf in leaves))
