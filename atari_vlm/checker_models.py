"""Hold a world model to its protocol; the public name is
:func:`atari_vlm.checker.check_world_model`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_actions, check_action_space, random_actions
from atari_vlm.checker_abilities import (
    check_estimates,
    check_telling,
    wrong_observe,
    wrong_rollout,
    wrong_step_one,
)
from atari_vlm.checker_states import alike, check_step, content, same
from atari_vlm.errors import ConfigError, ContractError, require
from atari_vlm.space_trees import described, fits, row_of
from atari_vlm.trees import leaves, map_leaves, stacked, take_rows
from atari_vlm.world_models.base import StartFrames, WorldModel, context_space_of


def check_world_model(
    model: WorldModel[Any],
    start: StartFrames | None = None,
    *,
    rows: int = 4,
    steps: int = 6,
    seed: int = 0,
) -> None:
    """Check the :class:`~atari_vlm.world_models.base.WorldModel` protocol on ``rows`` rows for
    ``steps`` steps.

    ``start`` is what dreams begin from (default: the model's own start frames). Checked are spaces,
    shapes and types, that a call changes nothing it was given, that equal seeds give equal results,
    and that rows do not see one another: with equal random numbers row ``i`` stays the same when
    the *other* rows are given other contexts and other actions. A subset of the rows in another
    order must give those rows (but for rounding), unless the model draws random numbers, which it
    may hand to other rows then: it draws when one of 16 seeds gives something else. What the model
    can do besides is held to its promise: ``observe`` gives the state that ``init`` gives for the
    longer context, ``rollout`` is stepping and so is ``step_one`` (all compared where the model
    does not draw), ``policy`` gives probabilities or actions, ``value`` numbers, ``render``
    pictures and ``imagined_text`` texts, a row each.
    """
    _check_declaration(model)
    start = _checked_start(model, start)
    row_ids = np.arange(rows) % len(start.actions)
    context = take_rows((start.observations, start.actions), row_ids)
    rng = np.random.default_rng(seed)
    actions = random_actions(model.action_space, (steps, rows), rng)  # (T, B) or (T, B, A)
    first = _dream(model, context, actions, seed)
    for name, one, other in zip(_PARTS, first, _dream(model, context, actions, seed), strict=True):
        require(same(one, other), f"equal seeds give equal {name}")
    _check_rows(model, start, (row_ids, actions), seed, first)

    def draws() -> bool:
        others = (_dream(model, context, actions, seed + k) for k in range(1, 17))
        return any(not same(first, other) for other in others)

    if wrong := _wrong_in_subset(model, context, actions, seed, first):
        require(draws(), f"{wrong} of a subset of rows are the subset of the {wrong}")
    check_estimates(model, context, seed)
    check_telling(model, context, seed)
    for name, check in _ABILITIES.items():
        if hasattr(model, name) and (wrong := check(model, context, actions, seed)):
            require(draws(), wrong)


_PARTS = ("frames", "rewards", "ends")
_ABILITIES = {"observe": wrong_observe, "rollout": wrong_rollout, "step_one": wrong_step_one}


def _check_declaration(model: WorldModel[Any]) -> None:
    """Attributes, before anything is called."""
    require(
        isinstance(model, WorldModel),
        "a world model has spaces, frame_skip, reward_transform, init, step, decode",
    )
    for name in ("observation_space", "action_space"):
        require(isinstance(getattr(model, name), gymnasium.Space), f"{name} is a gymnasium space")
    require(
        isinstance(model.frame_skip, int) and model.frame_skip >= 1,
        "frame_skip is a whole number of at least 1",
    )
    require(model.reward_transform in ("none", "sign"), "reward_transform is 'none' or 'sign'")
    try:
        check_action_space(model.action_space, "the model")
    except ConfigError as error:
        raise ContractError(str(error)) from error
    names, n = getattr(model, "action_names", None), getattr(model.action_space, "n", None)
    require(not names or len(names) == n, f"action_names has one name for each of the {n} actions")


def _checked_start(model: WorldModel[Any], start: StartFrames | None) -> StartFrames:
    """What dreams begin from, its actions as the model takes them."""
    start = start or getattr(model, "start", None)
    require(
        start is not None, "a model without start frames is checked with start=StartFrames(...)"
    )
    assert start is not None
    space = context_space_of(model)
    shown = described(start.observations, 2)
    require(fits(space, start.observations, 2), f"start frames are of {space}, not {shown}")
    try:
        actions = as_actions(model.action_space, start.actions, "the actions of start frames")
    except ConfigError as error:
        raise ContractError(str(error)) from error
    return StartFrames(start.observations, actions)


def _dream(
    model: WorldModel[Any], context: tuple[Any, np.ndarray], actions: np.ndarray, seed: int
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Observations ``(T + 1, B, ...)``, rewards ``(T, B)`` and ends ``(T, B)``; everything on the way is
    checked.
    """
    n = len(context[1])
    rng = np.random.default_rng(seed)
    given = content(context)
    state = model.init(*context, rng=rng)
    require(content(context) == given, "init() does not change its context")
    frames, rewards, ends = [_frames(model, state, n)], [], []
    for action in actions:
        before, kept = content(state), action.copy()
        step = model.step(state, action, rng=rng)
        require(content(state) == before, "step() does not change the state that it is given")
        require(np.array_equal(action, kept), "step() does not change the actions that it is given")
        check_step(step, (n,))
        state = step.state
        frames.append(_frames(model, state, n))
        rewards.append(np.array(step.reward))
        ends.append(np.array(step.terminated))
    return stacked(frames), np.stack(rewards), np.stack(ends)


def _frames(model: WorldModel[Any], state: Any, n: int) -> Any:
    """The decoded rows, copied; they must be of the space, and be nobody else's memory."""
    before = content(state)
    frames, space = model.decode(state), model.observation_space
    require(fits(space, frames, 1), f"decode() returns {space} in rows, not {described(frames, 1)}")
    counts = {len(leaf) for leaf in leaves(frames)}
    require(counts == {n}, f"decode() returns {n} rows, not {sorted(counts)}")
    require(
        all(space.contains(row_of(space, frames, row)) for row in range(n)),
        "decoded rows lie in observation_space",
    )
    kept = map_leaves(np.array, frames)
    map_leaves(_overwrite, frames)
    require(
        content(state) == before,
        "decode() changes nothing, and what it returns is not the state's own memory",
    )
    require(same(model.decode(state), kept), "decode() of one state is always the same")
    return kept


def _overwrite(leaf: np.ndarray) -> None:
    if leaf.flags.writeable:
        leaf[...] = 0


def _check_rows(
    model: WorldModel[Any],
    start: StartFrames,
    rows_and_actions: tuple[np.ndarray, np.ndarray],
    seed: int,
    first: tuple[Any, ...],
) -> None:
    """Row 0 and the last row stay what they were while the rows between them get other contexts and
    actions.
    """
    rows, actions = rows_and_actions
    others = slice(1, max(1, len(rows) - 1))
    rows, changed = rows.copy(), actions.copy()
    rows[others] = (rows[others] + 1) % len(start.actions)
    changed[:, others] = actions[::-1, others]
    space: Any = model.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        changed[:, others] = (actions[:, others] - space.start + 1) % space.n + space.start
    again = _dream(model, take_rows((start.observations, start.actions), rows), changed, seed)
    for name, one, other in zip(_PARTS, first, again, strict=True):
        untouched = [map_leaves(lambda leaf: leaf[:, [0, -1]], tree) for tree in (one, other)]
        require(
            same(*untouched),
            f"{name} of a row depend on that row only; they changed with the rows beside it",
        )


def _wrong_in_subset(
    model: WorldModel[Any],
    context: tuple[Any, np.ndarray],
    actions: np.ndarray,
    seed: int,
    first: tuple[Any, ...],
) -> str:
    """Take rows out of a state halfway and go on; the first part that differs from what they did
    before, or ``""``.
    """
    rng, half = np.random.default_rng(seed), len(actions) // 2
    state = model.init(*context, rng=rng)
    for action in actions[:half]:
        state = model.step(state, action, rng=rng).state
    rows = np.arange(len(context[1]))[::-1][: (len(context[1]) + 1) // 2]
    state = take_rows(state, rows)
    for t in range(half, len(actions)):
        step = model.step(state, actions[t, rows], rng=rng)
        check_step(step, (len(rows),))
        state = step.state
        parts = (_frames(model, state, len(rows)), step.reward, step.terminated)
        shown = map_leaves(lambda leaf, t=t: leaf[t + 1, rows], first[0])
        expected = (shown, first[1][t, rows], first[2][t, rows])
        for name, one, other in zip(_PARTS, expected, parts, strict=True):
            if not alike(one, other):
                return name
    return ""
