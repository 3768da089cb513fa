"""REM's world model on ALE Pong: ``python -m atari_vlm.proofs.ale_pong --seeds 0 --save-dir runs/rem_pong --out docs/results``.

Plays 2,000 steps (the first 500 of four games, every second by random actions, the others by the scripted player with half of
its actions random), trains a tokenizer and a world model from those steps alone on one CPU thread, and measures on the first 500
of eight other games: are rewards foretold, are frames 1, 5 and 10 steps ahead better than a copy of the last one? No policy is
trained.
A run continues after any stop, and is not trained again; see ``rem_held_out`` for what is measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium.spaces import Box, Discrete

from atari_vlm.agents.simple import ScriptedAgent
from atari_vlm.ending import program
from atari_vlm.evaluation.fidelity import HeldOutConfig, measure
from atari_vlm.experience.episode_files import read_data_set, write_episodes
from atari_vlm.experience.episodes import DataSet, Episode, fill_replay
from atari_vlm.experience.replay import Replay, picture_columns
from atari_vlm.files import atomic_write
from atari_vlm.proofs.ale_pong_page import to_markdown, write_pictures
from atari_vlm.runs.rollout import play_episode
from atari_vlm.training.imagination.games import GameConfig, make_game
from atari_vlm.training.imagination.trainer import TrainingRun, WorldModelTrainer
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.world_models.learned.learner import OFFLINE, GameFacts, Metrics
from atari_vlm.world_models.learned.schedule import ActorCriticTraining, Updates
from atari_vlm.world_models.rem.learner import make_learner
from atari_vlm.world_models.rem.settings import (
    RemConfig,
    RemSettings,
    TokenizerConfig,
    TokenizerTraining,
    WorldModelConfig,
    WorldModelTraining,
)
from atari_vlm.world_models.seeing import as_seen

HELD_OUT_SEED = 950_001
MEASURED = HeldOutConfig(context=4, ahead=tuple(range(1, 11)), draws=4)


@dataclass(frozen=True)
class Pieces:
    """How much is played: ``training`` and ``held_out`` pieces of ``steps`` steps each (one ends sooner with its game)."""

    training: int = 4
    held_out: int = 8
    steps: int = 500


@dataclass(frozen=True)
class PongConfig:
    """What to train and where to write."""

    seeds: list[int] = field(default_factory=lambda: [0])
    save_dir: Path = Path("runs/rem_pong")
    out: Path = Path("docs/results")


def pong_settings(num_actions: int) -> RemSettings:
    """Between ``tiny`` and ``rem``: some ten minutes of one CPU thread. The tokenizer is finished before the world model
    begins, so that its codes stand still; the actor-critic is never trained.
    """
    return RemSettings(
        RemConfig(
            num_actions,
            TokenizerConfig(channels=(16, 32, 64, 96), code_dim=64, num_codes=128, norm="place"),
            WorldModelConfig(
                width=128, num_layers=2, num_heads=4, ffn_width=256, decay_unit="block", decay_blocks=(2.0, 8.0),
                place_embedding=True,
            ),
        ),
        tokenizer=TokenizerTraining(
            Updates(learning_rate=3e-4, batch=8, steps=100, last_epoch=30),
            restart_unused=50, codes_from_batch=True, warm_up=800, moving=2.0,
        ),
        world_model=WorldModelTraining(
            Updates(learning_rate=1e-3, batch=8, steps=50, first_epoch=31, max_norm=10.0, micro_batch=8), length=8
        ),
        actor_critic=ActorCriticTraining(Updates(first_epoch=63)),
        epochs=62,
        checkpoint_every=4,
    )  # fmt: skip


class HalfRandom:
    """Random play, or the scripted player with half of its actions replaced by random ones."""

    def __init__(self, num_actions: int, scripted: bool):
        self.num_actions, self.scripted, self._agent = num_actions, scripted, ScriptedAgent()

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode."""
        self._agent.reset(seed=seed)
        self._rng = np.random.default_rng([seed or 0, 0x504F4E47])

    def act(self, observation: Any) -> Decision:
        """Choose an action."""
        action, scripted = (
            int(self._rng.integers(self.num_actions)),
            int(self._agent.act(observation).action),
        )
        follows = self.scripted and self._rng.random() < 0.5
        return Decision(scripted if follows else action, Source.POLICY)

    def observe(self, transition: Transition) -> None:
        """Tell the scripted player."""
        self._agent.observe(transition)


def collect(first_seed: int, pieces: int, steps: int) -> DataSet:
    """``pieces`` beginnings of games of ``steps`` steps, seeds from ``first_seed``; every second is random play."""
    game = make_game(GameConfig("Pong-v5"))
    names = game.facts.action_names
    played: list[Episode] = []
    for index in range(pieces):
        rows: list[Transition] = []
        agent = HalfRandom(len(names), scripted=bool(index % 2))
        play_episode(game.env, agent, seed=first_seed + index, max_steps=steps, on_step=rows.append)
        played.append(_episode(rows, names))
    game.close()
    return DataSet(played, game.action_space, names)


