"""A copy of the bundled player that is stopped on the way: where reinforcement begins in :mod:`atari_vlm.proofs.tune_rl`."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import RunError, StoppedError
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import parse_games
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.training.tuning.bases import load_base
from atari_vlm.training.tuning.learner import UpdateConfig
from atari_vlm.training.tuning.running import TimeLimit
from atari_vlm.training.tuning.sft import ImitationTrainer, Lessons, TuningRun
from atari_vlm.training.tuning.sources import TeachingConfig, played_episodes
from atari_vlm.training.tuning.turns import Lane, whole_games
from atari_vlm.vlm.local.adapter import AdapterCard, described, prompt_version_of, save_adapter
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.tiny.player import FAMILY, NEW, build_player

_ROOM, _GAMES, _LANES = 8_000, 40, 20  # seeds beyond those of evaluation and of what is shown
_TEACHING = TeachingConfig(episodes=64, held_out=2)
_UPDATES = UpdateConfig(updates=600)


class HalfWay(TimeLimit):
    """Stops a training, at the end of a round, as soon as its whole games return ``wanted`` on average."""

    def __init__(self, game: str, seed: int, wanted: float):
        super().__init__()
        self.game, self.seed, self.wanted = game, seed, wanted
        self.trainer: ImitationTrainer | None = None
        self.returns: list[float] = []

    def check(self, done: str) -> None:
        """Play, and raise ``StoppedError`` where that is enough."""
        assert self.trainer is not None
        lanes = [self._lane(number) for number in range(_LANES)]
        try:
            self.returns = whole_games(lanes, self.trainer.learner.log_probs, _GAMES)
        finally:
            for lane in lanes:
                lane.close()
        if np.mean(self.returns) >= self.wanted:
            raise StoppedError(done)

    def _lane(self, number: int) -> Lane:
        def seeds(episode: int) -> int:
            return eval_seed(self.seed, _ROOM + episode * _LANES + number)

        env = make_env({"game_name": self.game})
        return Lane(env, "basic", VLMAgentOptions(frames=2), seeds, 1000)


def copied(folder: Path, half: HalfWay, every: int) -> dict[str, Any]:
    """Imitate from nothing until whole games, played ``every`` so many updates, are good enough, and write ``folder/adapter``.

    Returns what it took. ``RunError`` where all updates were made before that.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.process_time()
    half.trainer = trainer = ImitationTrainer(_run(folder, half, every))
    try:
        trainer.train()
        raise RunError(f"the copy of {half.game}, seed {half.seed}, never returned {half.wanted:g}")
    except StoppedError:
        pass
    learner, card = trainer.learner, trainer.run.card
    save_adapter(
        folder / "adapter", learner.tuned, learner.layers, described(card, updates=learner.updates)
    )
    return {
        "copy_return": float(np.mean(half.returns)),
        "copy_updates": learner.updates,
        "copy_cpu_seconds": time.process_time() - began,
    }


def _run(folder: Path, half: HalfWay, every: int) -> TuningRun:
    game, seed = half.game, half.seed
    base = load_base(FAMILY, NEW, LocalOptions(device="cpu"), build_player(folder / "base", seed))
    lessons = Lessons.of(
        list(played_episodes("scripted", parse_games(game), replace(_TEACHING, seed=seed)))
    )
    card = AdapterCard(
        base=base.family,
        model=base.model,
        model_type=base.model_type,
        weights=base.weights,
        prompt_type="basic",
        prompt_version=prompt_version_of("basic"),
        games=(game,),
        seed=seed,
        method="full",
        source="scripted",
    )
    return TuningRun(
        folder, base, lessons, "full", _UPDATES, card, seed, eval_every=every, limit=half
    )
