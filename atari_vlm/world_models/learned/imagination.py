"""Playing inside a world model: one loop for learning, for dreams to look at and to be measured.

Gradients go through the actor alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atari_vlm.errors import check_positive, check_temperature
from atari_vlm.trees import map_leaves
from atari_vlm.world_models.learned.learner import ActionDistribution, Actor, Policy
from atari_vlm.world_models.learned.model import LearnedWorldModel


@dataclass(frozen=True)
class Imagination:
    """B rollouts of N steps.

    ``policies`` are the actor's distributions ``(B, N)``, ``actions`` ``(B, N)`` or ``(B, N, A)``,
    ``outputs`` those of its value head ``(B, N + 1, .)``; ``rewards`` float32 and ``ends`` bool
    ``(B, N)``. What follows a row's end is no part of it.
    """

    policies: ActionDistribution
    actions: Tensor
    outputs: Tensor
    rewards: Tensor
    ends: Tensor

    @property
    def alive(self) -> Tensor:
        """1 for steps before or at the imagined end, 0 after it, float ``(B, N)``."""
        over = self.ends.float().cumsum(1) - self.ends.float()
        return (over == 0).float()

    @property
    def lengths(self) -> Tensor:
        """Steps of each rollout, its end included, int64 ``(B,)``."""
        return self.alive.sum(1).long()

    @property
    def returns(self) -> Tensor:
        """The undiscounted return of each rollout, ``(B,)``."""
        return (self.rewards * self.alive).sum(1)


def imagine(
    model: LearnedWorldModel[Any],
    start: Any,
    actor: Actor[Any],
    memory: Any,
    *,
    steps: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    until_over: bool = False,
    watch: Callable[[Any], None] = lambda state: None,
) -> Imagination:
    """Play ``steps`` steps from the states ``start``, actions drawn at ``temperature``.

    A last observation only values what was reached. ``until_over`` stops as soon as every row has ended;
    ``watch`` is shown every state, ``start`` included.
    """
    check_positive(steps=steps)
    state, over = start, None
    policies: list[ActionDistribution] = []
    outputs: list[Tensor] = []
    steps_made: list[tuple[Tensor, Tensor, Tensor]] = []  # actions, rewards, ends
    while True:
        watch(state)
        with torch.no_grad():
            features = model.features(state)
        policy, output, memory = actor.observe(features, memory)
        outputs.append(output)
        if len(steps_made) == steps or (until_over and over is not None and bool(over.all())):
            break
        action = policy.sample(generator, temperature)
        memory = actor.executed(action, memory)
        with torch.no_grad():
            step = model.imagine(state, action, generator=generator)
        state = step.state
        over = step.terminated if over is None else over | step.terminated
        policies.append(policy)
        steps_made.append((action, step.reward.float(), step.terminated))
    actions, rewards, ends = (torch.stack(leaves, 1) for leaves in zip(*steps_made, strict=True))
    policy = map_leaves(lambda *leaves: torch.stack(leaves, 1), *policies)
    return Imagination(policy, actions, torch.stack(outputs, 1), rewards, ends)


@dataclass(frozen=True)
class Contexts:
    """Where dreams begin: the T last observations ``(B, T, ...)`` of B rows, padded on the left.

    ``actions`` ``(B, T)`` were played on them, the last one not yet; ``mask`` bool ``(B, T)``.
    """

    inputs: dict[str, np.ndarray]
    actions: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class DreamConfig:
    """At most ``steps`` steps; actions drawn at ``temperature``, the world at ``world_temperature``
    (0: the likeliest).
    """

    steps: int = 100
    temperature: float = 0.5
    world_temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        check_temperature(temperature=self.temperature, world_temperature=self.world_temperature)


@torch.no_grad()
def state_before_last(policy: Policy[Any], contexts: Contexts) -> Any:
    """The policy's state after all steps but the last; steps with mask False leave no trace."""
    state = policy.begin(len(contexts.actions))
    for t in range(contexts.actions.shape[1] - 1):
        observed = {name: values[:, t] for name, values in contexts.inputs.items()}
        _, after = policy.act(observed, state, generator=None, temperature=0.0)
        after = policy.executed(contexts.actions[:, t], after)
        mask = torch.from_numpy(np.ascontiguousarray(contexts.mask[:, t]))

        def selected(new: Tensor, old: Tensor, mask: Tensor = mask) -> Tensor:
            return torch.where(mask.to(new.device).view(-1, *[1] * (new.dim() - 1)), new, old)

        state = map_leaves(selected, after, state)
    return state


@torch.no_grad()
def dream(
    policy: Policy[Any],
    model: LearnedWorldModel[Any],
    contexts: Contexts,
    config: DreamConfig,
    generator: torch.Generator,
    watch: Callable[[Any], None] = lambda state: None,
) -> Imagination:
    """The player in its own dream, to be looked at or measured; nothing is learned from it.

    The last ``context_length`` steps of every row are real.
    """
    length = model.context_length
    shown = {name: values[:, -length:] for name, values in contexts.inputs.items()}
    inputs = shown if len(shown) > 1 else next(iter(shown.values()))
    actions = contexts.actions[:, -length:-1]
    start = model.init(inputs, actions, rng=np.random.default_rng(0))
    return imagine(
        model.for_dreams(),
        start,
        policy.actor,
        policy.actor_memory(state_before_last(policy, contexts)),
        steps=config.steps,
        generator=generator,
        temperature=config.temperature,
        until_over=True,
        watch=watch,
    )
