"""Hold what a world model can do besides to its promise: ``value``, ``policy``, ``observe``, ``rollout``, ``step_one``,
``render``, ``imagined_text``.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_action
from atari_vlm.checker_states import alike, check_step, content, go_on_alike
from atari_vlm.errors import NotSupportedError, require
from atari_vlm.space_trees import row_of
from atari_vlm.trees import map_leaves, stacked, take_rows
from atari_vlm.world_models.base import WorldModel, context_space_of


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
        shape = (rows,) if name == "value" else (rows, int(space.n if discrete else space.shape[0]))
        whole = name == "policy" and isinstance(space, gymnasium.spaces.MultiDiscrete)
        kind = "i" if whole else "f"
        fits = isinstance(given, np.ndarray) and given.shape == shape and given.dtype.kind == kind
        numbers = "whole numbers" if whole else "floats"
        require(fits, f"{name}() returns an array of {numbers} {shape}")
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


def check_telling(model: WorldModel[Any], context: tuple[Any, np.ndarray], seed: int) -> None:
    """``render`` and ``imagined_text``, where the model has them: pure, and one of each row."""
    state, rows = model.init(*context, rng=np.random.default_rng(seed)), len(context[1])
    for name in ("render", "imagined_text"):
        tell = getattr(model, name, None)
        if tell is None:
            continue
        before = content(state)
        try:
            told = tell(state)
        except NotSupportedError:  # a model of a kind that can, which cannot
            continue
        require(content(state) == before, f"{name}() does not change the state that it is given")
        if name == "render":
            fits = isinstance(told, np.ndarray) and told.dtype == np.uint8 and told.ndim == 4
            require(
                fits and told.shape[::3] == (rows, 3), f"render() draws uint8 ({rows}, H, W, 3)"
            )
        else:
            fits = isinstance(told, list) and all(isinstance(text, str) for text in told)
            require(fits and len(told) == rows, f"imagined_text() is a list of {rows} strings")
        alone = tell(take_rows(state, [rows - 1]))
        require(bool(np.array_equal(alone[0], told[-1])), f"{name}() of a row is that row's")


def wrong_observe(
    model: Any, context: tuple[Any, np.ndarray], actions: np.ndarray, seed: int
) -> str:
    """What is wrong with ``observe``: it takes in what a dream showed (of a model that reads something
    else: what another context ended with), and the same is given to ``init`` as a context.
    """
    observations, played = context
    rng = np.random.default_rng(seed)
    state = model.init(*context, rng=rng)
    if context_space_of(model) == model.observation_space:
        step = model.step(state, actions[0], rng=np.random.default_rng(seed))
        shown = map_leaves(np.array, model.decode(step.state))
    else:
        shown = map_leaves(lambda leaf: np.roll(leaf[:, -1], 1, axis=0), observations)
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


def wrong_step_one(
    model: Any, context: tuple[Any, np.ndarray], actions: np.ndarray, seed: int
) -> str:
    """What is wrong with ``step_one`` of one row beside ``step`` and ``decode``."""
    state = take_rows(model.init(*context, rng=np.random.default_rng(seed)), [0])
    space, stepped = model.action_space, state
    for action in actions[:, 0]:
        before = content(state)
        one, other = np.random.default_rng(seed), np.random.default_rng(seed)
        following, shown, reward, over = model.step_one(state, as_action(space, action), rng=one)
        require(content(state) == before, "step_one() does not change the state that it is given")
        require(model.observation_space.contains(shown), "step_one() shows an observation")
        step = model.step(stepped, action[None], rng=other)
        wanted = row_of(model.observation_space, model.decode(step.state), 0)
        told = isinstance(reward, float) and isinstance(over, bool)
        require(told, "step_one() returns (state, observation, reward float, terminated bool)")
        same_end = np.isclose(reward, step.reward[0], rtol=1e-3) and over == step.terminated[0]
        if not same_end or not alike(stacked([shown]), stacked([wanted])):
            return "step_one() is step() and decode() of one row"
        state, stepped = following, step.state
    return ""
