"""What the checkers of world models compare: states, observations and steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.errors import require
from atari_vlm.trees import leaves, map_leaves
from atari_vlm.world_models.base import ModelStep


def content(state: Any) -> list[Any]:
    """Every leaf of a state as something that can be compared."""
    leaves: list[Any] = []

    def add(leaf: Any) -> Any:
        array = leaf if isinstance(leaf, np.ndarray) else leaf.detach().cpu().float().numpy()
        leaves.append(
            [id(item) for item in array.ravel()] if array.dtype == object else array.tobytes()
        )
        return leaf

    map_leaves(add, state)
    return leaves


def same(one: Any, other: Any) -> bool:
    """Whether two trees are equal to the bit."""
    return all(map(np.array_equal, leaves(one), leaves(other)))


def alike(one: Any, other: Any) -> bool:
    """Whether two trees of observations are equal but for rounding, as another batch size may round:
    pictures by 1, floats in the fourth digit, all else not at all.
    """
    return all(map(_leaves_alike, leaves(one), leaves(other)))


def _leaves_alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype == np.uint8:
        return bool((np.abs(one.astype(int) - other) <= 1).all())
    if one.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=1e-3, atol=1e-4))
    return bool(np.array_equal(one, other))


def check_step(step: Any, shape: tuple[int, ...]) -> None:
    """A step ``(B,)`` or a rollout ``(B, H)``: types, shapes, finite rewards."""
    name = "step" if len(shape) == 1 else "rollout"
    require(isinstance(step, ModelStep), f"{name}() returns a ModelStep, not {type(step).__name__}")
    for name, dtype in (("reward", np.float32), ("terminated", np.bool_)):
        value = getattr(step, name)
        fits = isinstance(value, np.ndarray) and value.shape == shape and value.dtype == dtype
        require(fits, f"{name} is an array of {np.dtype(dtype)} {shape}")
    require(bool(np.isfinite(step.reward).all()), "rewards are finite")


def go_on_alike(model: Any, one: Any, other: Any, action: np.ndarray, seed: int) -> bool:
    """Whether two states show the same and go on alike, but for rounding."""
    steps = [model.step(state, action, rng=np.random.default_rng(seed)) for state in (one, other)]
    rewards = [step.reward for step in steps]
    going = np.allclose(rewards[0], rewards[1], rtol=1e-3, atol=1e-4)
    going = going and np.array_equal(steps[0].terminated, steps[1].terminated)
    for first, second in ((one, other), (steps[0].state, steps[1].state)):
        going = going and alike(model.decode(first), model.decode(second))
    return bool(going)
