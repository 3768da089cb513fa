"""How well REM's tokenizer and world model predict play that they were not trained on.

Held-out episodes are cut into segments. Rewards, ends and the next frame's tokens are predicted one step ahead with the real
frames as memory. Frames farther ahead are dreamed: the model reads ``context`` real frames and then sees nothing but the actions
that were really played. Frames are compared on the pixels that are not those of the last real frame any more (a copy of it
is wrong on all of them), and on all pixels.

Every figure is a ratio of two sums over segments, with an interval from drawing the segments anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atari_vlm.errors import ConfigError, check_positive
from atari_vlm.experience.replay import Replay, Segments
from atari_vlm.scores.statistics import BootstrapConfig, Estimate
from atari_vlm.world_models.rem.losses import Blocks
from atari_vlm.world_models.rem.networks import Networks

Ratios = dict[str, tuple[np.ndarray, np.ndarray]]  # name -> numerators and denominators, float64 (N,) each
_MEDIAN_OF = 1_000  # frames


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
            raise ConfigError(f"every is from 1 to the farthest number of steps ahead, got {self.every!r}")

    @property
    def step(self) -> int:
        """Steps between the beginnings of two segments."""
        return max(self.ahead) if self.every is None else self.every


@dataclass(frozen=True)
class HeldOut:
    """What was measured.

    ``estimates``: ``reward_f1``, ``end_f1`` (0 for a model that foretells nothing; a reward of the wrong sign is both false and
    missed), ``reward_squared_error`` and that of always saying the training data's mean (``mean_reward_squared_error``);
    ``token_accuracy``, ``copy_token_accuracy``, ``changed_token_accuracy`` (of tokens unlike the last frame's); and for each
    number of steps ahead ``changed/<who>/<steps>`` and ``all/<who>/<steps>``, mean absolute differences (0 to 255) from the real
    frame, where ``<who>`` is ``sampled``, ``likeliest`` (every token the most probable one), ``copy`` (of the last real frame),
    ``median`` (the training frames' median) or ``tokenizer`` (the real frame reconstructed, the model's bound); and
    ``sampled_to_copy/<steps>``, ``likeliest_to_copy/<steps>``, below 1 where the model beats the copy on changed pixels; likewise
    ``reward_error_to_mean``, the two squared errors of rewards over the same steps.
    ``counts``: ``steps``, ``segments``, ``positive_rewards``, ``negative_rewards``, ``ends``.
    """

    estimates: dict[str, Estimate]
    counts: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**{name: found.as_dict() for name, found in self.estimates.items()}, "counts": self.counts}


@torch.no_grad()
def measure(networks: Networks, held_out: Replay, training: Replay, config: HeldOutConfig) -> HeldOut:
    """Measure on every step of ``held_out`` but the first ``context - 1`` of each episode; baselines are of ``training``.

    Raises ``ConfigError`` when no episode is long enough for the farthest dream.
    """
    cut = segments(held_out, config)
    if not cut.mask[:, -1].any():
        raise ConfigError(f"no held-out episode has {cut.mask.shape[1]} steps: a context and {max(config.ahead)} ahead")
    networks.world_model.use_codes(networks.tokenizer.codes.weight)
    generator = torch.Generator(networks.tokenizer.codes.weight.device).manual_seed(config.seed)
    kept = training.kept()
    mean_reward = float(_labels(networks, training.read("reward", kept)).mean())
    median = np.median(training.read("image", kept[:: max(1, len(kept) // _MEDIAN_OF)]), axis=0)
    parts: list[Ratios] = []
    for begin in range(0, len(cut.slots), config.batch):
        rows = slice(begin, begin + config.batch)
        frames, blocks = read(networks, held_out, cut.rows(rows))
        found = one_step_ratios(networks, blocks, mean_reward, config)
        parts.append(found | dreamed_ratios(networks, frames, blocks, torch.from_numpy(median), config, generator))
    joined = {name: _join([part[name] for part in parts]) for name in parts[0]}
    joined["reward_error_to_mean"] = (joined["reward_squared_error"][0], joined["mean_reward_squared_error"][0])
    for who in ("sampled", "likeliest"):
        for k in config.ahead:
            joined[f"{who}_to_copy/{k}"] = (joined[f"changed/{who}/{k}"][0], joined[f"changed/copy/{k}"][0])
    return HeldOut(estimate(joined, BootstrapConfig(seed=config.seed)), _counts(held_out, len(cut.slots)))


def segments(replay: Replay, config: HeldOutConfig) -> Segments:
    """All segments: a context, the steps after it, padded on the right where the episode stops sooner."""
    bounds = zip(*replay.bounds(), strict=True)
    begins = [np.arange(first, stop - config.context + 1, config.step) for first, stop in bounds]
    return replay.segments_at(np.concatenate(begins), config.context + max(config.ahead))


def read(networks: Networks, replay: Replay, cut: Segments) -> tuple[Tensor, Blocks]:
    """Segments as real frames uint8 ``(B, T, H, W, 3)`` and as what the world model reads."""
    device = networks.tokenizer.codes.weight.device
    frames = torch.from_numpy(replay.read("image", cut.slots)).to(device)
    actions, rewards, ends = (
        torch.from_numpy(replay.read(name, cut.slots)).to(device) for name in ("action", "reward", "terminated")
    )
    mask = torch.from_numpy(cut.mask).to(device)
    return frames, Blocks(networks.tokenizer.encode(frames), actions, _labels(networks, rewards), ends, mask)


def one_step_ratios(networks: Networks, blocks: Blocks, mean_reward: float, config: HeldOutConfig) -> Ratios:
    """Rewards, ends and tokens one step ahead of real frames; each step of an episode is scored in one segment."""
    predicted = networks.world_model(blocks.tokens, blocks.actions)
    place = torch.arange(blocks.mask.shape[1], device=blocks.mask.device) - (config.context - 1)
    acts = blocks.mask & (place >= 0) & (place < config.step)  # (B, T)
    seen = blocks.mask & (place >= 1) & (place <= config.step)
    expected, truth = networks.world_model.reward.mean(predicted.reward), blocks.rewards
    said = expected.round()
    last = torch.cat([blocks.tokens[:, :1], blocks.tokens[:, :-1]], 1)
    right, moved = predicted.tokens.argmax(-1) == blocks.tokens, last != blocks.tokens  # (B, T, K)
    each = seen[..., None].expand(right.shape)
    return {
        "reward_f1": _f1(said != 0, truth != 0, (said == truth) & (said != 0), acts),
        "end_f1": _f1(predicted.end.argmax(-1) == 1, blocks.ends, (predicted.end.argmax(-1) == 1) & blocks.ends, acts),
        "reward_squared_error": _mean((expected - truth) ** 2, acts),
        "mean_reward_squared_error": _mean((mean_reward - truth) ** 2, acts),
        "token_accuracy": _mean(right, each),
        "copy_token_accuracy": _mean(~moved, each),
        "changed_token_accuracy": _mean(right, each & moved),
    }


def dreamed_ratios(
    networks: Networks,
    frames: Tensor,
    blocks: Blocks,
    median: Tensor,
    config: HeldOutConfig,
    generator: torch.Generator,
) -> Ratios:
    """Differences of dreamed frames, and of what they are compared with, from the real frames."""
    c, farthest = config.context, max(config.ahead)
    likeliest = dream(networks, blocks, c, farthest, None)
    sampled = [dream(networks, blocks, c, farthest, generator) for _ in range(config.draws)]
    last, found = frames[:, c - 1].float(), {}
    for k in config.ahead:
        truth, there = frames[:, c - 1 + k].float(), blocks.mask[:, c - 1 + k, None, None]
        places = {"changed": (truth != last).any(-1) & there, "all": there.expand(truth.shape[:-1])}
        told = {
            "sampled": [networks.tokenizer.decode(draw[:, k - 1]) for draw in sampled],
            "likeliest": [networks.tokenizer.decode(likeliest[:, k - 1])],
            "copy": [last],
            "median": [median.to(last)],
            "tokenizer": [networks.tokenizer.decode(blocks.tokens[:, c - 1 + k])],
        }
        for who, pictures in told.items():
            error = torch.stack([(picture.float() - truth).abs().mean(-1) for picture in pictures]).mean(0)
            for where, mask in places.items():
                found[f"{where}/{who}/{k}"] = _mean(error, mask)
    return found


@torch.no_grad()
def dream(networks: Networks, blocks: Blocks, context: int, steps: int, generator: torch.Generator | None) -> Tensor:
    """Tokens int64 ``(B, steps, K)`` of the frames after the first ``context`` ones, along the blocks' own actions: sampled at
    temperature 1, or without a generator the most likely.
    """
    world, frame, found = networks.world_model, blocks.tokens[:, context - 1], []
    state = world.empty_state(len(frame))
    for t in range(context - 1):
        state, _, _ = world.read(state, blocks.tokens[:, t], blocks.actions[:, t])
    for t in range(context - 1, context - 1 + steps):
        state, _, _ = world.read(state, frame, blocks.actions[:, t])
        frame = world.draw_frame(state, generator, 0.0 if generator is None else 1.0)
        found.append(frame)
    return torch.stack(found, 1)


def estimate(ratios: Ratios, bootstrap: BootstrapConfig) -> dict[str, Estimate]:
    """Each ratio of sums and its interval; 0 where the denominators are."""
    rows = len(next(iter(ratios.values()))[0])
    drawn = np.random.default_rng(bootstrap.seed).integers(rows, size=(bootstrap.repetitions, rows))
    found = {}
    for name, (top, bottom) in ratios.items():
        low, high = bootstrap.interval(_ratio(top[drawn].sum(1), bottom[drawn].sum(1)))
        found[name] = Estimate(float(_ratio(top.sum(), bottom.sum())), float(low), float(high))
    return found


def _ratio(top: Any, bottom: Any) -> Any:
    return np.divide(top, bottom, out=np.zeros_like(np.asarray(top, np.float64)), where=np.asarray(bottom) > 0)


def _mean(values: Tensor, where: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Sums over each row of ``values`` where ``where`` is true, and how many there are."""
    return _per_row(values.double() * where), _per_row(where)


def _f1(said: Tensor, true: Tensor, hits: Tensor, where: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """2 hits / (said + true)."""
    return 2 * _per_row(hits & where), _per_row(said & where) + _per_row(true & where)


def _per_row(values: Tensor) -> np.ndarray:
    sums: np.ndarray = values.flatten(1).double().sum(1).cpu().numpy()
    return sums


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([top for top, _ in parts]), np.concatenate([bottom for _, bottom in parts])


def _labels(networks: Networks, rewards: Any) -> Any:
    """Rewards as the model's reward head knows them."""
    sign = networks.world_model.config.reward == "sign"
    return (torch.sign(rewards) if isinstance(rewards, Tensor) else np.sign(rewards)) if sign else rewards


def _counts(replay: Replay, rows: int) -> dict[str, int]:
    rewards, ends = (replay.read(name, replay.kept()) for name in ("reward", "terminated"))
    return {
        "steps": len(replay),
        "segments": rows,
        "positive_rewards": int((rewards > 0).sum()),
        "negative_rewards": int((rewards < 0).sum()),
        "ends": int(ends.sum()),
    }
