"""A copy of the bundled player that is stopped on the way: where reinforcement begins in :mod:`atari_vlm.proofs.tune_rl`."""

from __future__ import annotations

import copy
import shutil
import time
from dataclasses import dataclass, replace
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
_AGAIN = 1_000  # a copy's games on other seeds than those that chose it
_CLOSE, _LEAST_PART = 0.1, 1 / 16
_TEACHING = TeachingConfig(episodes=64, held_out=2)
_UPDATES = UpdateConfig(updates=600)


@dataclass(frozen=True)
class Looked:
    """Weights after so many ``updates``, and what their whole games return."""

    updates: int
    returns: list[float]
    arrays: dict[str, np.ndarray]

    @property
    def mean(self) -> float:
        """Of the returns."""
        return float(np.mean(self.returns))


class HalfWay(TimeLimit):
    """Stops a training, at the end of a round, as soon as its whole games return ``wanted`` on average.

    Weights may pass it between two rounds, or by a single update: the last round's updates are then made again, halved until
    whole games return ``wanted`` within a tenth, and the last update in parts. :attr:`nearest` is the newest look that came
    nearest to it.
    """

    def __init__(self, game: str, seed: int, wanted: float):
        super().__init__()
        self.game, self.seed, self.wanted = game, seed, wanted
        self.looks: list[tuple[int, float]] = []
        self.nearest: Looked | None = None

    def begin(self, trainer: ImitationTrainer) -> None:
        """Look at the weights that imitation begins with."""
        self.trainer = trainer
        self._before = self._look()

    def check(self, done: str) -> None:
        """Play, and raise ``StoppedError`` where that is enough, with the nearest weights restored."""
        here = self._look()
        if here.mean < self.wanted:
            self._before = here
            return
        self._halve(here)
        assert self.nearest is not None
        self._restore(self.nearest)
        raise StoppedError(done)

    def played(self, first: int = 0) -> list[float]:
        """Returns of whole games; those from another ``first`` have other seeds."""
        lanes = [self._lane(first + number) for number in range(_LANES)]
        try:
            return whole_games(lanes, self.trainer.learner.log_probs, _GAMES)
        finally:
            for lane in lanes:
                lane.close()

    def _halve(self, passed: Looked) -> None:
        """Look between the last weights that returned less and those that ``passed``."""
        while self._far and passed.updates - self._before.updates > 1:
            self._restore(self._before)
            middle = (self._before.updates + passed.updates) // 2
            while self.trainer.learner.updates < middle:
                self.trainer.update()
            here = self._look()
            if here.mean < self.wanted:
                self._before = here
            else:
                passed = here
        self._part(passed)

    def _part(self, passed: Looked) -> None:
        """Look at parts of the update that passed, as with a part of its learning rate."""
        low, high = 0.0, 1.0
        while self._far and high - low > _LEAST_PART:
            share = (low + high) / 2
            self._restore(_between(self._before, passed, share))
            low, high = (share, high) if self._look().mean < self.wanted else (low, share)

    @property
    def _far(self) -> bool:
        return self._gap > _CLOSE * self.wanted

    @property
    def _gap(self) -> float:
        return np.inf if self.nearest is None else abs(self.nearest.mean - self.wanted)

    def _look(self) -> Looked:
        learner = self.trainer.learner
        here = Looked(learner.updates, self.played(), copy.deepcopy(learner.arrays()))
        self.looks.append((here.updates, here.mean))
        if abs(here.mean - self.wanted) <= self._gap:
            self.nearest = here
        return here

    def _restore(self, looked: Looked) -> None:
        """The arrays are copied: a restored optimizer changes those that it is given."""
        self.trainer.learner.restore(copy.deepcopy(looked.arrays))

    def _lane(self, number: int) -> Lane:
        def seeds(episode: int) -> int:
            return eval_seed(self.seed, _ROOM + episode * _LANES + number)

        env = make_env({"game_name": self.game})
        return Lane(env, "basic", VLMAgentOptions(frames=2), seeds, 1000)


def _between(before: Looked, after: Looked, share: float) -> Looked:
    """All that ``after`` is, but for weights at a ``share`` of the way from those of ``before``."""
    weights = {
        name: (old + share * (after.arrays[name] - old)).astype(old.dtype)
        for name, old in before.arrays.items()
        if name.startswith("weights.")
    }
    return replace(after, arrays={**after.arrays, **weights})


def copied(folder: Path, half: HalfWay, every: int) -> dict[str, Any]:
    """Imitate from nothing, looking ``every`` so many updates, until whole games are good enough; write ``folder/adapter``.

    Returns what it took; ``copy_return_again`` is of games on seeds that did not choose the copy. ``RunError`` where all updates
    were made before that.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.process_time()
    trainer = ImitationTrainer(_run(folder, half, every))
    half.begin(trainer)
    try:
        trainer.train()
        raise RunError(f"the copy of {half.game}, seed {half.seed}, never returned {half.wanted:g}")
    except StoppedError:
        pass
    assert half.nearest is not None
    learner, card = trainer.learner, trainer.run.card
    save_adapter(
        folder / "adapter", learner.tuned, learner.layers, described(card, updates=learner.updates)
    )
    seconds = time.process_time() - began
    return {
        "copy_return": half.nearest.mean,
        "copy_return_again": float(np.mean(half.played(_AGAIN))),
        "copy_looks": half.looks,
        "copy_updates": learner.updates,
        "copy_cpu_seconds": seconds,
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
