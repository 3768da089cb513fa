"""A Dreamer learns a small game: ``python -m atari_vlm.proofs.dreamer --game cartpole --out docs/results``.

Each seed trains from nothing on one CPU thread: a world model of the game, and a player that learns **only in imagination** and
from replayed values. ``--game`` is CartPole-v1 (``cartpole``), from vectors; pixel Catch (``catch``); one-paddle Pong
(``solo-pong``), in which one picture does not say where the ball flies; Pendulum-v1 (``pendulum``), whose actions are floats; or
the cue game (``cue``), in which a text says at the first step what is right four steps later.
Then, on seeds that were never trained on, the mean return of further real games. ``--ppo`` trains stable-baselines3's PPO beside
it, ``--without-language`` the same Dreamer without texts, on the same seeds. Runs are kept under ``--save-dir``, continue after
any stop, and are not trained again.
"""

from __future__ import annotations

import dataclasses
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

from atari_vlm.ending import program
from atari_vlm.errors import ConfigError
from atari_vlm.files import atomic_write
from atari_vlm.proofs import dreamer_cue
from atari_vlm.proofs.dreamer_page import plot, to_markdown
from atari_vlm.proofs.dreamer_ppo import ppo_one
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.games import facts_of
from atari_vlm.training.imagination.media import MediaConfig
from atari_vlm.training.imagination.trainer import TrainingRun, WorldModelTrainer
from atari_vlm.world_models.catch import CatchWorldModel
from atari_vlm.world_models.cue import DOORS
from atari_vlm.world_models.dreamer.learner import DreamerLearner, make_learner
from atari_vlm.world_models.dreamer.settings import DreamerSettings, preset
from atari_vlm.world_models.learned.learner import Metrics
from atari_vlm.world_models.toy_pong import SoloPongWorldModel
from atari_vlm.wrappers import WorldModelEnv


@dataclass(frozen=True)
class Game:
    """A game to learn: its gymnasium id (``make`` where this program brings it), the preset, what is changed of it and why, the
    return to reach within so many CPU seconds, how many games say so, the seeds whose runs were looked at to choose all that, and
    what else is measured in the end.
    """

    title: str
    id: str
    preset: str
    changes: dict[str, Any]
    goal: float
    cpu_seconds: float
    games: int = 100
    make: Callable[[], Any] | None = None
    looked_at: tuple[int, ...] = (0,)
    measure: Callable[[DreamerLearner], dict[str, Any]] = lambda learner: {}


