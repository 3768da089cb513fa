"""What plans are worth in a world model: all of them in one batched rollout, nothing decoded.

A plan is worth the discounted reward predicted along it, up to a predicted end, plus the value of
the last state where a value function is given or the model has its own. A plan on whose way the
model's program raises is worth minus infinity. With several futures (or several models) a plan is
worth the mean minus ``pessimism`` times the standard deviation over them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np

from atari_vlm.actions import as_actions, random_actions
from atari_vlm.errors import ConfigError, MismatchError, check_count, check_positive
from atari_vlm.planning.faults import rollout_rows, step_rows
from atari_vlm.trees import take_rows
from atari_vlm.world_models.base import ModelStep, WorldModel, check_one_row

ValueFunction = Callable[[Any], np.ndarray]  # state of B rows -> float (B,)
Valuing = ValueFunction | Literal["own"] | None  # "own": the model's `value`, where it has one
Imagined = tuple[
    np.ndarray, np.ndarray, np.ndarray, Any
]  # rewards (B, H), alive (B,), lengths (B,), last state


@dataclass(frozen=True)
class Rollout:
    """B imagined futures: ``returns`` float64 ``(B,)``, ``rewards`` float64 ``(B, H)`` (0 after an
    end), ``lengths`` int64 ``(B,)`` steps until the predicted end (H where there was none), and the
    last ``state``.
    """

    returns: np.ndarray
    rewards: np.ndarray
    lengths: np.ndarray
    state: Any


@dataclass(frozen=True)
class PlanScores:
    """``scores`` float64 ``(P,)`` (minus infinity where the model predicted no number), with what
    they came from.

    ``rewards`` ``(P, H)`` and ``lengths`` ``(P,)`` are means over the futures, ``spread`` ``(P,)``
    is their standard deviation.
    """

    plans: np.ndarray
    scores: np.ndarray
    rewards: np.ndarray
    lengths: np.ndarray
    spread: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """Plan indices, best first; equal scores keep the order the plans were given in."""
        return np.argsort(-self.scores, kind="stable")

    @property
    def best(self) -> int:
        """Index of the best plan."""
        return int(self.order[0])


def roll(
    world_model: WorldModel[Any],
    state: Any,
    plans: np.ndarray,
    *,
    rng: np.random.Generator,
    discount: float = 1.0,
    value: Valuing = "own",
) -> Rollout:
    """Follow ``plans`` ``(B, H)`` (or ``(B, H, A)`` where actions have parts) from the B rows
    of ``state``.
    """
    horizon = plans.shape[1]
    if hasattr(world_model, "rollout"):
        rewards, alive, lengths, state = _rolled(rollout_rows(world_model, state, plans, rng=rng))
    else:
        rewards, alive, lengths, state = _stepped(world_model, state, plans, rng)
    returns = discount ** np.arange(horizon) @ rewards.T
    bootstrap = value_of(world_model, value)
    if bootstrap is not None and alive.any():
        returns = returns + discount**horizon * np.where(alive, bootstrap(state), 0.0)
    return Rollout(returns, rewards, lengths, state)


def _rolled(rolled: ModelStep[Any]) -> Imagined:
    """What a model's own rollout says: rewards until the end, who is still alive, steps until the
    end, the last state.
    """
    ended = np.logical_or.accumulate(rolled.terminated, axis=1)  # (B, H)
    over = np.zeros_like(ended)
    over[:, 1:] = ended[:, :-1]
    rewards = np.where(over, 0.0, rolled.reward.astype(np.float64))
    return rewards, ~ended[:, -1], (~over).sum(1), rolled.state


def _stepped(
    world_model: WorldModel[Any], state: Any, plans: np.ndarray, rng: np.random.Generator
) -> Imagined:
    """The same, a step of the model at a time, as long as a row is alive."""
    n, horizon = plans.shape[:2]
    actions = np.ascontiguousarray(plans.swapaxes(0, 1))  # (H, B) or (H, B, A)
    alive = np.ones(n, bool)
    rewards, lengths = np.zeros((horizon, n)), np.zeros(n, np.int64)
    for t in range(horizon):
        step = step_rows(world_model, state, actions[t], rng=rng)
        np.copyto(rewards[t], step.reward, where=alive)
        lengths += alive
        alive = alive & ~step.terminated
        state = step.state
        if not np.count_nonzero(alive):
            break
    return rewards.T, alive, lengths, state


def value_of(world_model: WorldModel[Any], value: Valuing) -> ValueFunction | None:
    """The value function that is meant."""
    if value != "own":
        return value
    own: ValueFunction | None = getattr(world_model, "value", None)
    return own


def check_plans(action_space: gymnasium.Space[Any], plans: Any, what: str = "plans") -> np.ndarray:
    """``plans`` as int64 ``(P, H)``, or int64 or float32 ``(P, H, A)``, of legal actions;
    ``ConfigError`` otherwise.
    """
    array = as_actions(action_space, plans, what)
    if array.ndim != 2 + len(action_space.shape or ()) or 0 in array.shape:
        width = "".join(f", {a}" for a in action_space.shape or ())
        raise ConfigError(f"{what} must be (P, H{width}) with P, H >= 1, got {np.shape(plans)}")
    return array


def check_discount(discount: float) -> None:
    """Raise ``ConfigError`` unless ``discount`` is in (0, 1]."""
    check_positive(discount=discount)
    if discount > 1:
        raise ConfigError(f"discount is in (0, 1], got {discount!r}")


def score_plans(
    world_model: WorldModel[Any] | Sequence[WorldModel[Any]],
    state: Any,
    plans: Any,
    *,
    discount: float = 1.0,
    rng: np.random.Generator,
    value: Valuing = "own",
    num_futures: int = 1,
    pessimism: float = 0.0,
) -> PlanScores:
    """Score ``plans`` from the one row of ``state``.

    An ensemble is a sequence of models with a sequence of their states. ``num_futures`` futures are
    sampled per plan and model. ``discount`` is in (0, 1]. ``value`` is a value function, ``"own"``
    (the model's, where it has one) or ``None``. Raises ``ConfigError`` for plans that are
    empty, ragged or illegal.
    """
    check_count(num_futures=num_futures)
    check_discount(discount)
    models, states = (
        ([world_model], [state]) if not isinstance(world_model, Sequence) else (world_model, state)
    )
    if len(models) != len(states) or not models:
        raise MismatchError(f"{len(models)} world models with {len(states)} states")
    checked = check_plans(models[0].action_space, plans)
    for one in states:
        check_one_row(one)
    p = len(checked)
    repeated = np.tile(checked, (num_futures,) + (1,) * (checked.ndim - 1))  # (F * P, H, ...)
    origin = np.zeros(p * num_futures, np.int64)
    futures = [
        roll(model, take_rows(s, origin), repeated, rng=rng, discount=discount, value=value)
        for model, s in zip(models, states, strict=True)
    ]
    returns = np.concatenate([f.returns.reshape(num_futures, p) for f in futures])  # (M * F, P)
    with np.errstate(invalid="ignore"):
        spread = returns.std(0)
        scores = returns.mean(0) - pessimism * spread
    return PlanScores(
        plans=checked,
        scores=np.where(np.isfinite(scores), scores, -np.inf),
        rewards=np.concatenate([f.rewards.reshape(num_futures, p, -1) for f in futures]).mean(0),
        lengths=np.concatenate([f.lengths.reshape(num_futures, p) for f in futures]).mean(0),
        spread=spread,
    )


def random_plans(
    action_space: gymnasium.Space[Any], num_plans: int, horizon: int, rng: np.random.Generator
) -> np.ndarray:
    """Uniformly random plans, int64 ``(P, H)``, or int64 or float32 ``(P, H, A)``."""
    return random_actions(action_space, (num_plans, horizon), rng)


def random_shooting(
    world_model: WorldModel[Any],
    state: Any,
    *,
    num_plans: int = 256,
    horizon: int = 10,
    discount: float = 1.0,
    rng: np.random.Generator,
    value: Valuing = "own",
) -> PlanScores:
    """Score ``num_plans`` random plans; ``result.plans[result.best]`` is the one to follow."""
    check_count(num_plans=num_plans, horizon=horizon)
    plans = random_plans(world_model.action_space, num_plans, horizon, rng)
    return score_plans(world_model, state, plans, discount=discount, rng=rng, value=value)
