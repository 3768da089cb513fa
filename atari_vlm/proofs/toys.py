"""REM learns a toy game in imagination: ``python -m atari_vlm.proofs.toys --game catch --out docs/results``.

Each seed trains preset ``tiny`` from nothing on one CPU thread: a tokenizer, a world model, and a policy that learns **only in
imagination**. Then, on seeds that were never trained on: the mean return of 200 real games, and on 100 further games how well
tokenizer and world model predict them (see ``rem_held_out``). ``--game`` is pixel Catch (``catch``), a Catch of
5 x 5 cells that takes a minute (``small-catch``), or one-paddle Pong (``solo-pong``), in which it takes two pictures to see
where the ball flies.
Runs are kept under ``--save-dir``, continue after any stop, and are not trained again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
import tyro

from atari_vlm.actions import Action, random_actions
from atari_vlm.ending import program
from atari_vlm.evaluation.fidelity import HeldOutConfig, measure
from atari_vlm.experience.replay import Replay, picture_columns
from atari_vlm.files import atomic_write
from atari_vlm.proofs.pages import shown
from atari_vlm.proofs.pictures import frame_strip
from atari_vlm.proofs.toys_page import plot, to_markdown
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.games import GameConfig, facts_of, make_game
from atari_vlm.training.imagination.lanes import GameStep
from atari_vlm.training.imagination.media import MediaConfig
from atari_vlm.training.imagination.playing import Playing, play_games
from atari_vlm.training.imagination.trainer import TrainingRun, WorldModelTrainer
from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.world_models.learned.learner import Metrics
from atari_vlm.world_models.rem.learner import make_learner
from atari_vlm.world_models.rem.settings import RemSettings, preset
from atari_vlm.world_models.toy_pong import SoloPongWorldModel
from atari_vlm.wrappers import WorldModelEnv

HELD_OUT_SEED, HELD_OUT_GAMES, GAMES = 900_001, 100, 200


@dataclass(frozen=True)
class Toy:
    """An exact tiny game: its gymnasium id, its best return, how far ahead its frames are predicted, what is changed of
    preset ``tiny`` to learn it, and the seeds whose runs were looked at to choose that.
    """

    title: str
    size: str
    id: str
    make: Callable[[], Any]
    optimum: float
    ahead: tuple[int, ...]
    changes: dict[str, Any]
    looked_at: tuple[int, ...] = (0, 1)


TOYS = {
    "catch": Toy(
        "pixel Catch", "8 x 8 cells, 64 x 64 pixels", "AtariVLMProof/Catch-v0", CatchWorldModel, 1.0, (1, 5), {}
    ),
    "small-catch": Toy(
        "small pixel Catch", "5 x 5 cells, 20 x 20 pixels", "AtariVLMProof/SmallCatch-v0",
        lambda: CatchWorldModel(5, 5, cell_px=4), 1.0, (1, 2),
        {
            "networks": {"tokenizer": {"frame_px": 20, "channels": [8, 16, 24], "code_dim": 16, "num_codes": 16}},
            "tokenizer": {"updates": {"steps": 50, "last_epoch": 4}},
            "world_model": {"length": 5, "updates": {"batch": 16, "steps": 40, "first_epoch": 5}},
            "actor_critic": {"horizon": 6, "burn_in": 3, "updates": {"first_epoch": 8, "steps": 35}},
            "play": {"steps": 100}, "epochs": 20, "checkpoint_every": 10,
        },
    ),
    "solo-pong": Toy(
        "one-paddle Pong", "8 x 8 cells, 64 x 64 pixels", "AtariVLMProof/SoloPong-v0", SoloPongWorldModel, 3.0, (1, 5),
        {
            "networks": {"tokenizer": {"norm": "place"}},
            "tokenizer": {"warm_up": 120, "moving": 2.0, "updates": {"learning_rate": 5e-4, "steps": 60}},
            "epochs": 48, "world_model": {"updates": {"steps": 80}},
            "actor_critic": {"updates": {"first_epoch": 28, "steps": 60}},
        },
        looked_at=(0, 1, 2, 3, 4),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ProofConfig:
    """What to train and where to write."""

    game: Literal["catch", "small-catch", "solo-pong"] = "catch"
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    save_dir: Path = Path("runs/rem_proof")
    """each run is in <save-dir>/<game>/seed-<seed>"""
    out: Path = Path("docs/results")


def registered(game: str) -> Toy:
    """A toy game whose id gymnasium knows from now on."""
    toy = TOYS[game]
    if toy.id not in gymnasium.registry:
        gymnasium.register(toy.id, lambda **options: WorldModelEnv(toy.make(), **options))
    return toy


def settings_for(game: str) -> RemSettings:
    """Preset ``tiny`` with a game's changes."""
    facts = facts_of(registered(game).id)
    settings: RemSettings = with_changes(preset("tiny", facts), TOYS[game].changes)
    return settings