_PICTURES = {
    "networks": {
        "deter": 256, "hidden": 64, "groups": 16, "classes": 8, "units": 64, "frame_px": 32, "horizon": 50.0, "fall_off": 2.0,
    }
}  # fmt: skip
_VECTORS = {"fall_off": 2.0, "spread": 0.5, "bins": 41}
GAMES = {
    "cartpole": Game(
        "CartPole-v1", "CartPole-v1", "1m",
        {
            "learning": {
                "batch": 32, "length": 8, "ratio": 0.0625, "prefill": 2000, "learning_rate": 3e-4, "warm_up": 100, "decay": 5000,
            },
            "networks": {"horizon": 100.0, **_VECTORS},
            "behaviour": {"imag_last": 8, "entropy": 0.01, "slow_rate": 0.1},
            "losses": {"reconstruction": 20.0},
            "play": {
                "steps": 800, "envs": 8, "eval_every": 5, "eval_episodes": 10, "final_episodes": 20, "eval_temperature": 0.0,
            },
            "epochs": 100, "capacity": 100_000, "checkpoint_every": 5,
        },
        400.0, 1800.0, games=20,
    ),
    "catch": Game(
        "pixel Catch", "AtariVLMProof/Catch-v0", "tiny",
        {
            **_PICTURES,
            "learning": {"batch": 16, "length": 8, "ratio": 0.125, "prefill": 800, "learning_rate": 1e-3, "decay": 2800},
            "losses": {"reward": 10.0},
            "behaviour": {"imag_last": 8, "steps": 8, "entropy": 0.02, "slow_rate": 0.1},
            "play": {"steps": 400, "envs": 8, "eval_every": 2, "eval_episodes": 50},
            "epochs": 60, "capacity": 40_000,
        },
        0.9, 1200.0, make=CatchWorldModel,
    ),
    "solo-pong": Game(
        "one-paddle Pong", "AtariVLMProof/SoloPong-v0", "tiny",
        {
            **_PICTURES,
            "learning": {"batch": 16, "length": 8, "ratio": 0.125, "prefill": 800, "learning_rate": 1e-3, "decay": 2800},
            "losses": {"reward": 10.0, "reconstruction": 3.0},
            "behaviour": {"imag_last": 8, "steps": 12, "entropy": 0.02, "slow_rate": 0.1},
            "play": {"steps": 400, "envs": 8, "eval_every": 2, "eval_episodes": 50},
            "epochs": 60, "capacity": 40_000,
        },
        2.7, 1800.0, make=SoloPongWorldModel,
    ),
    "pendulum": Game(
        "Pendulum-v1", "Pendulum-v1", "tiny",
        {
            "learning": {"batch": 32, "length": 8, "ratio": 0.0625, "prefill": 2000, "learning_rate": 5e-4, "decay": 3000},
            "networks": {"deter": 256, "hidden": 64, "groups": 16, "classes": 8, "units": 64, "horizon": 50.0, **_VECTORS},
            "behaviour": {"imag_last": 8, "entropy": 1e-3, "slow_rate": 0.1},
            "losses": {"reconstruction": 20.0},
            "play": {"steps": 800, "envs": 8, "eval_every": 5, "eval_episodes": 10, "eval_temperature": 0.0},
            "epochs": 60, "capacity": 50_000,
        },
        -400.0, 1800.0, games=20,
    ),
    "cue": Game(
        "the cue game", "AtariVLMProof/Cue-v0", "tiny",
        {
            "networks": {
                "hidden": 64, "units": 64, "frame_px": 16, "horizon": 50.0, "fall_off": 2.0,
                "language": {"tokenizer": "words", "words": DOORS, "width": 16},
            },
            "learning": {"batch": 24, "length": 12, "ratio": 0.125, "prefill": 800, "learning_rate": 1e-3},
            "losses": {"reward": 10.0},
            "behaviour": {"imag_last": 6, "steps": 6, "entropy": 0.02},
            "play": {"steps": 400, "envs": 8, "eval_every": 2, "eval_episodes": 50},
            "epochs": 24, "capacity": 20_000,
        },
        0.9, 600.0, make=dreamer_cue.make, measure=dreamer_cue.measured,
    ),
}  # fmt: skip
GAMES["cue-without-language"] = dataclasses.replace(
    GAMES["cue"],
    changes=dreamer_cue.without_language(GAMES["cue"].changes),
    goal=dreamer_cue.BLIND,
    measure=lambda learner: {},
)


@dataclass(frozen=True)
class ProofConfig:
    """What to train and where to write."""

    game: Literal["cartpole", "catch", "solo-pong", "pendulum", "cue"] = "cartpole"
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    epochs: int | None = None
    """stop there; without it the same runs go on to the end of the time that the game is given"""
    ppo: bool = False
    """train stable-baselines3's PPO beside it"""
    without_language: bool = False
    """of the cue game: train the control beside it that reads no texts"""
    save_dir: Path = Path("runs/dreamer_proof")
    """each run is in <save-dir>/<game>/seed-<seed>"""
    out: Path = Path("docs/results")


def registered(name: str) -> Game:
    """A game whose id gymnasium knows from now on."""
    game = GAMES[name]
    if game.make is not None and game.id not in gymnasium.registry:
        make = game.make
        gymnasium.register(game.id, lambda **options: WorldModelEnv(make(), **options))
    return game


def settings_for(name: str, epochs: int | None = None) -> DreamerSettings:
    """The preset of a game with its changes."""
    game = registered(name)
    settings: DreamerSettings = with_changes(preset(game.preset, facts_of(game.id)), game.changes)
    return settings if epochs is None else dataclasses.replace(settings, epochs=epochs)


