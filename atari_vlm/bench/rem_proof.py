"""The learning proof of REM on pixel Catch: ``python -m atari_vlm.bench.rem_proof --seeds 0 1 2 --out docs/results``.

Each seed trains preset ``tiny`` from nothing on one CPU thread: a tokenizer, a world model, and a policy that learns **only in
imagination**. Then, on 200 games of real Catch with seeds that were never trained on: the return (its optimum is 1), how well
the tokenizer reconstructs, the world model's next tokens against copying the last frame's, and the F1 of rewards and ends.
Runs are kept under ``--save-dir``, continue after any stop, and are not trained again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro

from atari_vlm.bench.measure import machine
from atari_vlm.errors import AtariVLMError
from atari_vlm.files import atomic_write
from atari_vlm.training.rem_games import GameConfig, RemGame
from atari_vlm.training.rem_learner import Metrics, RemLearner
from atari_vlm.training.rem_settings import preset
from atari_vlm.training.rem_trainer import RemRun, RemTrainer
from atari_vlm.training.replay_buffer import ReplayBuffer, ReplayConfig
from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.wrappers import WorldModelEnv

GAME = "AtariVLMProof/Catch-v0"
GAMES, HELD_OUT_SEED = 200, 900_001


@dataclass(frozen=True)
class ProofConfig:
    """What to train and where to write."""

    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    save_dir: Path = Path("runs/rem_catch")
    out: Path = Path("docs/results")


def train_one(folder: Path, seed: int) -> dict[str, Any]:
    """Train (or continue, or read) one seed; what was measured, as plain data."""
    done = folder / "proof.json"
    if done.is_file():
        found: dict[str, Any] = json.loads(done.read_text())
        return found
    settings = preset("tiny", 3)

    def watch(epoch: int, metrics: Metrics) -> None:
        if "evaluation/return" in metrics:
            shown = f"seed {seed}, epoch {epoch}/{settings.epochs}: return {metrics['evaluation/return']:.2f}"
            print(shown, file=sys.stderr)

    trainer = RemTrainer(RemRun(folder, GAME, settings, seed=seed, report=watch))
    trainer.train()
    lines = trainer.log.lines
    seconds = sum(line["epoch/cpu_seconds"] for line in lines)
    curve = [(line["epoch"], line["evaluation/return"]) for line in lines if "evaluation/return" in line]
    games = trainer.evaluate(GAMES)
    found = {"seed": seed, "cpu_seconds": seconds, "steps": trainer.replay.written, "curve": curve}
    found |= {"return": float(np.mean(games.returns)), "games": GAMES, **held_out(trainer.learner)}
    atomic_write(done, json.dumps(found))
    return found


def held_out(learner: RemLearner) -> dict[str, float]:
    """The world model on 100 games that a random player plays."""
    replay, rng = ReplayBuffer(ReplayConfig(1_000, 64)), np.random.default_rng(HELD_OUT_SEED)
    game = RemGame(GameConfig(GAME))
    for index in range(100):
        game.reset(HELD_OUT_SEED + index)
        ended = False
        while not ended:
            frame, action = game.frame, int(rng.integers(3))
            moved = game.step(action)
            ended = moved.terminated or moved.truncated
            replay.add(frame, action, moved.reward, moved.terminated, moved.truncated)
    own, learner.replay, cache = learner.replay, replay, learner.cache
    learner.cache = type(cache)(replay, cache.tokens.shape[1])
    try:
        return _scores(learner, replay, rng)
    finally:
        learner.replay, learner.cache = own, cache


@torch.no_grad()
def _scores(learner: RemLearner, replay: ReplayBuffer, rng: np.random.Generator) -> dict[str, float]:
    networks, context = learner.networks, learner.settings.world_model.context
    segments = replay.segments(300, learner.settings.world_model.length, rng, least=context + 1)
    blocks = learner.blocks(segments)
    on_tokens, on_acts = blocks.scored(context)
    predicted = networks.world_model(blocks.tokens, blocks.actions)
    guess = predicted.tokens.argmax(-1)
    copied = torch.cat([blocks.tokens[:, :1], blocks.tokens[:, :-1]], 1)
    truth = torch.from_numpy(replay.frames(segments.slots)).float()
    changed = _frames(networks, copied), _frames(networks, guess), _frames(networks, blocks.tokens)
    moved = (truth - torch.cat([truth[:, :1], truth[:, :-1]], 1)).abs().amax(-1) > 0  # (B, T, H, W)
    where = moved & on_tokens[:, :, None, None]
    errors = [((frames - truth).abs().mean(-1) * where).sum() / where.sum() for frames in changed]
    all_frames = torch.from_numpy(replay.frames(np.arange(len(replay))))
    decoded = networks.tokenizer.decode(networks.tokenizer.encode(all_frames))
    reward = networks.world_model.reward.mean(predicted.reward).round()
    return {
        "reconstruction_error": float((decoded.float() - all_frames.float()).abs().mean()),
        "token_accuracy": float((guess == blocks.tokens).float().mean(-1)[on_tokens].mean()),
        "copy_accuracy": float((copied == blocks.tokens).float().mean(-1)[on_tokens].mean()),
        "copy_changed_error": float(errors[0]),
        "model_changed_error": float(errors[1]),
        "tokenizer_changed_error": float(errors[2]),
        "reward_f1": _f1(
            reward[on_acts] != 0, blocks.rewards[on_acts] != 0, reward[on_acts] == blocks.rewards[on_acts]
        ),
        "end_f1": _f1(predicted.end.argmax(-1)[on_acts] == 1, blocks.ends[on_acts], None),
    }


def _frames(networks: Any, tokens: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = networks.tokenizer.decode(tokens).float()
    return found


def _f1(said: torch.Tensor, true: torch.Tensor, right: torch.Tensor | None) -> float:
    """F1 of an event; with ``right``, an event that was said with the wrong sign counts as missed and as false."""
    hits = (said & true & (right if right is not None else torch.ones_like(true))).sum()
    return float(2 * hits / (said.sum() + true.sum()).clamp(min=1))


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The results page."""
    returns = np.array([row["return"] for row in rows])
    columns = {
        "return": "{:.3f}", "cpu_seconds": "{:.0f}", "steps": "{}", "reconstruction_error": "{:.2f}",
        "token_accuracy": "{:.3f}", "copy_accuracy": "{:.3f}", "model_changed_error": "{:.1f}",
        "copy_changed_error": "{:.1f}", "tokenizer_changed_error": "{:.1f}", "reward_f1": "{:.3f}", "end_f1": "{:.3f}",
    }  # fmt: skip
    lines = [f"| seed | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        lines.append(f"| {row['seed']} | {' | '.join(form.format(row[name]) for name, form in columns.items())} |")
    curves = "\n".join(f"- seed {row['seed']}: " + ", ".join(f"{e}: {r:.2f}" for e, r in row["curve"]) for row in rows)
    info = machine()
    return (
        "# REM learns Catch in imagination\n\n"
        "Pixel Catch (8 x 8 cells, 64 x 64 pixels, one ball a game, optimum 1), preset `tiny`, one CPU thread, made by\n"
        "`python -m atari_vlm.bench.rem_proof --seeds " + " ".join(str(row["seed"]) for row in rows) + "`.\n\n"
        f"Mean return over {len(rows)} seed(s): **{returns.mean():.3f}**{_interval(returns)}; each seed's return is the "
        f"mean of {GAMES} real games on seeds that were never trained on,\nat temperature 0.5. The goal is 0.9 within "
        f"900 CPU seconds: {sum(_reached(row) for row in rows)} of {len(rows)} seed(s) reached it.\n\n"
        + "\n".join(lines)
        + "\n\n`steps` are real steps played. Errors are mean absolute differences of pixels (0 to 255); `..._changed_error`\n"
        "counts only pixels that changed from one frame to the next, one step ahead, for the model's likeliest tokens, for a\n"
        "copy of the last frame and for the tokenizer on the true frame (the least that can be reached). All but `return`\n"
        "are on 100 held-out games of a random player.\n\n"
        "Return of the evaluations while training (epoch: mean of 50 games, at the end of 200, at temperature 0.5):\n\n"
        f"{curves}\n\nHardware: {info['cpu']}, Python {info['python']}; "
        + ", ".join(f"{name} {version}" for name, version in info["versions"].items())
        + ".\n"
    )


def _interval(returns: np.ndarray) -> str:
    """A 95 % interval from seeds by the bootstrap; none for fewer than three."""
    if len(returns) < 3:
        return " (too few seeds for an interval)"
    rng = np.random.default_rng(0)
    means = rng.choice(returns, (10_000, len(returns))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f" [{low:.3f}, {high:.3f}] (95 %, bootstrap over seeds)"


def _reached(row: dict[str, Any]) -> bool:
    return bool(row["return"] >= 0.9 and row["cpu_seconds"] <= 900)


def run(config: ProofConfig) -> int:
    """Train every seed and write the page; 0 when all reach the goal, else 3."""
    torch.set_num_threads(1)
    if GAME not in gymnasium.registry:
        gymnasium.register(GAME, lambda **options: WorldModelEnv(CatchWorldModel(), **options))
    rows = [train_one(config.save_dir / f"seed-{seed}", seed) for seed in config.seeds]
    atomic_write(config.out / "rem_catch.md", to_markdown(rows))
    atomic_write(config.out / "rem_catch.json", json.dumps(rows, indent=1) + "\n")
    print(to_markdown(rows))
    return 0 if all(_reached(row) for row in rows) else 3


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    try:
        return run(tyro.cli(ProofConfig, args=argv, prog="python -m atari_vlm.bench.rem_proof", description=__doc__))
    except AtariVLMError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
