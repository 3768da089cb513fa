"""What the checkers of world models compare: states, observations and steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.errors import require
from atari_vlm.trees import map_leaves
from atari_vlm.world_models.base import ModelStep

ROUNDING = {"frames": 1.0, "rewards": 1e-4, "ends": 0.0}  # another batch size may round otherwise


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


def flat_rows(observations: Any) -> np.ndarray:
    """Observations ``(B, ...)`` of all entries side by side, float64 ``(B, .)``."""
    parts: list[np.ndarray] = []
    map_leaves(
        lambda leaf: parts.append(leaf.reshape(len(leaf), -1).astype(np.float64)), observations
    )
    return np.concatenate(parts, 1)


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
    alike = np.allclose(rewards[0], rewards[1], rtol=1e-3, atol=1e-4)
    alike = alike and np.array_equal(steps[0].terminated, steps[1].terminated)
    for first, second in ((one, other), (steps[0].state, steps[1].state)):
        shown, wanted = (flat_rows(model.decode(state)) for state in (first, second))
        alike = alike and np.allclose(shown, wanted, atol=ROUNDING["frames"])
    return bool(alike)
