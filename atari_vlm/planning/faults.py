"""Models whose program may raise: what is behind an error is worth minus infinity, and the rows beside it go on."""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.errors import SandboxProgramError
from atari_vlm.trees import concat_rows, take_rows
from atari_vlm.world_models.base import ModelStep, WorldModel


def step_rows(
    world_model: WorldModel[Any], state: Any, actions: np.ndarray, *, rng: np.random.Generator
) -> ModelStep[Any]:
    """``world_model.step``; rows whose program raises stay where they are, with a reward that is no number."""
    return _advance(world_model.step, state, actions, rng, ())


def rollout_rows(
    world_model: Any, state: Any, plans: np.ndarray, *, rng: np.random.Generator
) -> ModelStep[Any]:
    """``world_model.rollout``, likewise: nothing is left of a plan on whose way the program raises."""
    return _advance(world_model.rollout, state, plans, rng, (plans.shape[1],))


def _advance(
    method: Any, state: Any, actions: np.ndarray, rng: np.random.Generator, steps: tuple[int, ...]
) -> ModelStep[Any]:
    """Halve the rows until those that raise are alone."""
    try:
        advanced: ModelStep[Any] = method(state, actions, rng=rng)
        return advanced
    except SandboxProgramError:
        if len(actions) == 1:
            shape = (1, *steps)
            return ModelStep(state, np.full(shape, np.nan, np.float32), np.ones(shape, np.bool_))
    halves = []
    for rows in np.array_split(np.arange(len(actions)), 2):
        halves.append(_advance(method, take_rows(state, rows), actions[rows], rng, steps))
    return ModelStep(
        concat_rows([half.state for half in halves]),
        np.concatenate([half.reward for half in halves]),
        np.concatenate([half.terminated for half in halves]),
    )
