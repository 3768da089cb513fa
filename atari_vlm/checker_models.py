"""Hold a world model to its protocol; the public name is
:func:`atari_vlm.checker.check_world_model`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from atari_vlm.actions import as_actions, check_action_space
from atari_vlm.errors import ConfigError, ContractError, require
from atari_vlm.world_models.base import (
    ModelStep,
    StartFrames,
    WorldModel,
    described,
    fits,
    map_leaves,
    take_row,
    take_rows,
)


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
    start = start or getattr(model, "start", None)
    require(
        start is not None, "a model without start frames is checked with start=StartFrames(...)"
    )
    assert start is not None
    chosen = np.arange(rows) % len(start.actions)
    start = StartFrames(start.observations, _checked_actions(model, start.actions))
    context = take_rows((start.observations, start.actions), chosen)
    rng = np.random.default_rng(seed)
    actions = np.stack([_some_actions(model.action_space, rows, rng) for _ in range(steps)])
    first = _dream(model, context, actions, seed)
    for name, one, other in zip(_PARTS, first, _dream(model, context, actions, seed), strict=True):
        require(np.array_equal(one, other), f"equal seeds give equal {name}")
    _check_rows(model, start, (chosen, actions), seed, first)

    def draws() -> bool:
        others = (_dream(model, context, actions, seed + k) for k in range(1, 17))
        return any(not all(map(np.array_equal, first, other)) for other in others)

    if wrong := _wrong_in_subset(model, context, actions, seed, first):
        require(draws(), f"{wrong} of a subset of rows are the subset of the {wrong}")
    _check_estimates(model, context, seed)
    for name, check in (("observe", _wrong_observe), ("rollout", _wrong_rollout)):
        if hasattr(model, name) and (wrong := check(model, context, actions, seed)):
            require(draws(), wrong)


_PARTS = ("frames", "rewards", "ends")
_ROUNDING = {"frames": 1.0, "rewards": 1e-4, "ends": 0.0}  # another batch size may round otherwise


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


def _some_actions(space: gymnasium.Space[Any], rows: int, rng: np.random.Generator) -> np.ndarray:
    """Random actions: int64 ``(rows,)``, or float32 ``(rows, A)`` from a box."""
    space.seed(int(rng.integers(2**31)))
    return as_actions(space, np.stack([np.asarray(space.sample()) for _ in range(rows)]))


def _checked_actions(model: WorldModel[Any], actions: np.ndarray) -> np.ndarray:
    try:
        return as_actions(model.action_space, actions, "the actions of start frames")
    except ConfigError as error:
        raise ContractError(str(error)) from error


def _dream(
    model: WorldModel[Any], context: tuple[Any, np.ndarray], actions: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames ``(T + 1, B, ...)``, rewards ``(T, B)`` and ends ``(T, B)``; everything on the way is
    checked.
    """
    n = len(context[1])
    rng = np.random.default_rng(seed)
    given = _content(context)
    state = model.init(*context, rng=rng)
    require(_content(context) == given, "init() does not change its context")
    frames, rewards, ends = [_frames(model, state, n)], [], []
    for action in actions:
        before, kept = _content(state), action.copy()
        step = model.step(state, action, rng=rng)
        require(_content(state) == before, "step() does not change the state that it is given")
        require(np.array_equal(action, kept), "step() does not change the actions that it is given")
        _check_step(step, (n,))
        state = step.state
        frames.append(_frames(model, state, n))
        rewards.append(np.array(step.reward))
        ends.append(np.array(step.terminated))
    return np.stack(frames), np.stack(rewards), np.stack(ends)


def _frames(model: WorldModel[Any], state: Any, n: int) -> np.ndarray:
    """The decoded rows as float64 ``(n, .)``; they must be of the space, and be nobody else's
    memory.
    """
    before = _content(state)
    frames, space = model.decode(state), model.observation_space
    require(fits(space, frames, 1), f"decode() returns {space} in rows, not {described(frames, 1)}")
    flat = _flat(frames)
    require(len(flat) == n, f"decode() returns {n} rows, not {len(flat)}")
    require(
        all(space.contains(take_row(frames, row)) for row in range(n)),
        "decoded rows lie in observation_space",
    )
    map_leaves(_overwrite, frames)
    require(
        _content(state) == before,
        "decode() changes nothing, and what it returns is not the state's own memory",
    )
    require(
        np.array_equal(_flat(model.decode(state)), flat), "decode() of one state is always the same"
    )
    return flat


