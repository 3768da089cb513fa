"""Noticing that the rules of a game have changed: a model's one-step surprises, and when there are too many of them to be usual.

A model is watched while the game goes on as it learned it; how often it is wrong then is what it is allowed. From then on every
step speaks for or against a change, and the evidence is added up and never falls below nothing (Page's CUSUM, 1954): a step
that is wrong adds log(0.5 / usual), one that is right takes log((1 - usual) / 0.5) off. A model that is never wrong notices at
the first step that contradicts it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, check_count
from atari_vlm.evaluation.model_table.figures import right_of_changed, same_pixels
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.space_trees import is_rgb
from atari_vlm.world_models.base import WorldModel
from atari_vlm.world_models.view import observations_told

_CHANGED = 0.5  # how often a model is wrong after a change
_USUAL = 0.9  # the share of usual errors that are no surprise at least
_BATCH = 64


class Watch:
    """Watches errors, one a step, after those of at least 20 ``usual`` steps, float ``(N,)`` of at least 0.

    A step surprises whose error is above that of nine usual ones in ten: for a model that is mostly exact, any error at all.
    ``evidence``: how much more probable a change has to be than none; about as many usual steps pass between two false alarms.
    Raises ``ConfigError`` for a model that is wrong too often to notice anything.
    """

    def __init__(self, usual: np.ndarray, *, evidence: float = 10_000.0):
        if len(usual) < 20 or evidence <= 1:
            raise ConfigError("a watch has at least 20 usual steps, and asks for evidence above 1")
        self.limit = float(np.quantile(usual, _USUAL, method="lower"))
        surprises = int((usual > self.limit).sum())
        self.rate = (surprises + 1) / (len(usual) + 2)
        if self.rate >= _CHANGED:
            raise ConfigError(
                f"a model that surprises in {self.rate:.0%} of usual steps notices no change of the rules"
            )
        self._wanted, self._sum = math.log(evidence), 0.0
        self._up = math.log(_CHANGED / self.rate) if surprises else self._wanted
        self._down = math.log((1 - self.rate) / (1 - _CHANGED))

    def saw(self, error: float) -> bool:
        """Take in a step; whether there is evidence enough."""
        gain = self._up if error > self.limit else -self._down
        self._sum = max(0.0, self._sum + gain)
        return self._sum >= self._wanted

    def first(self, errors: np.ndarray) -> int | None:
        """How many of the steps it takes, ``None`` where all of them are not enough."""
        return next((t for t, error in enumerate(errors, start=1) if self.saw(float(error))), None)

    def at_most(self, every: int = 1) -> float:
        """How many steps a change takes at most that makes one step in ``every`` surprise: computed by hand, nothing is played.

        n surprises gain n up - (n - 1) (every - 1) down, and the first comes within ``every`` steps. Infinite where what is right
        in between takes off all that a surprise adds.
        """
        check_count(every=every)
        between = (every - 1) * self._down
        if self._up >= self._wanted:
            return every
        if self._up <= between:
            return math.inf
        return every * math.ceil((self._wanted - between) / (self._up - between))


@dataclass(frozen=True)
class Held:
    """What a model is held to: of the rows of numbers that it foretells those in ``numbers`` (``None``: all), and rewards that
    are off by at most ``reward_off``. With ``own_eyes`` pictures are compared as the model itself shows them: what it dreams,
    with what it makes of what was really there. For models that learned: their pictures are never exact, their rewards are means.
    """

    numbers: Sequence[int] | None = None
    reward_off: float = 1e-5
    own_eyes: bool = False


EXACTLY = Held()


def step_errors(
    model: WorldModel[Any], play: TransitionBuffer, *, seed: int = 0, held: Held = EXACTLY
) -> np.ndarray:
    """How wrong a model is about each step of play, float64 ``(N,)`` from 0 to 1, told of nothing but what was seen before it.

    Of what changed in the observation, in truth or in the prediction, the share that is wrong; 1 where reward or end is. A model
    whose states are the observations (a program of contract 1) is held to its states, any other to what it decodes.
    """
    rng = np.random.default_rng(seed)
    length = observations_told(model)
    starts = play.trajectory_starts
    rows = np.arange(len(play))
    behind = rows - starts[np.searchsorted(starts, rows, side="right") - 1]
    used = np.minimum(behind + 1, length)
    errors = np.zeros(len(play))
    for count in np.unique(used):
        some = rows[used == count]
        for begin in range(0, len(some), _BATCH):
            batch = some[begin : begin + _BATCH]
            contexts = batch[:, None] + np.arange(1 - int(count), 1)
            errors[batch] = _errors(model, play, contexts, rng, held)
    return errors


def _errors(
    model: WorldModel[Any],
    play: TransitionBuffer,
    at: np.ndarray,
    rng: np.random.Generator,
    held: Held,
) -> np.ndarray:
    """Of the last row of each context ``at``, int64 ``(B, T)``."""
    rows = at[:, -1]
    state = model.init(play.observations[at], play.actions[at[:, :-1]], rng=rng)
    step = model.step(state, play.actions[rows], rng=rng)
    said = step.state.values if getattr(model, "contract", 0) == 1 else model.decode(step.state)
    last, real = play.observations[rows], play.next_observations[rows]
    if held.own_eyes:
        context = np.concatenate([play.observations[at[:, 1:]], real[:, None]], axis=1)
        met = model.init(context, play.actions[at[:, 1:]], rng=rng)
        last, real = model.decode(state), model.decode(met)
    same = same_pixels if is_rgb(play.observation_space) else _same_numbers
    if held.numbers is not None:
        said, last, real = (values[:, list(held.numbers)] for values in (said, last, real))
    right, changed = right_of_changed(same(real, last), same(said, last), same(real, said))
    errors = np.divide(changed - right, changed, out=np.zeros(len(rows)), where=changed > 0)
    wrong = np.abs(step.reward - play.rewards[rows]) > held.reward_off
    wrong |= step.terminated != play.terminated[rows]
    return np.where(wrong, 1.0, errors)


def _same_numbers(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.isclose(one, other, atol=1e-3)
