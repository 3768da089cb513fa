"""What a family of learned world models brings; the trainer does the rest.

A family has a *learner*, which improves the networks from a replay; a *policy*, which plays; an *actor*, which is the policy
inside a dream; and a world model. The trainer collects, updates, evaluates, reports and saves, and knows none of them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import gymnasium
import numpy as np
import torch
from torch import Tensor

from atari_vlm.experience.replay import Column, Replay
from atari_vlm.space_json import space_to_json
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.random_streams import Streams
from atari_vlm.world_models.learned.schedule import Schedule
from atari_vlm.world_models.learned.team import Team

Metrics = dict[str, float]
OFFLINE = "offline"
P = TypeVar("P")
M = TypeVar("M")


@dataclass(frozen=True)
class GameFacts:
    """What is known of a game before anything is built.

    ``inputs`` is what it shows, at its own size, by name: ``{"image": uint8 (210, 160, 3)}``,
    ``{"state": float32 (4,)}``. ``game`` is its name or id, :data:`OFFLINE` for recorded steps. ``keys`` are the
    parts of its observations that were asked for (empty: all). ``texts`` are the inputs that are texts, kept as
    their UTF-8 bytes; ``aliases`` lead from a part's own key to its name where the two differ
    (``{"camera": "image"}``); ``observation_space`` is the game's own, where there is a game.
    """

    game: str
    inputs: Mapping[str, Column]
    action_space: gymnasium.Space[Any]
    action_names: tuple[str, ...]
    frame_skip: int = 1
    keys: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    observation_space: gymnasium.Space[Any] | None = None

    @property
    def offline(self) -> bool:
        """Whether there is no game to play."""
        return self.game == OFFLINE

    def as_config(self) -> dict[str, Any]:
        """What a checkpoint says of the game; ``shown_shape`` is that of its pictures before they were brought to size."""
        names = list(self.action_names)
        config: dict[str, Any] = {
            "game": self.game,
            "action_names": names,
            "frame_skip": self.frame_skip,
        }
        if not names:
            config["action_space"] = space_to_json(self.action_space)
        if "image" in self.inputs:
            config["shown_shape"] = list(self.inputs["image"].shape)
        if self.keys:
            config["keys"] = list(self.keys)
        if self.aliases:
            config["aliases"] = {name: key for key, name in self.aliases.items()}
        return config


@dataclass(frozen=True)
class Workplace:
    """What a learner works with. It calls ``open_replay`` once, with the columns that the replay must keep, and with
    ``arrivals=True`` where it learns from what is seen after the last step of an episode.
    """

    open_replay: Callable[..., Replay]
    device: Device
    team: Team
    seed: int


@dataclass(frozen=True)
class Stage:
    """One kind of update, a part of every epoch: ``name`` is the prefix of its metrics."""

    name: str
    schedule: Schedule

    def updates(self, epoch: int, steps: tuple[int, int]) -> int:
        """How many updates are due in ``epoch`` (from 1), which brought the replay from ``steps[0]`` to ``steps[1]`` steps."""
        return self.schedule.due(epoch, steps)


class ActionDistribution(Protocol):
    """What an actor would do, one distribution a row."""

    def sample(self, generator: torch.Generator | None, temperature: float) -> Tensor:
        """Actions int64 ``(B,)`` or float32 ``(B, A)``, no gradient; the likeliest at temperature 0, which draws nothing."""
        ...

    def log_prob(self, actions: Tensor) -> Tensor:
        """Of such actions, float ``(B,)``."""
        ...

    def entropy(self) -> Tensor:
        """Of each row, float ``(B,)``."""
        ...


class Actor(Protocol[M]):
    """Who acts on a world model's features. Its memory is explicit: a tree with the rows on the first axis."""

    def begin(self, rows: int) -> M:
        """The memory before anything was seen."""
        ...

    def observe(self, features: Tensor, memory: M) -> tuple[ActionDistribution, Tensor, M]:
        """What it would do, outputs of its value head ``(B, .)``, and the memory after this observation."""
        ...

    def executed(self, action: Tensor, memory: M) -> M:
        """The memory after ``action`` was executed, whoever took it."""
        ...


class Policy(Protocol[P]):
    """Who plays. Its state is explicit, a tree with the rows on the first axis, and rows are independent.

    ``inputs`` is what it wants to see, by name, batched: ``{"image": uint8 (64, 64, 3)}``. ``actor`` is the same player inside a
    dream.
    """

    @property
    def inputs(self) -> Mapping[str, Column]:
        """What it wants to see."""
        ...

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """What it does."""
        ...

    @property
    def actor(self) -> Actor[Any]:
        """The player inside a dream."""
        ...

    def begin(self, rows: int) -> P:
        """The state at the beginning of ``rows`` episodes."""
        ...

    def act(
        self,
        observations: Mapping[str, np.ndarray],
        state: P,
        *,
        generator: torch.Generator | None,
        temperature: float = 1.0,
    ) -> tuple[np.ndarray, P]:
        """Actions int64 ``(B,)`` or float32 ``(B, A)`` for observations ``(B, ...)``, and the state after seeing them.

        At temperature 0 the likeliest actions, and nothing is drawn.
        """
        ...

    def executed(self, actions: np.ndarray, state: P) -> P:
        """The state after ``actions`` were really played, whoever chose them."""
        ...

    def actor_memory(self, state: P) -> Any:
        """The memory with which :attr:`actor` goes on from here in a dream."""
        ...


class Learner(Protocol):
    """What a family brings to be trained. Everything random comes from ``streams``; every rank of a team has its own."""

    @property
    def kind(self) -> str:
        """The family: what checkpoints are named with."""
        ...

    @property
    def stages(self) -> Sequence[Stage]:
        """The kinds of update, in the order of an epoch."""
        ...

    @property
    def replay(self) -> Replay:
        """What it learns from."""
        ...

    @property
    def streams(self) -> Streams:
        """Its random numbers, and those of the play that it learns from."""
        ...

    def update(self, stage: str) -> Metrics:
        """One update of a stage."""
        ...

    def policy(self) -> Policy[Any]:
        """The player with the present weights."""
        ...

    def world_model(self, temperature: float = 1.0) -> Any:
        """The world model with the present weights, a :class:`~atari_vlm.world_models.learned.model.LearnedWorldModel`."""
        ...

    def dreams(self, epoch: int) -> bool:
        """Whether the world model has begun to learn by the end of ``epoch``."""
        ...

    def held_out(self, replay: Replay, epoch: int) -> Metrics:
        """The losses of training on play that it never learned from; neither weights nor streams notice."""
        ...

    def config(self) -> dict[str, Any]:
        """What a checkpoint needs to rebuild the networks, plain data, with ``reward_transform``."""
        ...

    def weights(self) -> dict[str, np.ndarray]:
        """The published part: what a model and a policy are made from."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, optimisers, streams, caches: everything that goes on from here."""
        ...

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The inverse of :meth:`arrays`: what follows equals what would have followed, to the bit on a CPU."""
        ...

    def warm_start(self, arrays: Mapping[str, np.ndarray], parts: Sequence[str]) -> None:
        """Begin with the named parts of another's :meth:`weights`, all where none is named; ``CheckpointError`` if they do
        not fit.
        """
        ...
