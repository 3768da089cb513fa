"""Imitation as a run: teach, update, measure on held-out episodes, save; resumable to the bit on one CPU thread.

Processes of a team have the same decisions and draw the same batches, of which each computes its part; the first one writes.

::

    <run>/config.yaml       what was asked for        <run>/metrics.jsonl   a line every --eval-every updates
    <run>/checkpoints/      the newest two            <run>/results.json    held_out_accuracy and what it was measured on
    <run>/adapter/          peft's two files and atari_vlm.json        <run>/base/   the small model, with --model new
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atari_vlm.errors import ConfigError, StoppedError
from atari_vlm.files import atomic_write
from atari_vlm.runs.metrics import MetricsLog
from atari_vlm.runs.progress import Progress, Quiet, Task, running
from atari_vlm.runs.trackers import LogConfig
from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.learner import Method, TuningLearner, UpdateConfig
from atari_vlm.training.tuning.lessons import PlayedEpisode
from atari_vlm.training.tuning.running import TimeLimit
from atari_vlm.training.tuning.saving import TuningCheckpoints
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.vlm.base import request_key
from atari_vlm.vlm.local.adapter import AdapterCard, described, save_adapter
from atari_vlm.world_models.learned.team import Team

_ON_THE_WAY = 256  # held-out decisions that are measured between updates


@dataclass(frozen=True)
class Lessons:
    """The decisions of a teacher, those of held-out episodes apart; ``digest`` (hex) is of all of them."""

    taught: tuple[TaughtDecision, ...]
    held_out: tuple[TaughtDecision, ...]
    episodes: tuple[int, int]
    digest: str = ""
    new: frozenset[int] = field(default_factory=frozenset)
    games: tuple[str, ...] = ()  # of each decision in ``taught``

    @classmethod
    def of(cls, episodes: Sequence[PlayedEpisode]) -> Lessons:
        """Raise ``ConfigError`` where in a game nothing is left to learn from, or to measure on."""
        parts = [[e for e in episodes if e.held_out is held_out] for held_out in (False, True)]
        taught, held_out = (tuple(d for e in part for d in e.decisions) for part in parts)
        for game in dict.fromkeys(e.game for e in episodes):
            some, others = (sum(len(e.decisions) for e in p if e.game == game) for p in parts)
            if not some or not others:
                raise ConfigError(
                    f"the teacher gave {some} decisions of {game} to learn from and {others} to measure on: it takes at least "
                    "two episodes with decisions of its own, one of them is held out"
                )
        keys = [request_key("", d.messages, None, d.names) for d in (*taught, *held_out)]
        sha = hashlib.sha256(json.dumps([*keys, [d.action for d in (*taught, *held_out)]]).encode())
        known = set(keys[: len(taught)])
        new = frozenset(n for n, key in enumerate(keys[len(taught) :]) if key not in known)
        counts = len(parts[0]), len(parts[1])
        games = tuple(e.game for e in parts[0] for _ in e.decisions)
        return cls(taught, held_out, counts, sha.hexdigest(), new, games)


@dataclass(frozen=True)
class TuningRun:
    """What is trained where. ``card`` says what the adapter belongs to; ``eval_every`` updates make a round.

    Every process of a ``team`` makes a trainer of the same run.
    """

    folder: Path
    base: Base
    lessons: Lessons
    method: Method
    config: UpdateConfig
    card: AdapterCard
    seed: int = 0
    eval_every: int = 50
    stop: threading.Event | None = None
    limit: TimeLimit = field(default_factory=TimeLimit)
    progress: Progress = field(default_factory=Quiet)
    log: LogConfig = field(default_factory=LogConfig)
    team: Team = field(default_factory=Team)


class ImitationTrainer:
    """Trains in a folder; making one continues from the folder's newest whole checkpoint."""

    def __init__(self, run: TuningRun):
        self.run = run
        _check_alike(run)
        self.learner = TuningLearner(run.base, run.method, run.config, team=run.team)
        self._checkpoints = TuningCheckpoints(run.folder / "checkpoints", run.lessons.digest)
        if (arrays := self._checkpoints.newest(run.progress.say)) is not None:
            self.learner.restore(arrays)
        self._rounds = -(-run.config.updates // run.eval_every)
        self._log = None
        if run.team.rank == 0:
            self._log = MetricsLog(run.folder, self._round, run.log, run.progress.say)
        self._shares = _shares(run.lessons, run.config.balance)

    @property
    def _round(self) -> int:
        return -(-self.learner.updates // self.run.eval_every)

    def train(self) -> dict[str, Any]:
        """The remaining updates; writes the adapter and ``results.json``, and returns these results."""
        try:
            while self.learner.updates < self.run.config.updates:
                self._next_round()
                if self.learner.updates < self.run.config.updates:
                    self.run.limit.check(f"{self.learner.updates} updates")
        finally:
            if self._log is not None:
                self._log.close()
        return self._finish()

    def _next_round(self) -> None:
        number, rows = self._round + 1, []
        count = min(self.run.eval_every, self.run.config.updates - self.learner.updates)
        with running(
            self.run.progress, Task("imitation", count, "updates", (number, self._rounds))
        ) as done:
            for _ in range(count):
                if self.run.team.any(self.run.stop is not None and self.run.stop.is_set()):
                    raise StoppedError(
                        f"stopped after {self.learner.updates} updates; the run goes on from its last checkpoint"
                    )
                rows.append(self.update())
                done()
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        some = self.run.lessons.held_out[:_ON_THE_WAY]
        held_out = float(np.mean(self._right(some)))
        line = {"updates": self.learner.updates, **means, "held_out_accuracy": held_out}
        self._keep(number, line)
        self.run.progress.say(
            f"{self.learner.updates} of {self.run.config.updates} updates: loss {means['loss']:.4f}, "
            f"accuracy {means['accuracy']:.3f}, held out {held_out:.3f}"
        )

    def _keep(self, number: int, line: dict[str, float]) -> None:
        """A round's line and its checkpoint; processes whose weights differ stop here."""
        arrays = self.learner.arrays()
        self.run.team.check_equal(arrays)
        if self._log is not None:
            self._log.add(number, line)  # a line without its checkpoint is dropped and made again
            self._checkpoints.save(self.learner.updates, arrays)

    def update(self) -> dict[str, float]:
        """One update.

        What is drawn depends on the seed and the number of the update alone, so a run goes on as if it had not stopped.
        """
        number, taught = self.learner.updates + 1, self.run.lessons.taught
        rng = np.random.default_rng([self.run.seed, number])
        torch.manual_seed(int(rng.integers(2**31)))  # of dropout, where a base has any
        drawn = rng.integers(len(taught), size=self.run.config.batch_size)
        return self.learner.update([taught[n] for n in drawn], self._shares[drawn])

    def _right(self, held_out: Sequence[TaughtDecision]) -> np.ndarray:
        """Whether the likeliest answer is the teacher's, bool ``(N,)``."""
        own = held_out[self.run.team.part(len(held_out))]
        scores = self.learner.log_probs(own)
        right = [int(row.argmax()) == d.action for row, d in zip(scores, own, strict=True)]
        every = self.run.team.gather(torch.tensor(right, dtype=torch.uint8))
        return every.numpy().astype(bool)

    def _finish(self) -> dict[str, Any]:
        run, lessons = self.run, self.run.lessons
        right = self._right(lessons.held_out)
        new = right[sorted(lessons.new)]
        actions = Counter((d.names, d.action) for d in lessons.held_out)
        accuracy = float(right.mean())
        results = {
            "held_out_accuracy": accuracy,
            "held_out_decisions": len(right),
            "held_out_episodes": lessons.episodes[1],
            "held_out_requests_never_learned_from": len(new),
            "accuracy_on_these": float(new.mean()) if len(new) else None,
            "accuracy_of_the_commonest_action": max(actions.values()) / len(right),
            "decisions": len(lessons.taught),
            "episodes": lessons.episodes[0],
            "updates": self.learner.updates,
            "trained_parameters": sum(p.numel() for p in self.learner.weights.values()),
            "games": list(run.card.games),
            "source": run.card.source,
            "base": run.card.base,
            "weights": run.card.weights,
            "method": run.method,
            "prompt_type": run.card.prompt_type,
            "seed": run.seed,
        }
        card = described(
            run.card, updates=self.learner.updates, held_out_accuracy=round(accuracy, 6)
        )
        if self._log is not None:
            save_adapter(run.folder / "adapter", self.learner.tuned, self.learner.layers, card)
            atomic_write(run.folder / "results.json", json.dumps(results, indent=2) + "\n")
        return results


def _check_alike(run: TuningRun) -> None:
    """Every process has seen the same teacher, and has a part of every batch."""
    if run.config.batch_size < run.team.size:
        raise ConfigError(
            f"{run.team.size} processes cannot share a batch of {run.config.batch_size}: --batch-size is at least one each"
        )
    said = "\n".join(d.reasoning for d in run.lessons.taught)
    digest = bytes.fromhex(run.lessons.digest)
    learned = {
        name: np.frombuffer(b, np.uint8) for name, b in (("of", digest), ("said", said.encode()))
    }
    run.team.check_equal(learned, "the decisions of the teacher")


def _shares(lessons: Lessons, balance: bool) -> np.ndarray:
    """What every decision weighs, float64 ``(N,)`` of mean 1: alike, or so that every action of every game weighs alike."""
    if not balance:
        return np.ones(len(lessons.taught))
    kinds = [(game, d.action) for game, d in zip(lessons.games, lessons.taught, strict=True)]
    counts = Counter(kinds)
    shares = np.array([1 / counts[kind] for kind in kinds])
    return np.asarray(shares / shares.mean())
