"""What trained world models share: numpy outside, tensors inside, over four methods of the family.

:class:`LearnedWorldModel` is a :class:`~atari_vlm.world_models.base.WorldModel`: it moves arrays to
the device and back, checks actions, seeds a torch generator from ``rng`` and sets the precision. A
family writes ``read``, ``imagine``, ``features`` and ``show``, on tensors, rows first.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from atari_vlm.actions import as_actions
from atari_vlm.errors import check_temperature
from atari_vlm.settings import with_changes
from atari_vlm.trees import map_leaves
from atari_vlm.world_models.base import ModelStep, StartFrames
from atari_vlm.world_models.checkpoint import Checkpoint
from atari_vlm.world_models.learned.device import Device

S = TypeVar("S")


@dataclass(frozen=True)
class LearnedOptions:
    """How a trained model is run: :class:`Device`, and ``temperature`` of its draws, 0 is greedy."""

    device: str = "cpu"
    precision: str = "f32"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(temperature=self.temperature)
        self.place()

    def place(self) -> Device:
        """The device, which is there."""
        return Device(self.device, self.precision)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> LearnedOptions:
        """From the options of ``load_world_model``; unknown names are refused."""
        made: LearnedOptions = with_changes(cls(), dict(options), "the options of a world model")
        return made


@dataclass(frozen=True)
class ModelFacts:
    """The conditions a model was trained under; they travel with its checkpoint. ``first_action`` is the
    ``start`` of its discrete actions, ``shown_shape`` that of the pictures that were brought to its size,
    ``aliases`` lead from the names of inputs to the game's own keys.
    """

    action_names: tuple[str, ...]
    frame_skip: int = 4
    reward_transform: str = "sign"
    start: StartFrames | None = None
    first_action: int = 0
    shown_shape: tuple[int, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> ModelFacts:
        """Those of a checkpoint."""
        config = checkpoint.config
        return cls(
            checkpoint.action_names,
            config["frame_skip"],
            config["reward_transform"],
            checkpoint.start,
            int(config.get("first_action", 0)),
            tuple(config["shown_shape"]) if "shown_shape" in config else None,
            {str(name): str(key) for name, key in dict(config.get("aliases", {})).items()},
        )


@dataclass(frozen=True)
class LatentStep(Generic[S]):
    """One imagined step of B rows: ``reward`` float ``(B,)``, ``terminated`` bool ``(B,)``."""

    state: S
    reward: Tensor
    terminated: Tensor


class LearnedWorldModel(Generic[S]):
    """A :class:`~atari_vlm.world_models.base.WorldModel` over tensor methods.

    Observations are arrays, or mappings of arrays where ``observation_space`` is a ``Dict``. Inside,
    whole actions count from 0, whatever the space's ``start``.
    """

    context_length = 1
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]

    def __init__(self, facts: ModelFacts, options: LearnedOptions):
        self.facts, self.options, self.place = facts, options, options.place()
        self.frame_skip, self.reward_transform = facts.frame_skip, facts.reward_transform
        self.action_names, self.start = facts.action_names, facts.start
        self.shown_shape, self.aliases = facts.shown_shape, facts.aliases

    def read(self, inputs: Any, actions: Tensor) -> S:
        """The state after a context ``(B, T, ...)`` joined by actions ``(B, T - 1)``."""
        raise NotImplementedError

    def imagine(self, state: S, action: Tensor, *, generator: torch.Generator) -> LatentStep[S]:
        """One step of every row, drawn at ``options.temperature``."""
        raise NotImplementedError

    def features(self, state: S) -> Tensor:
        """What an actor sees of a state, ``(B, ...)``."""
        raise NotImplementedError

    def show(self, state: S) -> Any:
        """The observation of every row, ``(B, ...)``, as the observation space has it."""
        raise NotImplementedError

    def at_temperature(self, temperature: float) -> LearnedWorldModel[S]:
        """The same model, with another temperature of its draws."""
        model = copy.copy(self)
        model.options = dataclasses.replace(self.options, temperature=temperature)
        return model

    def for_dreams(self) -> LearnedWorldModel[S]:
        """The model as the dreams step it that a run measures and shows; this one by default."""
        return self

    def init(self, observations: Any, actions: np.ndarray, *, rng: np.random.Generator) -> S:
        """As the protocol has it."""
        with self._running():
            inputs = map_leaves(self._tensor, observations)
            return self.read(inputs, self._actions(actions))

    def step(self, state: S, action: np.ndarray, *, rng: np.random.Generator) -> ModelStep[S]:
        """As the protocol has it; ``ConfigError`` for actions that the model does not have."""
        seed = int(rng.integers(2**62))
        generator = torch.Generator(self.place.name).manual_seed(seed)
        with self._running():
            step = self.imagine(state, self._actions(action), generator=generator)
        reward, ended = step.reward.float().cpu().numpy(), step.terminated.cpu().numpy()
        return ModelStep(step.state, reward, ended)

    def decode(self, state: S) -> Any:
        """As the protocol has it."""
        with self._running():
            return map_leaves(_array, self.show(state))

    def _tensor(self, values: np.ndarray) -> Any:
        """On the device; texts stay what they are."""
        if values.dtype == object:
            return values
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.place.name)

    def _actions(self, actions: np.ndarray) -> Tensor:
        """Actions of the space as the networks take them."""
        space: Any = self.action_space
        given = as_actions(space, actions)
        return self._tensor(given if isinstance(space, Box) else given - space.start)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        with torch.inference_mode(), self.place.autocast():
            yield


def _array(leaf: Tensor | np.ndarray) -> np.ndarray:
    """A leaf in numpy; texts are that already."""
    return leaf if isinstance(leaf, np.ndarray) else leaf.cpu().numpy()
