"""Hold a world model to its protocol; the public name is
:func:`atari_vlm.checker.check_world_model`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_actions, check_action_space, random_actions
from atari_vlm.checker_abilities import check_estimates, wrong_observe, wrong_rollout
from atari_vlm.checker_states import ROUNDING, check_step, content, flat_rows
from atari_vlm.errors import ConfigError, ContractError, require
from atari_vlm.space_trees import described, fits
from atari_vlm.trees import map_leaves, take_row, take_rows
from atari_vlm.world_models.base import StartFrames, WorldModel


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
    longer context, ``rollout`` is stepping (both compared where the model does not draw),
    ``policy`` gives probabilities or actions, and ``value`` numbers, a row each.
    """
    _check_declaration(model)
    start = _checked_start(model, start)
    row_ids = np.arange(rows) % len(start.actions)
    context = take_rows((start.observations, start.actions), row_ids)
    rng = np.random.default_rng(seed)
    actions = random_actions(model.action_space, (steps, rows), rng)  # (T, B) or (T, B, A)
    first = _dream(model, context, actions, seed)
    for name, one, other in zip(_PARTS, first, _dream(model, context, actions, seed), strict=True):
        require(np.array_equal(one, other), f"equal seeds give equal {name}")
    _check_rows(model, start, (row_ids, actions), seed, first)

    def draws() -> bool:
        others = (_dream(model, context, actions, seed + k) for k in range(1, 17))
        return any(not all(map(np.array_equal, first, other)) for other in others)

    if wrong := _wrong_in_subset(model, context, actions, seed, first):
        require(draws(), f"{wrong} of a subset of rows are the subset of the {wrong}")
    check_estimates(model, context, seed)
    for name, check in (("observe", wrong_observe), ("rollout", wrong_rollout)):
        if hasattr(model, name) and (wrong := check(model, context, actions, seed)):
            require(draws(), wrong)


_PARTS = ("frames", "rewards", "ends")


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
    require(
        names is None or len(names) == n, f"action_names has one name for each of the {n} actions"
    )


def _checked_start(model: WorldModel[Any], start: StartFrames | None) -> StartFrames:
    """What dreams begin from, its actions as the model takes them."""
    start = start or getattr(model, "start", None)
    require(
        start is not None, "a model without start frames is checked with start=StartFrames(...)"
    )
    assert start is not None
    try:
        actions = as_actions(model.action_space, start.actions, "the actions of start frames")
    except ConfigError as error:
        raise ContractError(str(error)) from error
    return StartFrames(start.observations, actions)


def _dream(
    model: WorldModel[Any], context: tuple[Any, np.ndarray], actions: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames ``(T + 1, B, ...)``, rewards ``(T, B)`` and ends ``(T, B)``; everything on the way is
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
    return np.stack(frames), np.stack(rewards), np.stack(ends)


def _frames(model: WorldModel[Any], state: Any, n: int) -> np.ndarray:
    """The decoded rows as float64 ``(n, .)``; they must be of the space, and be nobody else's
    memory.
    """
    before = content(state)
    frames, space = model.decode(state), model.observation_space
    require(fits(space, frames, 1), f"decode() returns {space} in rows, not {described(frames, 1)}")
    flat = flat_rows(frames)
    require(len(flat) == n, f"decode() returns {n} rows, not {len(flat)}")
    require(
        all(space.contains(take_row(frames, row)) for row in range(n)),
        "decoded rows lie in observation_space",
    )
    map_leaves(_overwrite, frames)
    require(
        content(state) == before,
        "decode() changes nothing, and what it returns is not the state's own memory",
    )
    require(
        np.array_equal(flat_rows(model.decode(state)), flat),
        "decode() of one state is always the same",
    )
    return flat


def _overwrite(leaf: np.ndarray) -> None:
    if leaf.flags.writeable:
        leaf[...] = 0


def _check_rows(
    model: WorldModel[Any],
    start: StartFrames,
    rows_and_actions: tuple[np.ndarray, np.ndarray],
    seed: int,
    first: tuple[np.ndarray, ...],
) -> None:
    """Row 0 and the last row stay what they were while the rows between them get other contexts and
    actions.
    """
    rows, actions = rows_and_actions
    others = slice(1, max(1, len(rows) - 1))
    rows, changed = rows.copy(), actions.copy()
    rows[others] = (rows[others] + 1) % len(start.actions)
    changed[:, others] = actions[::-1, others]
    if isinstance(model.action_space, gymnasium.spaces.Discrete):
        n, first_action = int(model.action_space.n), int(model.action_space.start)
        changed[:, others] = (actions[:, others] - first_action + 1) % n + first_action
    again = _dream(model, take_rows((start.observations, start.actions), rows), changed, seed)
    for name, one, other in zip(_PARTS, first, again, strict=True):
        alike = np.array_equal(one[:, [0, -1]], other[:, [0, -1]])
        require(
            alike, f"{name} of a row depend on that row only; they changed with the rows beside it"
        )


def _wrong_in_subset(
    model: WorldModel[Any],
    context: tuple[Any, np.ndarray],
    actions: np.ndarray,
    seed: int,
    first: tuple[np.ndarray, ...],
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
        expected = (first[0][t + 1, rows], first[1][t, rows], first[2][t, rows])
        for name, one, other in zip(_PARTS, expected, parts, strict=True):
            if not np.allclose(
                one.astype(np.float64), other.astype(np.float64), rtol=1e-4, atol=ROUNDING[name]
            ):
                return name
    return ""
