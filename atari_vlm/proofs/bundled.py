"""The small vision-language model that ships is made and measured: ``python -m atari_vlm.proofs.bundled``.

A model that begins from nothing plays six games with the bundled player as its teacher (:mod:`apprentice`), on one CPU thread,
resumable: the same command goes on. Its weights go to ``--out``. Then it plays whole default episodes of
``AtariVLM/<Game>-v5`` on held-out seeds through ``load_vlm``, beside random play, and again with every picture blacked out and
with another moment's picture in each one's place, which shows whether it looks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from atari_vlm._lazy import require
from atari_vlm.agents.base import Agent
from atari_vlm.agents.make import make_agent
from atari_vlm.agents.vlm_agent import VLMAgent, VLMAgentOptions
from atari_vlm.conditions import hardware
from atari_vlm.ending import program
from atari_vlm.errors import ConfigError, check_count
from atari_vlm.files import atomic_write
from atari_vlm.proofs.bundled_page import Measured, earlier_returns, to_card, to_markdown
from atari_vlm.proofs.pages import shown
from atari_vlm.proofs.seeing import Blind, Shuffled
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.progress import Quiet
from atari_vlm.runs.rollout import in_parallel, play_episode
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.runs.stopping import stop_on_signals
from atari_vlm.runs.terminal import messages
from atari_vlm.spaces import Env
from atari_vlm.training.tuning.apprentice import ApprenticeConfig, ApprenticeRun, Apprenticeship
from atari_vlm.training.tuning.bases import load_base
from atari_vlm.training.tuning.learner import UpdateConfig
from atari_vlm.training.tuning.merging import write_whole
from atari_vlm.vlm.base import VLM, closing
from atari_vlm.vlm.load import load_vlm
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.onnx.exporting import export
from atari_vlm.vlm.local.onnx.onnx_vlm import OnnxVLM
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny.player import BUNDLED, build_player

LANES = {"Pong": 6, "Breakout": 6, "Freeway": 1, "Boxing": 3, "Kaboom": 2, "Assault": 4}
READING = {"Pong": 9, "Breakout": 3, "Freeway": 1, "Boxing": 6, "Kaboom": 1, "Assault": 2}
FIRST_SEED = 9000  # of evaluation: odd seeds, training has even ones
_LOADING = {
    "onnx": "import sys, pathlib, atari_vlm.vlm.local.onnx.onnx_vlm as m; m.OnnxVLM(pathlib.Path(sys.argv[1]))",
    "torch": "import sys; from atari_vlm.vlm.load import load_vlm; load_vlm('tiny', model=sys.argv[1], device='cpu')",
}


@dataclass(frozen=True)
class BundledConfig:
    """What to make and where."""

    save_dir: Path = Path("runs/bundled")
    """the training run; the same command goes on with it"""
    out: Path = Path("atari_vlm/data/tiny")
    """where the model is written"""
    page: Path = Path("docs/results")
    rounds: int = 165
    reading_rounds: int = 90
    """after them: its eyes rest, and it learns to read what they see; 0 leaves that out"""
    seed: int = 0
    episodes: int = 10
    """held-out seeds of each game"""
    blind_episodes: int = 5
    """those of them that are also played without seeing"""
    games: list[str] = field(default_factory=lambda: list(LANES))
    """the games that are measured; two processes may measure different ones of the same --save-dir"""
    backend: Literal["onnx", "torch"] = "onnx"
    """what runs the model that is measured; their scores are equal within 1e-4"""
    against: Path | None = None
    """a bundled_player.json of an earlier making with the same seeds: the two are compared, in bundled_again.md"""
    make: bool = True
    """whether to train; --no-make measures what lies in --out"""

    def __post_init__(self) -> None:
        check_count(rounds=self.rounds)
        if self.reading_rounds < 0:
            raise ConfigError(f"reading_rounds is 0 or more, got {self.reading_rounds!r}")


class _Lines(Quiet):
    """Progress as one line a round."""

    def say(self, message: str) -> None:
        """Print it with the time."""
        messages().print(f"{time.strftime('%H:%M:%S')} {message}")


def make(config: BundledConfig) -> dict[str, Any]:
    """Train to the end and write the weights and their ONNX form; what was trained, for the card."""
    require("onnx", "onnx-export")  # now, and not after hours
    shape = dataclasses.replace(BUNDLED, fluent=tuple(LANES))
    folder = build_player(config.save_dir / "base", config.seed, shape)
    seeing = ApprenticeConfig(
        lanes=LANES,
        rounds=config.rounds,
        updates=300,
        watching=40,
        look=0.35,
        alone=0.95,
        seed=config.seed,
    )
    updates = config.rounds * seeing.updates
    learning = UpdateConfig(updates=updates, batch_size=32, warm_up=0.01, falling=0.75)
    made = lesson(config.save_dir, folder, seeing, learning)
    whole = config.save_dir / "whole"
    if config.reading_rounds:
        made["reading"] = read(config, whole)
        whole = config.save_dir / "reading" / "whole"
    config.out.mkdir(parents=True, exist_ok=True)
    export(whole)
    for file in whole.iterdir():
        shutil.copyfile(file, config.out / file.name)
    return {
        **made,
        "seed": config.seed,
        "prompt_type": seeing.prompt_type,
        "frames": seeing.frames,
    }


def read(config: BundledConfig, begun: Path) -> dict[str, Any]:
    """The lesson in which what sees stays as it is; most games are of those that it plays worst."""
    reading = ApprenticeConfig(
        lanes=READING,
        rounds=config.reading_rounds,
        updates=40,
        watching=0,
        look=0.0,
        joined=0.0,
        alone=0.95,
        seed=config.seed,
    )
    learning = UpdateConfig(
        updates=config.reading_rounds * reading.updates,
        batch_size=128,
        learning_rate=5e-4,
        warm_up=0.02,
        falling=0.9,
    )
    return lesson(config.save_dir / "reading", begun, reading, learning)


def lesson(
    folder: Path, begun: Path, apprentice: ApprenticeConfig, learning: UpdateConfig
) -> dict[str, Any]:
    """Train in a folder from the weights in another, and write whole ones into ``whole``; what was learned from, for the card."""
    base = load_base("tiny", "new", LocalOptions(device="cpu"), begun)
    folder.mkdir(parents=True, exist_ok=True)
    with stop_on_signals() as stop:
        training = Apprenticeship(ApprenticeRun(folder, base, apprentice, learning, stop, _Lines()))
        try:
            training.train()
        finally:
            training.close()
    shutil.rmtree(folder / "whole", ignore_errors=True)
    write_whole(training.learner.tuned.merge_and_unload(), begun, folder / "whole")
    return {
        "parameters": sum(p.numel() for p in training.learner.weights.values()),
        "decisions": len(training.experience),
        "updates": training.learner.updates,
        "batch_size": learning.batch_size,
        "rounds": apprentice.rounds,
        "lanes": dict(apprentice.lanes),
        "cpu_seconds": training.cpu_seconds,
    }


def measure(config: BundledConfig, made: dict[str, Any]) -> list[Measured]:
    """Whole games of everyone on the same held-out seeds, a file for each game; what was measured is not played again."""
    folder = config.save_dir / f"measured-{weights.digest(config.out)[:12]}"
    folder.mkdir(exist_ok=True)
    seeds = [eval_seed(made["seed"], FIRST_SEED + n) for n in range(config.episodes)]
    found = []
    with closing(_loaded(config)) as vlm:
        players: dict[str, tuple[VLM | None, list[int]]] = {
            "model": (vlm, seeds),
            "random": (None, seeds),
            "black pictures": (Blind(vlm), seeds[: config.blind_episodes]),
            "other moments": (Shuffled(vlm, seed=0), seeds[: config.blind_episodes]),
        }
        for game in config.games:
            kept = folder / f"{game}.json"
            rows: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
            for name, (who, own) in players.items():
                if len(rows.get(name, [])) != len(own):
                    rows[name] = play(game, who, own, made)
                    atomic_write(kept, json.dumps(rows, indent=1) + "\n")
                    messages().print(f"{game}, {name}: {np.mean(rows[name]):.2f}")
            found.append(Measured(game, rows))
    return found


def speed(config: BundledConfig, made: dict[str, Any], decisions: int = 300) -> dict[str, float]:
    """CPU seconds of a fresh Python until the model is there; decisions a CPU second in Pong, the emulator's part included."""
    before = os.times()
    subprocess.run([sys.executable, "-c", _LOADING[config.backend], str(config.out)], check=True)
    after = os.times()
    env = make_env({"game_name": "Pong"})
    try:
        with closing(_loaded(config)) as vlm:
            agent = _agent(env, vlm, made)
            play_episode(env, agent, seed=FIRST_SEED, max_steps=10)
            began = time.process_time()
            play_episode(env, agent, seed=FIRST_SEED, max_steps=decisions)
    finally:
        env.close()
    return {
        "load_cpu_seconds": sum(after[2:4]) - sum(before[2:4]),  # of children
        "decisions_per_cpu_second": decisions / (time.process_time() - began),
    }