def _flat(observations: Any) -> np.ndarray:
    """Observations ``(B, ...)`` of all entries side by side, float64 ``(B, .)``."""
    parts: list[np.ndarray] = []
    map_leaves(
        lambda leaf: parts.append(leaf.reshape(len(leaf), -1).astype(np.float64)), observations
    )
    return np.concatenate(parts, 1)


def _overwrite(leaf: np.ndarray) -> None:
    if leaf.flags.writeable:
        leaf[...] = 0


def _check_step(step: Any, shape: tuple[int, ...]) -> None:
    name = "step" if len(shape) == 1 else "rollout"
    require(isinstance(step, ModelStep), f"{name}() returns a ModelStep, not {type(step).__name__}")
    for name, dtype in (("reward", np.float32), ("terminated", np.bool_)):
        value = getattr(step, name)
        fits = isinstance(value, np.ndarray) and value.shape == shape and value.dtype == dtype
        require(fits, f"{name} is an array of {np.dtype(dtype)} {shape}")
    require(bool(np.isfinite(step.reward).all()), "rewards are finite")


def _check_rows(
    model: WorldModel[Any],
    start: StartFrames,
    chosen: tuple[np.ndarray, np.ndarray],
    seed: int,
    first: tuple[np.ndarray, ...],
) -> None:
    """Row 0 and the last row stay what they were while the rows between them get other contexts and
    actions.
    """
    rows, actions = chosen
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
        _check_step(step, (len(rows),))
        state = step.state
        found = (_frames(model, state, len(rows)), step.reward, step.terminated)
        expected = (first[0][t + 1, rows], first[1][t, rows], first[2][t, rows])
        for name, one, other in zip(_PARTS, expected, found, strict=True):
            if not np.allclose(
                one.astype(np.float64), other.astype(np.float64), rtol=1e-4, atol=_ROUNDING[name]
            ):
                return name
    return ""


def _check_estimates(model: WorldModel[Any], context: tuple[Any, np.ndarray], seed: int) -> None:
    """``value`` and ``policy``, where the model has them: pure, a row each, and what they say they
    are.
    """
    state, rows = model.init(*context, rng=np.random.default_rng(seed)), len(context[1])
    space: Any = model.action_space
    for name in ("value", "policy"):
        estimate = getattr(model, name, None)
        if estimate is None:
            continue
        before = _content(state)
        given = estimate(state)
        require(_content(state) == before, f"{name}() does not change the state that it is given")
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


def _wrong_observe(
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
    before = _content(state)
    observed = model.observe(state, actions[0].copy(), map_leaves(np.array, shown), rng=rng)
    require(_content(state) == before, "observe() does not change the state that it is given")
    longer = (
        map_leaves(lambda seen, new: np.concatenate([seen, new[:, None]], 1), observations, shown),
        np.concatenate([played, actions[0][:, None]], 1),
    )
    wanted = model.init(*longer, rng=np.random.default_rng(seed))
    return (
        ""
        if _alike(model, observed, wanted, actions[-1], seed)
        else ("observe() gives the state that init() gives for the longer context")
    )


def _wrong_rollout(
    model: Any, context: tuple[Any, np.ndarray], actions: np.ndarray, seed: int
) -> str:
    """What is wrong with ``rollout`` of plans ``(B, H)`` beside as many steps."""
    rng, rows, plans = np.random.default_rng(seed), len(context[1]), actions.swapaxes(0, 1)
    state = model.init(*context, rng=rng)
    before, kept = _content(state), plans.copy()
    rolled = model.rollout(state, plans, rng=rng)
    require(_content(state) == before, "rollout() does not change the state that it is given")
    require(np.array_equal(plans, kept), "rollout() does not change the plans that it is given")
    _check_step(rolled, (rows, len(actions)))
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
        if alike and _alike(model, rolled.state, state, actions[-1], seed)
        else "rollout() is equal to stepping"
    )


def _alike(model: Any, one: Any, other: Any, action: np.ndarray, seed: int) -> bool:
    """Whether two states show the same and go on alike, but for rounding."""
    steps = [model.step(state, action, rng=np.random.default_rng(seed)) for state in (one, other)]
    rewards = [step.reward for step in steps]
    alike = np.allclose(rewards[0], rewards[1], rtol=1e-3, atol=1e-4)
    alike = alike and np.array_equal(steps[0].terminated, steps[1].terminated)
    for first, second in ((one, other), (steps[0].state, steps[1].state)):
        shown, wanted = (_flat(model.decode(state)) for state in (first, second))
        alike = alike and np.allclose(shown, wanted, atol=_ROUNDING["frames"])
    return bool(alike)


def _content(state: Any) -> list[Any]:
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
