"""How well a world model predicts play that it was not trained on.

Held-out episodes are cut into segments. Rewards and ends are predicted one step ahead of real observations. Observations farther
ahead are dreamed: the model reads ``context`` real ones and then sees nothing but the actions that were really played. Pictures
are compared on the pixels that are not those of the last real picture any more (a copy of it is wrong on all of them), and on all
pixels; other observations likewise, number by number.

Every figure is a ratio of two sums over segments, with an interval from drawing the segments anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.experience.replay import Replay
from atari_vlm.experience.segments import Segments
from atari_vlm.scores.statistics import BootstrapConfig, Estimate
from atari_vlm.world_models.base import Forecast, WorldModel
from atari_vlm.world_models.view import observations_told

Ratios = dict[
    str, tuple[np.ndarray, np.ndarray]
]  # name -> numerators and denominators, float64 (N,) each
_MEDIAN_OF = 1_000  # pictures


@dataclass(frozen=True)
class HeldOutConfig:
    """Dreams begin after ``context`` real frames, at every ``every``-th step (default: the farthest of ``ahead``); sampled
    dreams are the mean over ``draws`` at temperature 1. ``batch`` segments are computed at once.
    """

    context: int = 4
    ahead: tuple[int, ...] = (1, 5, 10)
    every: int | None = None
    draws: int = 4
    seed: int = 0
    batch: int = 32

    def __post_init__(self) -> None:
        check_positive(context=self.context, draws=self.draws, batch=self.batch)
        if not self.ahead or min(self.ahead) < 1:
            raise ConfigError(f"ahead is one or more numbers of steps >= 1, got {self.ahead!r}")
        if not 1 <= self.step <= max(self.ahead):
            raise ConfigError(
                f"every is from 1 to the farthest number of steps ahead, got {self.every!r}"
            )

    @property
    def step(self) -> int:
        """Steps between the beginnings of two segments."""
        return max(self.ahead) if self.every is None else self.every


@dataclass(frozen=True)
class HeldOut:
    """What was measured.

    ``estimates``: ``reward_f1`` of rewards rounded to whole numbers, ``end_f1`` (0 for a model that foretells
    nothing; a reward of the wrong sign is both false and missed), ``reward_squared_error`` and that of always saying
    the training data's mean (``mean_reward_squared_error``); the ``scores`` of the model's own :class:`Forecast`, if
    it makes one; and for each number of steps ahead ``changed/<who>/<steps>`` and ``all/<who>/<steps>``, mean
    absolute differences from the real observation (0 to 255 for pictures), where ``<who>`` is ``sampled``,
    ``likeliest`` (drawn at temperature 0, where the model has one), ``copy`` (of the last real one), ``median`` (the
    training data's median) or ``tokenizer`` (the real one as the model reads and decodes it, its bound); and
    ``sampled_to_copy/<steps>``, ``likeliest_to_copy/<steps>``, below 1 where the model beats the copy on what
    changed; likewise ``reward_error_to_mean``, the two squared errors of rewards over the same steps.
    ``counts``: ``steps``, ``segments``, ``positive_rewards``, ``negative_rewards``, ``ends``.
    """

    estimates: dict[str, Estimate]
    counts: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        measured = {name: estimate.as_dict() for name, estimate in self.estimates.items()}
        return {**measured, "counts": self.counts}


@dataclass(frozen=True)
class Played:
    """Real play of B rows and T steps: ``observations`` ``(B, T, ...)``, ``actions``, ``rewards`` as the model counts them,
    ``ends`` and ``mask`` ``(B, T)``.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    ends: np.ndarray
    mask: np.ndarray


def measure(
    model: WorldModel[Any], held_out: Replay, training: Replay, config: HeldOutConfig
) -> HeldOut:
    """Measure on every step of ``held_out`` but the first ``context - 1`` of each episode; baselines are of ``training``.

    Raises ``ConfigError`` when no episode is long enough for the farthest dream.
    """
    cut = segments(held_out, config)
    if not cut.mask[:, -1].any():
        raise ConfigError(
            f"no held-out episode has {cut.mask.shape[1]} steps: a context and {max(config.ahead)} ahead"
        )
    kept = training.kept()
    mean_reward = float(_labels(model, training.read("reward", kept)).mean())
    some = kept[:: max(1, len(kept) // _MEDIAN_OF)]
    median = np.median(training.read(_observed(training, model), some), axis=0)
    rng = np.random.default_rng(config.seed)
    parts: list[Ratios] = []
    for begin in range(0, len(cut.slots), config.batch):
        play = read(model, held_out, cut.rows(slice(begin, begin + config.batch)))
        one_step = one_step_ratios(model, play, mean_reward, config)
        parts.append(one_step | dreamed_ratios(model, play, median, config, rng))
    ratios = {name: _join([part[name] for part in parts]) for name in parts[0]}
    ratios["reward_error_to_mean"] = (
        ratios["reward_squared_error"][0],
        ratios["mean_reward_squared_error"][0],
    )
    for who in ("sampled", "likeliest"):
        for k in config.ahead:
            ratios[f"{who}_to_copy/{k}"] = (
                ratios[f"changed/{who}/{k}"][0],
                ratios[f"changed/copy/{k}"][0],
            )
    return HeldOut(
        estimate(ratios, BootstrapConfig(seed=config.seed)), _counts(held_out, len(cut.slots))
    )


def segments(replay: Replay, config: HeldOutConfig) -> Segments:
    """All segments: a context, the steps after it, padded on the right where the episode stops sooner."""
    firsts, stops = replay.bounds()
    begins = [
        np.arange(a, b - config.context + 1, config.step)
        for a, b in zip(firsts, stops, strict=True)
    ]
    return replay.segments_at(np.concatenate(begins), config.context + max(config.ahead))


def read(model: WorldModel[Any], replay: Replay, cut: Segments) -> Played:
    """Segments as they were really played."""
    names = (_observed(replay, model), "action", "reward", "terminated")
    observations, actions, rewards, ends = (replay.read(name, cut.slots) for name in names)
    return Played(observations, actions, _labels(model, rewards), ends, cut.mask)


def one_step_ratios(
    model: WorldModel[Any], play: Played, mean_reward: float, config: HeldOutConfig
) -> Ratios:
    """Rewards, ends and the family's scores one step ahead; each step of an episode is scored in one segment."""
    forecast = _forecast(model, play, config)
    place = np.arange(play.mask.shape[1]) - (config.context - 1)
    acts = play.mask & (place >= 0) & (place < config.step)  # (B, T)
    observed = play.mask & (place >= 1) & (place <= config.step)
    expected, truth = forecast.rewards, play.rewards
    predicted = expected.round()
    ratios = {
        "reward_f1": _f1(predicted != 0, truth != 0, (predicted == truth) & (predicted != 0), acts),
        "end_f1": _f1(forecast.ends, play.ends, forecast.ends & play.ends, acts),
        "reward_squared_error": _mean((expected - truth) ** 2, acts),
        "mean_reward_squared_error": _mean((mean_reward - truth) ** 2, acts),
    }
    for name, (values, where) in forecast.scores.items():
        there = observed.reshape(*observed.shape, *[1] * (values.ndim - 2))
        ratios[name] = _mean(values, where & there)
    return ratios


def _forecast(model: WorldModel[Any], play: Played, config: HeldOutConfig) -> Forecast:
    """What the model forecasts, or, where it cannot, the mean of ``draws`` steps from each real observation."""
    if hasattr(model, "forecast"):
        forecast: Forecast = model.forecast(play.observations, play.actions)
        return forecast
    rewards, ends = np.zeros((2, *play.mask.shape))
    rng = np.random.default_rng(config.seed)
    length = observations_told(model)
    for t in range(config.context - 1, play.mask.shape[1]):
        since = max(0, t + 1 - length)
        state = model.init(play.observations[:, since : t + 1], play.actions[:, since:t], rng=rng)
        for _ in range(config.draws):
            step = model.step(state, play.actions[:, t], rng=rng)
            rewards[:, t] += step.reward / config.draws
            ends[:, t] += step.terminated / config.draws
    return Forecast(rewards, ends > 0.5, {})


def dreamed_ratios(
    model: WorldModel[Any],
    play: Played,
    median: np.ndarray,
    config: HeldOutConfig,
    rng: np.random.Generator,
) -> Ratios:
    """Differences of dreamed observations, and of what they are compared with, from the real ones."""
    context = config.context
    greedy = model.at_temperature(0.0) if hasattr(model, "at_temperature") else model
    likeliest = dream(greedy, play, config, rng)
    sampled = [dream(model, play, config, rng) for _ in range(config.draws)]
    last, ratios = play.observations[:, context - 1].astype(np.float64), {}
    for k in config.ahead:
        real = play.observations[:, context - 1 + k]
        truth, there = real.astype(np.float64), play.mask[:, context - 1 + k]
        there = there.reshape(-1, *[1] * (truth.ndim - 1))
        bound = model.decode(model.init(real[:, None], play.actions[:, :0], rng=rng))
        compared = {
            "sampled": [draw[k] for draw in sampled],
            "likeliest": [likeliest[k]],
            "copy": [last],
            "median": [median],
            "tokenizer": [bound],
        }
        changed = (truth != last).any(-1, keepdims=True)
        for who, shown in compared.items():
            error = np.mean([np.abs(one - truth) for one in shown], 0).mean(-1, keepdims=True)
            for name, where in (("changed", changed & there), ("all", there)):
                ratios[f"{name}/{who}/{k}"] = _mean(error, np.broadcast_to(where, error.shape))
    return ratios


def dream(
    model: WorldModel[Any], play: Played, config: HeldOutConfig, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """What the model shows after so many of ``config.ahead`` steps along the real actions, ``(B, ...)`` each."""
    context = config.context
    state = model.init(play.observations[:, :context], play.actions[:, : context - 1], rng=rng)
    shown = {}
    for k in range(1, max(config.ahead) + 1):
        state = model.step(state, play.actions[:, context - 2 + k], rng=rng).state
        if k in config.ahead:
            shown[k] = model.decode(state)
    return shown


def estimate(ratios: Ratios, bootstrap: BootstrapConfig) -> dict[str, Estimate]:
    """Each ratio of sums and its interval; 0 where the denominators are."""
    rows = len(next(iter(ratios.values()))[0])
    drawn = np.random.default_rng(bootstrap.seed).integers(rows, size=(bootstrap.repetitions, rows))
    estimates = {}
    for name, (top, bottom) in ratios.items():
        low, high = bootstrap.interval(_ratio(top[drawn].sum(1), bottom[drawn].sum(1)))
        estimates[name] = Estimate(float(_ratio(top.sum(), bottom.sum())), float(low), float(high))
    return estimates


def _ratio(top: Any, bottom: Any) -> Any:
    return np.divide(
        top, bottom, out=np.zeros_like(np.asarray(top, np.float64)), where=np.asarray(bottom) > 0
    )


def _mean(values: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over each row of ``values`` where ``where`` is true, and how many there are."""
    return _per_row(values * where), _per_row(where)


def _f1(
    predicted: np.ndarray, true: np.ndarray, hits: np.ndarray, where: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """2 hits / (said + true)."""
    return 2 * _per_row(hits & where), _per_row(predicted & where) + _per_row(true & where)


def _per_row(values: np.ndarray) -> np.ndarray:
    sums: np.ndarray = values.reshape(len(values), -1).astype(np.float64).sum(1)
    return sums


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([top for top, _ in parts]), np.concatenate(
        [bottom for _, bottom in parts]
    )


def _labels(model: WorldModel[Any], rewards: np.ndarray) -> np.ndarray:
    """Rewards as the model counts them."""
    return np.sign(rewards) if model.reward_transform == "sign" else rewards


def _observed(replay: Replay, model: WorldModel[Any]) -> str:
    """The column of a replay that holds what ``model`` observes: the one beside the action, of its shape where there are more."""
    names = list(replay.shown)
    if len(names) > 1:
        shape = model.observation_space.shape
        names = [name for name in names if replay.columns[name].shape == shape] or names
    if len(names) != 1:
        raise ConfigError(
            f"fidelity is measured on one kind of observation, the replay holds {', '.join(names)}"
        )
    return names[0]


def _counts(replay: Replay, rows: int) -> dict[str, int]:
    rewards, ends = (replay.read(name, replay.kept()) for name in ("reward", "terminated"))
    return {
        "steps": len(replay),
        "segments": rows,
        "positive_rewards": int((rewards > 0).sum()),
        "negative_rewards": int((rewards < 0).sum()),
        "ends": int(ends.sum()),
    }