def _loaded(config: BundledConfig) -> VLM:
    if config.backend == "onnx":
        return OnnxVLM(config.out)
    return load_vlm("tiny", model=str(config.out), device="cpu")


def play(game: str, vlm: VLM | None, seeds: Sequence[int], made: dict[str, Any]) -> list[float]:
    """Returns of whole episodes, side by side; without a VLM by chance."""

    def one(seed: int) -> float:
        env = make_env({"game_name": game})
        try:
            return play_episode(env, _agent(env, vlm, made), seed=seed).episode_return
        finally:
            env.close()

    return in_parallel(one, seeds, len(seeds), threading.Event())


def _agent(env: Env, vlm: VLM | None, made: dict[str, Any]) -> Agent:
    if vlm is None:
        return make_agent("random", action_space=env.action_space)
    options = VLMAgentOptions(answer="scores", frames=made["frames"])
    return VLMAgent(vlm, prompt_type=made["prompt_type"], options=options)


def run(config: BundledConfig) -> int:
    """Make, measure and write page and card; 0 when every goal was reached, else 3."""
    torch.set_num_threads(1)
    told = config.out / "made.json"
    seed = config.seed if config.make else json.loads(told.read_text())["seed"]
    earlier = None
    if config.against is not None:
        earlier = earlier_returns(config.against, config.games, config.episodes, seed)
    config.save_dir.mkdir(parents=True, exist_ok=True)
    if config.make:
        made = make(config)
        atomic_write(told, json.dumps(made, indent=1) + "\n")
    made = json.loads(told.read_text())
    rows = measure(config, made)
    fast = speed(config, made)
    page, passed = to_markdown(made, rows, fast, hardware(), earlier)
    atomic_write(config.out / "README.md", to_card(made, rows))
    data = {"made": made, "speed": fast, "games": {row.game: row.returns for row in rows}}
    if earlier:
        data["earlier"] = earlier
    name = "bundled_again" if earlier else "bundled_player"
    return shown(config.page, name, page, data, passed)


@program
def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run."""
    return run(
        tyro.cli(
            BundledConfig, args=argv, prog="python -m atari_vlm.proofs.bundled", description=__doc__
        )
    )


if __name__ == "__main__":
    sys.exit(main())