def train_one(folder: Path, name: str, seed: int, epochs: int | None = None) -> dict[str, Any]:
    """Train (or continue, or read) one seed; what was measured, as plain data."""
    game, settings = registered(name), settings_for(name, epochs)
    done = folder / f"proof-{settings.epochs}.json"
    if done.is_file():
        known: dict[str, Any] = json.loads(done.read_text())
        return known
    measured = trained(folder, game, settings, seed)
    atomic_write(done, json.dumps(measured))
    return measured


def trained(folder: Path, game: Game, settings: DreamerSettings, seed: int) -> dict[str, Any]:
    """Train a seed in its folder, or go on there, and measure it; errors as of ``WorldModelTrainer``."""

    def watch(epoch: int, metrics: Metrics) -> None:
        if "evaluation/return" in metrics:
            told = f"{folder}, epoch {epoch}/{settings.epochs}: return {metrics['evaluation/return']:.2f}"
            print(told, file=sys.stderr, flush=True)

    media = MediaConfig(episodes=0)
    run = TrainingRun(folder, facts_of(game.id), settings, seed, report=watch, media=media)
    trainer = WorldModelTrainer(run, make_learner)
    try:
        trainer.train()
        lines = trainer.log.lines
        returns = trainer.play(game.games).returns
        assert isinstance(trainer.learner, DreamerLearner)
        also = game.measure(trainer.learner)
    finally:
        trainer.close()
    upto = np.cumsum([line["epoch/cpu_seconds"] for line in lines]).tolist()
    played, both = settings.play.steps, list(zip(upto, lines, strict=True))
    return {
        "seed": seed,
        "cpu_seconds": upto[-1],
        "steps": played * len(lines),
        "return": float(np.mean(returns)),
        "returns": returns,
        "curve": [
            (line["epoch"] * played, at, line["evaluation/return"])
            for at, line in both
            if "evaluation/return" in line
        ],
        "losses": [
            (at, line["dreamer/reconstruction"])
            for at, line in both
            if "dreamer/reconstruction" in line
        ],
        **also,
    }


def run(config: ProofConfig) -> int:
    """Train every seed and write the page; 0 when all reach the goal, else 3."""
    control = f"{config.game}-without-language"
    if config.without_language and control not in GAMES:
        raise ConfigError(f"--without-language is a control of the cue game, not of {config.game}")
    torch.set_num_threads(1)
    game, folder = registered(config.game), config.save_dir / config.game
    rows = _trained(config, config.game)
    beside = [ppo_one(folder, game, seed) for seed in config.seeds] if config.ppo else []
    blind = _trained(config, control) if config.without_language else []
    words = f"--seeds {' '.join(map(str, config.seeds))}"
    words += f" --epochs {config.epochs}" if config.epochs else ""
    words += " --ppo" if config.ppo else ""
    words += " --without-language" if blind else ""
    more, held = dreamer_cue.to_markdown(rows, blind)
    page, passed = to_markdown(f"--game {config.game} {words}", game, rows, beside, more)
    name = f"dreamer_{config.game.replace('-', '_')}"
    atomic_write(config.out / f"{name}.md", page)
    data = {"dreamer": rows, "ppo": beside, **({"without_language": blind} if blind else {})}
    atomic_write(config.out / f"{name}.json", json.dumps(data, indent=1) + "\n")
    atomic_write(config.out / f"{name}.png", plot(game, rows, beside, blind))
    print(page)
    return 0 if passed and held else 3


def _trained(config: ProofConfig, name: str) -> list[dict[str, Any]]:
    """Every seed of a game."""
    folder = config.save_dir / name
    return [train_one(folder / f"seed-{seed}", name, seed, config.epochs) for seed in config.seeds]


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    prog = "python -m atari_vlm.proofs.dreamer"
    return run(tyro.cli(ProofConfig, args=argv, prog=prog, description=__doc__))


if __name__ == "__main__":
    sys.exit(main())
