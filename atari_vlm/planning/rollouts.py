"""Random rollouts of a search: actions that are held for a while, and a way round rewards that are
no numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.actions import random_actions
from atari_vlm.planning.faults import step_rows
from atari_vlm.planning.scoring import roll
from atari_vlm.trees import put_rows, take_rows
from atari_vlm.world_models.base import WorldModel

_TRIES = 8  # other actions that are drawn where a reward is no number


def finite_returns(
    world_model: WorldModel[Any],
    state: Any,
    plans: np.ndarray,
    *,
    rng: np.random.Generator,
    discount: float,
) -> np.ndarray:
    """Discounted returns ``(B,)`` of random ``plans`` ``(B, H)`` from the B rows of ``state``, all
    of them numbers.

    A future that runs into a reward that is none is rolled out anew, with other actions where that
    happens; it ends there if none helps.
    """
    returns = roll(world_model, state, plans, rng=rng, discount=discount, value=None).returns
    wrong = np.flatnonzero(~np.isfinite(returns))
    if len(wrong):
        returns[wrong] = _around(world_model, take_rows(state, wrong), plans[wrong], rng, discount)
    return returns


def _around(
    world_model: WorldModel[Any],
    state: Any,
    plans: np.ndarray,
    rng: np.random.Generator,
    discount: float,
) -> np.ndarray:
    returns, alive = np.zeros(len(plans)), np.ones(len(plans), bool)
    for t, actions in enumerate(plans.T):
        step = step_rows(world_model, state, actions, rng=rng)
        following, reward, over = (
            step.state,
            step.reward.astype(np.float64),
            np.array(step.terminated),
        )
        for _ in range(_TRIES):
            rows = np.flatnonzero(alive & ~np.isfinite(reward))
            if not len(rows):
                break
            others = random_actions(world_model.action_space, (len(rows),), rng)
            again = step_rows(world_model, take_rows(state, rows), others, rng=rng)
            following = put_rows(following, rows, again.state)
            reward[rows], over[rows] = again.reward, again.terminated
        alive &= np.isfinite(reward)
        returns += discount**t * np.where(alive, reward, 0.0)
        alive &= ~over
        state = following
        if not alive.any():
            break
    return returns


def held(plans: np.ndarray, lengths: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Plans ``(P, H)`` whose actions are held: row by row for a number of steps between the two
    ``lengths``, log-uniform.
    """
    low, high = lengths
    if high == 1:
        return plans
    n, horizon = plans.shape
    hold = np.exp(rng.uniform(np.log(low), np.log(high + 1), n)).astype(np.int64)  # (P,)
    return np.take_along_axis(plans, np.arange(horizon) // np.minimum(hold, high)[:, None], 1)
