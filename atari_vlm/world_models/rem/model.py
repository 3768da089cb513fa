"""REM behind the ``WorldModel`` protocol: what planners, dreams and the actor-critic step."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from atari_vlm._lazy import computed_once
from atari_vlm.world_models.base import Forecast
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.learned.arrays import load_weights
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.heads import categorical
from atari_vlm.world_models.learned.model import (
    LatentStep,
    LearnedOptions,
    LearnedWorldModel,
    ModelFacts,
)
from atari_vlm.world_models.rem.actor_critic import ActorCritic
from atari_vlm.world_models.rem.decoding import FrameDecoder
from atari_vlm.world_models.rem.policy import RemPolicy, picture
from atari_vlm.world_models.rem.settings import RemConfig
from atari_vlm.world_models.rem.stepper import Stepper
from atari_vlm.world_models.rem.tokenizer import Tokenizer
from atari_vlm.world_models.rem.world_model import TokenWorldModel

CONTEXT = 2  # real blocks that a dream begins from


@dataclass(frozen=True)
class RemState:
    """``memory`` float ``(B, L, H, D, D)``: the retention state after the last action; ``tokens``
    int64 ``(B, K)``: the present frame.
    """

    memory: Tensor
    tokens: Tensor


class RemWorldModel(LearnedWorldModel[RemState]):
    """A trained tokenizer and token world model.

    Observations are uint8 ``(frame_px, frame_px, 3)``. Steps and frames are made with the weights that
    the networks have when this is made.
    """

    context_length = CONTEXT
    _ends_first = False

    def __init__(
        self,
        config: RemConfig,
        tokenizer: Tokenizer,
        network: TokenWorldModel,
        facts: ModelFacts,
        options: LearnedOptions | None = None,
    ):
        super().__init__(facts, options or LearnedOptions())
        self.config = config
        self.tokenizer = tokenizer.to(self.place.name).eval()
        self.network = network.to(self.place.name).eval()
        self.stepper = Stepper(self.network, self.place.dtype)
        px = config.tokenizer.frame_px
        self.observation_space = gymnasium.spaces.Box(0, 255, (px, px, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(config.num_actions, start=facts.first_action)

    @computed_once
    def decoder(self) -> FrameDecoder:
        """Made when something is first shown."""
        return FrameDecoder(self.tokenizer, self.place.dtype)

    def read(self, inputs: Tensor, actions: Tensor) -> RemState:
        """From frames uint8 ``(B, T, H, W, 3)``."""
        return self.read_tokens(self.tokenizer.encode(inputs), actions)

    def read_tokens(self, tokens: Tensor, actions: Tensor) -> RemState:
        """The state after tokens ``(B, T, K)`` joined by actions ``(B, T - 1)``."""
        memory = self.network.empty_state(len(tokens))
        for t in range(actions.shape[1]):
            memory, _, _ = self.network.read(memory, tokens[:, t], actions[:, t])
        return RemState(memory, tokens[:, -1])

    def imagine(
        self, state: RemState, action: Tensor, *, generator: torch.Generator
    ) -> LatentStep[RemState]:
        """Reward and end of the present block, then all tokens of the next frame at once."""
        step = self.stepper.step(state.memory, state.tokens, action)
        temperature = self.options.temperature
        if self._ends_first:
            ended = categorical(step.end, generator, temperature)
            reward = self.network.reward.sample(step.reward, generator)
        else:
            reward = self.network.reward.sample(step.reward, generator)
            ended = categorical(step.end, generator, temperature)
        tokens = self.network.settle(step.tokens, step.memory, generator, temperature)
        return LatentStep(RemState(step.memory, tokens), reward, ended.bool())

    def for_dreams(self) -> RemWorldModel:
        """The same model, which draws a step's end before its reward: dreams that are measured always
        did, and their numbers stay comparable.
        """
        model = copy.copy(self)
        model._ends_first = True
        return model

    def features(self, state: RemState) -> Tensor:
        """The code map, or the decoded frame as floats, ``(B, C, h, w)``."""
        return picture(self.tokenizer, self.config.actor_critic.view, state.tokens)

    def show(self, state: RemState) -> Tensor:
        """Frames uint8 ``(B, H, W, 3)``."""
        return self.decoder.decode(state.tokens)

    def forecast(self, observations: np.ndarray, actions: np.ndarray) -> Forecast:
        """One step ahead of real frames ``(B, T, H, W, 3)``, all at once; scores are of tokens."""
        with self._running():
            tokens = self.tokenizer.encode(self._tensor(observations))  # (B, T, K)
            predicted = self.network(tokens, self._actions(actions))
            rewards = self.network.reward.mean(predicted.reward).float()
            right = predicted.tokens.argmax(-1) == tokens
            ends = predicted.end.argmax(-1) == 1
        last = torch.cat([tokens[:, :1], tokens[:, :-1]], 1)
        hits, kept = right.cpu().numpy(), (last == tokens).cpu().numpy()
        everywhere = np.ones_like(kept)
        scores = {
            "token_accuracy": (hits, everywhere),
            "copy_token_accuracy": (kept, everywhere),
            "changed_token_accuracy": (hits, ~kept),
        }
        return Forecast(rewards.cpu().numpy(), ends.cpu().numpy(), scores)


def load(checkpoint: Checkpoint, **options: Any) -> RemWorldModel:
    """The world model of a checkpoint, run as :class:`LearnedOptions` say."""
    run_options, config = LearnedOptions.of(options), sizes_of(checkpoint)
    tokenizer, network = Tokenizer(config.tokenizer), TokenWorldModel(config)
    load_weights({"tokenizer": tokenizer, "world_model": network}, checkpoint.tensors)
    return RemWorldModel(config, tokenizer, network, ModelFacts.of(checkpoint), run_options)


def load_policy(checkpoint: Checkpoint, device: str = "cpu") -> RemPolicy:
    """The player of a checkpoint: its tokenizer and actor-critic."""
    config, place = sizes_of(checkpoint), Device(device)
    tokenizer, actor = Tokenizer(config.tokenizer), ActorCritic(config)
    load_weights({"tokenizer": tokenizer, "actor_critic": actor}, checkpoint.tensors)
    first_action = ModelFacts.of(checkpoint).first_action
    networks = tokenizer.to(place.name).eval(), actor.to(place.name).eval()
    return RemPolicy(*networks, place.name, first_action)


def sizes_of(checkpoint: Checkpoint) -> RemConfig:
    """The networks' sizes; ``ConfigError`` where a checkpoint does not say them."""
    return RemConfig.from_dict(checkpoint.config.get("networks"))