def train_one(folder: Path, toy: Toy, settings: RemSettings, seed: int) -> dict[str, Any]:
    """Train (or continue, or read) one seed; what was measured, as plain data."""
    done = folder / "proof.json"
    if done.is_file():
        measured: dict[str, Any] = json.loads(done.read_text())
        return measured

    def watch(epoch: int, metrics: Metrics) -> None:
        if "evaluation/return" in metrics:
            shown = f"{folder}, epoch {epoch}/{settings.epochs}: return {metrics['evaluation/return']:.2f}"
            print(shown, file=sys.stderr, flush=True)

    media = MediaConfig(episodes=0)
    run = TrainingRun(folder, facts_of(toy.id), settings, seed, report=watch, media=media)
    trainer = WorldModelTrainer(run, make_learner)
    trainer.train()
    lines = trainer.log.lines
    upto = np.cumsum([line["epoch/cpu_seconds"] for line in lines]).tolist()
    both = list(zip(upto, lines, strict=True))
    held_out = play_held_out(trainer, toy)
    model = trainer.learner.world_model()
    fidelity = measure(model, held_out, trainer.replay, HeldOutConfig(2, toy.ahead, draws=4))
    measured = {
        "seed": seed,
        "cpu_seconds": upto[-1],
        "steps": trainer.replay.written,
        "return": float(np.mean(trainer.play(GAMES).returns)),
        "curve": [(line["epoch"], at, line["evaluation/return"]) for at, line in both if "evaluation/return" in line],
        "losses": [(at, line["world_model/tokens"]) for at, line in both if "world_model/tokens" in line],
        **fidelity.as_dict(),
    }  # fmt: skip
    atomic_write(folder / "frames.png", frame_strip(model, held_out, 2, toy.ahead))
    atomic_write(done, json.dumps(measured))
    return measured


def play_held_out(trainer: WorldModelTrainer, toy: Toy) -> Replay:
    """Games on seeds of their own: every second by random actions, the others by the trained policy of which three in ten
    actions are random.
    """
    policy, generator = trainer.policy, torch.Generator().manual_seed(HELD_OUT_SEED)
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + HELD_OUT_GAMES)
    rngs = [np.random.default_rng(seed) for seed in seeds]
    replay = Replay(picture_columns(policy.inputs["image"].shape), 100 * HELD_OUT_GAMES)

    def explore(row: int, action: Action) -> Action:
        random = random_actions(policy.action_space, (), rngs[row])
        return random if rngs[row].random() < (1.0, 0.3)[row % 2] else action

    def keep(row: int, step: GameStep) -> None:
        replay.add(step.columns())

    playing = Playing(generator, 1.0, lanes=1, watch=keep, explore=explore)
    play_games(lambda: make_game(GameConfig(toy.id), policy.inputs), policy, seeds, playing)
    return replay


def run(config: ProofConfig) -> int:
    """Train every seed and write the page; 0 when all reach the goal, else 3."""
    torch.set_num_threads(1)
    toy = registered(config.game)
    settings = settings_for(config.game)
    folder = config.save_dir / config.game
    rows = [train_one(folder / f"seed-{seed}", toy, settings, seed) for seed in config.seeds]
    page, passed = to_markdown(config.game, toy, rows)
    name = f"rem_{config.game.replace('-', '_')}"
    atomic_write(config.out / f"{name}.png", plot(toy, rows))
    picture = (folder / f"seed-{config.seeds[0]}" / "frames.png").read_bytes()
    atomic_write(config.out / f"{name}_frames.png", picture)
    return shown(config.out, name, page, rows, passed)


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(
        tyro.cli(
            ProofConfig, args=argv, prog="python -m atari_vlm.proofs.toys", description=__doc__
        )
    )


if __name__ == "__main__":
    sys.exit(main())
