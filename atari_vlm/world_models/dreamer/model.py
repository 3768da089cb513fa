"""A trained Dreamer as a :class:`~atari_vlm.world_models.base.WorldModel`, and its player, from a checkpoint or freshly drawn."""

from __future__ import annotations

import functools
import string
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from torch import Tensor

from atari_vlm.experience.columns import Column
from atari_vlm.spaces import text_space
from atari_vlm.trees import map_leaves, texts
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.dreamer.actor import DreamerPolicy, Playing, seen
from atari_vlm.world_models.dreamer.config import DreamerConfig
from atari_vlm.world_models.dreamer.loading import networks_of
from atari_vlm.world_models.dreamer.networks import Networks, seeded_networks
from atari_vlm.world_models.dreamer.rssm import Latent
from atari_vlm.world_models.dreamer.words import Words
from atari_vlm.world_models.inputs import inputs_of, texts_among
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.heads import Categorical
from atari_vlm.world_models.learned.model import (
    LatentStep,
    LearnedOptions,
    LearnedWorldModel,
    ModelFacts,
)


class DreamerWorldModel(LearnedWorldModel[Latent]):
    """Observations are those that the networks read, pictures at ``frame_px``; one alone is a plain array, several are a dict.

    What is read but not shown (no key of a decoder) is decoded as zeros. A context is read with the likeliest z of each
    observation, so that ``observe`` gives the state of ``init`` for the longer context.
    """

    def __init__(
        self, networks: Networks, facts: ModelFacts, options: LearnedOptions, bare: bool = True
    ):
        super().__init__(facts, options)
        self.networks = networks.to(self.place.name).eval()
        spaces: dict[str, gymnasium.Space[Any]] = {
            name: _space(column, is_text=name in networks.keys.texts)
            for name, column in networks.keys.columns.items()
        }
        self.bare = bare and len(spaces) == 1
        self.observation_space = next(iter(spaces.values())) if self.bare else Dict(spaces)
        self.action_space = networks.code.space
        if networks.words is not None:  # what has no language has no such ability
            self.imagined_text = functools.partial(_imagined_text, networks.words)

    def read(self, inputs: Any, actions: Tensor) -> Latent:
        """The state after observations ``(B, T, ...)`` joined by actions ``(B, T - 1)``."""
        named, networks = self._named(inputs), self.networks
        rows, length = next(iter(named.values())).shape[:2]
        action = torch.zeros(rows, networks.code.size, device=self.place.name)
        latent = networks.rssm.begin(rows)
        for t in range(length):
            at = {name: values[:, t] for name, values in named.items()}
            action = networks.code.encode(actions[:, t - 1]) if t else action
            latent = seen(networks, Playing(latent, action), at, None, 0.0)
        return latent

    def imagine(
        self, state: Latent, action: Tensor, *, generator: torch.Generator
    ) -> LatentStep[Latent]:
        """The foretold z, the expected reward, and an end by the chance that the continue head leaves."""
        networks, temperature = self.networks, self.options.temperature
        after = networks.rssm.imagine(state, networks.code.encode(action), generator, temperature)
        reward = networks.scalar.mean(networks.reward(after.features))
        ends = 1 - networks.chance_to_go_on(after)
        if temperature == 0:
            return LatentStep(after, reward, ends > 0.5)
        draw = torch.rand(ends.shape, generator=generator, device=ends.device)
        return LatentStep(after, reward, draw < ends)

    def features(self, state: Latent) -> Tensor:
        """Z and the core's output, ``(B, features)``."""
        return state.features

    def show(self, state: Latent) -> Any:
        """What the decoder makes of the state."""
        decoder = self.networks.decoder
        shown = decoder.observations(decoder(state.h, state.z))
        rows, place, keys = len(state.h), self.place.name, self.networks.keys
        words = self.networks.words
        for name, column in keys.columns.items():
            if name in keys.texts and words is not None:
                said = words.said(state.language)
                shown[name] = texts([_printable(text)[: column.shape[0]] for text in said])
            elif name not in shown:
                dtype = getattr(torch, column.dtype)
                shown[name] = torch.zeros(rows, *column.shape, dtype=dtype, device=place)
        return next(iter(shown.values())) if self.bare else shown

    def observe(
        self, state: Latent, action: np.ndarray, observation: Any, *, rng: np.random.Generator
    ) -> Latent:
        """Take in one real step of every row: an action ``(B,)`` and the observation ``(B, ...)`` that followed."""
        with self._running():
            inputs = self._named(map_leaves(self._tensor, observation))
            code = self.networks.code.encode(self._actions(action))
            return seen(self.networks, Playing(state, code), inputs, None, 0.0)

    def policy(self, state: Latent) -> np.ndarray:
        """The probability of each action, float32 ``(B, n)``, or where they are not one choice the likeliest actions."""
        with self._running():
            does = self.networks.policy(state.features)
            if isinstance(does, Categorical):
                likely: np.ndarray = does.log_probabilities.exp().cpu().numpy()
                return likely
            return self.networks.code.within(does.sample(None, 0.0).cpu().numpy())

    def value(self, state: Latent) -> np.ndarray:
        """What the critic expects from here on, float32 ``(B,)``; discounted by the continue head's 1 - 1 / horizon."""
        with self._running():
            values: np.ndarray = self.networks.value(state.features).float().cpu().numpy()
            return values

    def prior_logits(self, state: Latent, action: np.ndarray) -> np.ndarray:
        """Log-probabilities of the next z before it is drawn, float32 ``(B, groups, classes)``."""
        with self._running():
            code = self.networks.code.encode(self._actions(action))
            h, _ = self.networks.rssm.advance(state, code)
            foretold: np.ndarray = self.networks.rssm.foretold(h).float().cpu().numpy()
            return foretold

    def _named(self, inputs: Any) -> dict[str, Tensor]:
        names = tuple(self.networks.keys.columns)
        return (
            {name: inputs[name] for name in names}
            if isinstance(inputs, dict)
            else {names[0]: inputs}
        )