def _episode(rows: Sequence[Transition], names: tuple[str, ...]) -> Episode:
    space = Box(0, 255, (64, 64, 3), np.uint8)
    return Episode(
        {"image": np.stack([as_seen(row.observation["image"], space) for row in rows])},
        np.array([row.decision.action for row in rows], np.int64),
        np.array([row.reward for row in rows], np.float32),
        np.array([row.terminated for row in rows]),
        np.array([row.truncated for row in rows]),
        action_names=names,
    )


def recorded(path: Path, first_seed: int, pieces: int, steps: int) -> DataSet:
    """The steps of a file, which are played first if they are not there yet."""
    if not path.is_file():
        write_episodes(path, collect(first_seed, pieces, steps).episodes)
    return read_data_set(str(path))


def train(folder: Path, steps: DataSet, settings: RemSettings, seed: int) -> WorldModelTrainer:
    """Train from ``steps`` alone, or go on from the newest checkpoint."""

    def watch(epoch: int, metrics: Metrics) -> None:
        names = ("tokenizer/perceptual", "world_model/tokens", "world_model/accuracy")
        shown = ", ".join(f"{name} {metrics[name]:.4f}" for name in names if name in metrics)
        print(f"seed {seed}, epoch {epoch}/{settings.epochs}: {shown}", file=sys.stderr, flush=True)

    space = Discrete(steps.num_actions)
    facts = GameFacts(OFFLINE, {}, space, steps.action_names, frame_skip=4)
    run = TrainingRun(folder, facts, settings, seed, report=watch)
    trainer = WorldModelTrainer(run, make_learner)
    if trainer.epoch == 0:
        fill_replay(trainer.replay, steps)
    trainer.train()
    return trainer


def replay_of(steps: DataSet, frame_px: int) -> Replay:
    """A replay that holds exactly these steps."""
    replay = Replay(picture_columns((frame_px, frame_px, 3)), steps.num_steps + 1)
    fill_replay(replay, steps)
    return replay


def prove_one(
    config: PongConfig, seed: int, settings: RemSettings | None = None, pieces: Pieces | None = None
) -> Any:
    """Play, train and measure one seed, or what is missing of it; plain data (see :class:`~rem_held_out.HeldOut`)."""
    folder, amount = config.save_dir / f"seed-{seed}", pieces or Pieces()
    held_out = recorded(
        config.save_dir / "held_out.npz", HELD_OUT_SEED, amount.held_out, amount.steps
    )
    steps = recorded(folder / "steps.npz", 1_000 * seed, amount.training, amount.steps)
    settings = settings or pong_settings(steps.num_actions)
    trainer = train(folder, steps, settings, seed)
    done = folder / "proof.json"
    if not done.is_file():
        model, px = trainer.learner.world_model(), settings.networks.tokenizer.frame_px
        measured = measure(model, replay_of(held_out, px), trainer.replay, MEASURED).as_dict()
        trained_on = {frame.tobytes() for episode in steps.episodes for frame in episode.pictures}
        rewards = np.concatenate([episode.rewards for episode in steps.episodes])
        known = [
            frame.tobytes() in trained_on
            for episode in held_out.episodes
            for frame in episode.pictures
        ]
        measured |= {
            "seed": seed,
            "training_steps": steps.num_steps,
            "training_rewards": [int((rewards > 0).sum()), int((rewards < 0).sum())],
            "known_frames": float(np.mean(known)),
            "lines": [
                line
                for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
            ],
        }
        atomic_write(done, json.dumps(measured))
        write_pictures(folder, measured, model, replay_of(held_out, px))
    return json.loads(done.read_text())


def run(config: PongConfig) -> int:
    """Prove every seed and write the page; 0 when every seed beats both baselines, else 3."""
    torch.set_num_threads(1)
    rows = [prove_one(config, seed) for seed in config.seeds]
    page = to_markdown(rows)
    atomic_write(config.out / "rem_pong.md", page)
    short = [{name: value for name, value in row.items() if name != "lines"} for row in rows]
    atomic_write(config.out / "rem_pong.json", json.dumps(short, indent=1) + "\n")
    for name in ("curves", "frames"):
        picture = (config.save_dir / f"seed-{config.seeds[0]}" / f"{name}.png").read_bytes()
        atomic_write(config.out / f"rem_pong_{name}.png", picture)
    print(page)
    return 0 if all(beaten(row) for row in rows) else 3


def beaten(row: dict[str, Any]) -> bool:
    """Whether one seed beats the mean-reward baseline and, at 1, 5 and 10 steps, the copy, each with its whole interval."""
    better = all(row[f"sampled_to_copy/{k}"]["high"] < 1 for k in (1, 5, 10))
    return better and row["reward_error_to_mean"]["high"] < 1 and row["reward_f1"]["low"] > 0


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(
        tyro.cli(
            PongConfig, args=argv, prog="python -m atari_vlm.proofs.ale_pong", description=__doc__
        )
    )


if __name__ == "__main__":
    sys.exit(main())
