"""What a model is worth to who decides by it: the points that a planner wins in the real game while it plans in the model.

The planner is the same for every model: random plans whose actions are held for a while, the best of which is followed for a
few steps. It sees of the model nothing but rewards, ends and, where there is one, its value.
"""

from __future__ import annotations

import numpy as np

from atari_vlm.evaluation.model_table.contestants import Contestant
from atari_vlm.evaluation.model_table.figures import BOOTSTRAP, Figure, figure
from atari_vlm.evaluation.model_table.options import FidelityConfig
from atari_vlm.evaluation.model_table.real_play import WARM_UP, Recorder
from atari_vlm.planning.rollouts import held
from atari_vlm.planning.scoring import random_plans, score_plans

_HELD = (1, 8)  # steps


def decision_value(
    one: Contestant, recorder: Recorder, config: FidelityConfig
) -> Figure | float | None:
    """The points of ``decision_steps`` of the real game, which ``recorder`` begins anew: of ``decision_games`` the mean with its
    interval from drawing games anew, of a single one a number; ``None`` for no steps.
    """
    if not config.decision_steps:
        return None
    points = [_points(one, recorder, config, config.seed + n) for n in range(config.decision_games)]
    if len(points) == 1:
        return points[0]
    rng = np.random.default_rng(BOOTSTRAP.seed)
    drawn = rng.choice(points, (BOOTSTRAP.repetitions, len(points))).mean(1)
    return figure(float(np.mean(points)), *map(float, BOOTSTRAP.interval(drawn)))


def _points(one: Contestant, recorder: Recorder, config: FidelityConfig, seed: int) -> float:
    rng = np.random.default_rng(seed)
    recorder.restart(seed)
    for _ in range(WARM_UP):  # the same for all: contexts are that long
        recorder.step(0)
    total, plan = 0.0, np.zeros(0, np.int64)
    for t in range(config.decision_steps):
        if t % config.follow == 0:
            plan = _best(one, recorder, config, rng)
        reward, over = recorder.step(int(plan[t % config.follow]))
        total += reward
        if over:
            recorder.renew()
        recorder.forget(WARM_UP)
    return total


def _best(
    one: Contestant, recorder: Recorder, config: FidelityConfig, rng: np.random.Generator
) -> np.ndarray:
    play = recorder.play()
    state = one.begin(play, np.array([len(play.tables) - 1]), rng)
    space = one.model.action_space
    plans = held(random_plans(space, config.plans, config.horizon, rng), _HELD, rng)
    scores = score_plans(one.model, state, plans, rng=rng)
    best: np.ndarray = scores.plans[scores.best]
    return best
