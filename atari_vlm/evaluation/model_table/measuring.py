"""A model's figures from one piece of real play."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.evaluation.model_table.contestants import Contestant
from atari_vlm.evaluation.model_table.figures import (
    Figure,
    Ratio,
    calibration,
    figure,
    joined,
    less,
    right_of_changed,
    same_pixels,
    share,
    summed,
)
from atari_vlm.evaluation.model_table.options import AHEAD, FidelityConfig
from atari_vlm.evaluation.model_table.real_play import Moments, Play, Recorder, boxes_in_memory
from atari_vlm.trees import take_rows

_BATCH = 32
_CHANGED = 10  # steps of changed actions
_TIMED = 24  # steps
Seen = tuple[np.ndarray | None, np.ndarray | None]  # boxes and pictures


@dataclass(frozen=True)
class Changed:
    """Actions int64 ``(N, 10)`` that were not played, and what they lead to from ``begins``; ``over``: the game ended."""

    begins: np.ndarray
    actions: np.ndarray
    moments: Moments
    over: np.ndarray


def beginnings(play: Play, config: FidelityConfig) -> np.ndarray:
    """The steps that dreams begin from, int64, evenly spread, each with a context behind it."""
    able = play.beginnings(config.steps)
    count = min(len(able), config.beginnings)
    return able[np.unique(np.linspace(0, len(able) - 1, count).astype(int))]


def changed_play(play: Play, begins: np.ndarray, recorder: Recorder, seed: int) -> Changed:
    """From every beginning ten steps, each with another action than the one that was played."""
    rng = np.random.default_rng(seed)
    count = len(recorder.action_names)
    played = np.stack([play.actions[begins + k] for k in range(_CHANGED)], 1)
    shifts = np.repeat(rng.integers(1, count, size=(len(begins), 2)), _CHANGED // 2, axis=1)
    actions = (played + shifts) % count
    rolled = recorder.model.rollout(take_rows(play.snapshots, begins), actions, rng=rng)
    frames = rolled.state.frames
    brighter = np.stack([recorder.model._plane(one) for one in frames])
    memory = recorder.model.memory(rolled.state)
    moments = Moments(
        boxes_in_memory(recorder.table, memory),
        np.stack([one[-1] for one in frames]),
        brighter,
        rolled.state.lives,
    )
    return Changed(begins, actions, moments, np.any(rolled.terminated, axis=1))


def fidelity_figures(
    one: Contestant, play: Play, begins: np.ndarray, seed: int
) -> dict[str, dict[str, Figure | None]]:
    """``object`` and ``pixel``: of what changed in so many steps the share that is right."""
    ratios: dict[tuple[str, int], list[Ratio]] = {}
    rng = np.random.default_rng(seed)
    for rows in _batches(begins):
        drawn = [_dream(one, play, rows, rng) for _ in range(one.draws)]
        last = _true(one, take_rows(play.moments, rows))
        for k in AHEAD:
            there = play.since[rows + k] == play.since[rows] + k
            truth = _true(one, take_rows(play.moments, rows + k))
            compared = [_compared(one, truth, dream[k], last, there) for dream in drawn]
            for kind in ("object", "pixel"):
                if compared[0].get(kind) is not None:
                    ratio = summed([each[kind] for each in compared])
                    ratios.setdefault((kind, k), []).append(ratio)
    return {
        kind: {
            str(k): share(joined(ratios[kind, k])) if (kind, k) in ratios else None for k in AHEAD
        }
        for kind in ("object", "pixel")
    }


def divergence(one: Contestant, play: Play, changed: Changed, seed: int) -> Figure | None:
    """Of what ten changed actions change, by objects (by pixels where a model has none), the share that is wrong."""
    rng, found = np.random.default_rng(seed), []
    for at in _batches(np.arange(len(changed.begins))):
        rows = changed.begins[at]
        last = _true(one, take_rows(play.moments, rows))
        truth = _true(one, take_rows(changed.moments, at))
        for _ in range(one.draws):
            state = one.begin(play, rows, rng)
            for actions in changed.actions[at].T:
                state = one.model.step(state, actions, rng=rng).state
            compared = _compared(one, truth, _said(one, state), last, ~changed.over[at])
            ratio = compared.get("object", compared.get("pixel"))
            if ratio is not None:
                found.append(ratio)
    return less(share(joined(found))) if found else None


def one_step_figures(one: Contestant, play: Play, steps: int, seed: int) -> dict[str, Any]:
    """``event_recall`` and ``calibration`` one step ahead of every real moment.

    A model may tell the reward that it draws or the one that it expects: -0.2 foretells no point, and a point by a chance of 0.2.
    """
    rows = play.beginnings(steps)
    parts = [_one_step(one, play, some, np.random.default_rng(seed)) for some in _batches(rows)]
    rewards, ends, lost = (
        np.concatenate([part[i] for part in parts]) for i in range(3)
    )  # (N, draws)
    true, over = np.sign(play.rewards[rows]), play.ends[rows]
    scored = true != 0
    right = (np.sign(np.rint(rewards)) == true[:, None]).mean(1)
    lives = play.moments.lives
    died = (lives[rows + 1] < lives[rows]) & (play.since[rows + 1] > 0)
    recall = {
        "points": share((right * scored, scored.astype(np.float64))),
        "lives": share((lost.mean(1) * died, died.astype(np.float64))),
    }
    of_rewards = calibration(np.minimum(np.abs(rewards), 1).mean(1), scored)
    of_ends = calibration(ends.mean(1), over)
    both = {name: (of_rewards[name] + of_ends[name]) / 2 for name in of_rewards}
    return {
        "event_recall": recall,
        "calibration": {**both, "rewards": of_rewards, "ends": of_ends},
    }


def seconds_per_step(one: Contestant, play: Play, begins: np.ndarray, seed: int) -> Figure:
    """Seconds that a step of one row takes, nothing decoded: the median, and the quartiles as its interval."""
    rng = np.random.default_rng(seed)
    state, took = one.begin(play, begins[:1], rng), []
    for action in rng.integers(one.model.action_space.n, size=_TIMED):  # type: ignore[attr-defined]
        began = time.perf_counter()
        state = one.model.step(state, np.array([action]), rng=rng).state
        took.append(time.perf_counter() - began)
    low, middle, high = np.percentile(took, [25, 50, 75])
    return figure(float(middle), float(low), float(high))


def _one_step(
    one: Contestant, play: Play, rows: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards, ends and lost lives ``(B, draws)`` that the model foretells."""
    rewards, ends, lost = [], [], []
    state = one.begin(play, rows, rng)
    before = one.lives(state)
    for _ in range(one.draws):
        step = one.model.step(state, play.actions[rows], rng=rng)
        after = one.lives(step.state)
        rewards.append(np.asarray(step.reward))
        ends.append(np.asarray(step.terminated))
        fewer = False if before is None or after is None else after < before
        lost.append(step.terminated | fewer)
    return np.stack(rewards, 1), np.stack(ends, 1), np.stack(lost, 1)