def _imagined_text(words: Words, state: Latent) -> list[str]:
    """What is said at the present step, a text for each row."""
    return words.said(state.language)


def _printable(text: str) -> str:
    """``text`` as the package's space of texts holds it: other signs as question marks."""
    return "".join(sign if sign in string.printable else "?" for sign in text)


def new_model(
    config: DreamerConfig,
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    *,
    seed: int,
) -> DreamerWorldModel:
    """A model with freshly drawn weights for an environment's spaces; errors as of
    :func:`~atari_vlm.world_models.dreamer.networks.build_networks`.
    """
    inputs = inputs_of(observation_space, "the observation space", own_keys=True)
    columns = {name: part.column for name, part in inputs.items()}
    networks = seeded_networks(config, columns, action_space, seed, texts_among(inputs))
    names = tuple(map(str, range(getattr(action_space, "n", 0))))
    first = int(getattr(action_space, "start", 0)) if names else 0
    facts = ModelFacts(names, frame_skip=1, reward_transform="none", first_action=first)
    bare = not isinstance(observation_space, Dict)
    return DreamerWorldModel(networks, facts, LearnedOptions(), bare)


def load(checkpoint: Checkpoint, **options: Any) -> DreamerWorldModel:
    """The world model of a checkpoint, run as :class:`~atari_vlm.world_models.learned.model.LearnedOptions` say."""
    return DreamerWorldModel(
        networks_of(checkpoint), ModelFacts.of(checkpoint), LearnedOptions.of(options)
    )


def load_policy(checkpoint: Checkpoint, device: str = "cpu") -> DreamerPolicy:
    """The player of a checkpoint."""
    place = Device(device)
    return DreamerPolicy(networks_of(checkpoint).to(place.name).eval(), place.name)


def _space(column: Column, *, is_text: bool) -> gymnasium.Space[Any]:
    if is_text:
        return text_space(column.shape[0])
    kind = np.dtype(column.dtype)
    if column.dtype == "uint8":
        return Box(0, 255, column.shape, np.uint8)
    low, high = (-np.inf, np.inf) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    return Box(low, high, column.shape, kind.type)
