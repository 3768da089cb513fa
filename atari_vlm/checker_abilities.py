"""Hold what a world model can do besides to its promise: ``value``, ``policy``, ``observe``, ``rollout``."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from atari_vlm.checker_states import check_step, content, go_on_alike
from atari_vlm.errors import require
from atari_vlm.trees import map_leaves, take_rows
from atari_vlm.world_models.base import WorldModel


def check_estimates(model: WorldModel[Any], context: tuple[Any, np.ndarray], seed: int) -> None:
    """``value`` and ``policy``, where the model has them: pure, a row each, and what they say they
    are.
    """
    state, rows = model.init(*context, rng=np.random.default_rng(seed)), len(context[1])
    space: Any = model.action_space
    for name in ("value", "policy"):
        estimate = getattr(model, name, None)
        if estimate is None:
            continue
        before = content(state)
        given = estimate(state)
        require(content(state) == before, f"{name}() does not change the state that it is given")
        discrete = isinstance(space, gymnasium.spaces.Discrete)
        shape = (rows,) if name == "value" else (rows, int(space.n) if discrete else space.shape[0])
        fits = isinstance(given, np.ndarray) and given.shape == shape and given.dtype.kind == "f"
        require(fits, f"{name}() returns an array of floats {shape}")
        require(bool(np.isfinite(given).all()), f"{name}() returns numbers")
        alone = estimate(take_rows(state, [rows - 1]))
        require(
            bool(np.allclose(alone[0], given[-1], rtol=1e-3, atol=1e-4)),
            f"{name}() of a row depends on that row only",
        )
        if name == "policy" and discrete:
            sums = bool((given >= 0).all()) and bool(np.allclose(given.sum(1), 1.0, atol=1e-3))
            require(sums, "policy() returns probabilities, which sum to 1")
        elif name == "policy":
            require(
                all(space.contains(row.astype(space.dtype)) for row in given),
                "policy() returns actions of the space",
            )


def wrong_observe(
    model: Any, context: tuple[Any, np.ndarray], actions: np.ndarray, seed: int
) -> str:
    """What is wrong with ``observe``: it takes in what a dream showed, and the same is given to
    ``init`` as a context.
    """
    observations, played = context
    rng = np.random.default_rng(seed)
    state = model.init(*context, rng=rng)
    shown = map_leaves(
        np.array, model.decode(model.step(state, actions[0], rng=np.random.default_rng(seed)).state)
    )
    before = content(state)
    observed = model.observe(state, actions[0].copy(), map_leaves(np.array, shown), rng=rng)
    require(content(state) == before, "observe() does not change the state that it is given")
    longer = (
        map_leaves(lambda past, new: np.concatenate([past, new[:, None]], 1), observations, shown),
        np.concatenate([played, actions[0][:, None]], 1),
    )
    wanted = model.init(*longer, rng=np.random.default_rng(seed))
    return (
        ""
        if go_on_alike(model, observed, wanted, actions[-1], seed)
        else ("observe() gives the state that init() gives for the longer context")
    )


def wrong_rollout(
    model: Any, context: tuple[Any, np.ndarray], actions: np.ndarray, seed: int
) -> str:
    """What is wrong with ``rollout`` of plans ``(B, H)`` beside as many steps."""
    rng, rows, plans = np.random.default_rng(seed), len(context[1]), actions.swapaxes(0, 1)
    state = model.init(*context, rng=rng)
    before, kept = content(state), plans.copy()
    rolled = model.rollout(state, plans, rng=rng)
    require(content(state) == before, "rollout() does not change the state that it is given")
    require(np.array_equal(plans, kept), "rollout() does not change the plans that it is given")
    check_step(rolled, (rows, len(actions)))
    steps = []
    for action in actions:
        steps.append(model.step(state, action, rng=rng))
        state = steps[-1].state
    rewards = np.stack([step.reward for step in steps], 1)
    ends = np.stack([step.terminated for step in steps], 1)
    alike = np.allclose(rolled.reward, rewards, rtol=1e-3, atol=1e-4) and np.array_equal(
        rolled.terminated, ends
    )
    return (
        ""
        if alike and go_on_alike(model, rolled.state, state, actions[-1], seed)
        else "rollout() is equal to stepping"
    )