def _dream(
    one: Contestant, play: Play, rows: np.ndarray, rng: np.random.Generator
) -> dict[int, Seen]:
    """What the model says after so many steps of the actions that were played."""
    state, seen = one.begin(play, rows, rng), {}
    for k in range(1, max(AHEAD) + 1):
        state = one.model.step(state, play.actions[rows + k - 1], rng=rng).state
        if k in AHEAD:
            seen[k] = _said(one, state)
    return seen


def _said(one: Contestant, state: Any) -> Seen:
    return one.boxes(state), one.pictures(state)


def _true(one: Contestant, moments: Moments) -> Seen:
    return one.true_boxes(moments), one.true_pictures(moments)


def _compared(
    one: Contestant, truth: Seen, said: Seen, last: Seen, there: np.ndarray
) -> dict[str, Ratio]:
    """The ratios of the rows that are ``there``, zeros of the others."""
    found = {}
    for kind, same, i in (("object", one.same_objects, 0), ("pixel", same_pixels, 1)):
        real, dreamed, before = truth[i], said[i], last[i]
        if real is None or dreamed is None or before is None:
            continue
        top, bottom = right_of_changed(
            same(real, before), same(dreamed, before), same(real, dreamed)
        )
        found[kind] = (top * there, bottom * there)
    return found


def _batches(rows: np.ndarray) -> Iterator[np.ndarray]:
    for begin in range(0, len(rows), _BATCH):
        yield rows[begin : begin + _BATCH]
