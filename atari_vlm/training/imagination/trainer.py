"""Training any family's learner: collect, update, evaluate, report, save; resumable to the bit on a CPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atari_vlm.errors import (
    AtariVLMError,
    CheckpointError,
    DivergedError,
    RunError,
    StoppedError,
    reading,
)
from atari_vlm.experience.npz_files import write_arrays
from atari_vlm.experience.replay import Column, Replay
from atari_vlm.runs.metrics import MetricsLog
from atari_vlm.runs.progress import Progress, Quiet, Task, running
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.runs.trackers import LogConfig
from atari_vlm.training.imagination.checkpoints import Checkpoints, save_model, unlike
from atari_vlm.training.imagination.collection import Collector, Exploring
from atari_vlm.training.imagination.evaluation import GAMES, STEPS, Gallery, measure
from atari_vlm.training.imagination.games import GameConfig, TrainingGame, make_game
from atari_vlm.training.imagination.lanes import GameStep, Returns
from atari_vlm.training.imagination.looking_ahead import LookingAhead
from atari_vlm.training.imagination.media import MediaConfig
from atari_vlm.training.imagination.playing import EpisodeKeeper, Playing, play_games
from atari_vlm.training.imagination.ranks import (
    send_frames,
    send_steps,
    streams_of_others,
    streams_of_rank,
)
from atari_vlm.world_models.checkpoint import read_checkpoint
from atari_vlm.world_models.learned.arrays import subtree
from atari_vlm.world_models.learned.device import Device, enough_memory
from atari_vlm.world_models.learned.learner import GameFacts, Learner, Metrics, Stage, Workplace
from atari_vlm.world_models.learned.schedule import TrainingSettings
from atari_vlm.world_models.learned.team import Team

MakeLearner = Callable[[Any, GameFacts, Workplace], Learner]


@dataclass(frozen=True)
class TrainingRun:
    """What is trained where.

    ``facts`` are those of the game, or of the recorded steps that the replay is filled with: then no
    game is played. ``warm_start`` is a checkpoint folder whose ``warm_parts`` (all where none is
    named) are the beginning. ``report`` is called after each epoch with its metrics; ``progress`` is
    shown everything on the way. Every process of a ``team`` makes a trainer of the same run; only
    rank 0 plays and writes.
    """

    folder: Path
    facts: GameFacts
    settings: TrainingSettings
    seed: int = 0
    device: Device = field(default_factory=Device)
    warm_start: str | None = None
    warm_parts: tuple[str, ...] = ()
    stop: threading.Event | None = None
    report: Callable[[int, Metrics], None] | None = None
    progress: Progress = field(default_factory=Quiet)
    log: LogConfig = field(default_factory=LogConfig)
    team: Team = field(default_factory=Team)
    media: MediaConfig = field(default_factory=MediaConfig)


class WorldModelTrainer:
    """Trains a learner in a folder; making one continues from the folder's newest whole checkpoint."""

    def __init__(self, run: TrainingRun, make_learner: MakeLearner):
        self.run, self.settings, self.team = run, run.settings, run.team
        self.is_main = run.team.rank == 0
        workplace = Workplace(self._open_replay, run.device, run.team, run.seed)
        self.learner = make_learner(run.settings, run.facts, workplace)
        self.replay = self.learner.replay
        self.policy = self.learner.policy()
        plays = not run.facts.offline and self.is_main
        self.collector = Collector(self._games(), self.policy, run.seed) if plays else None
        self.checkpoints = Checkpoints(run.folder / "checkpoints", self.learner.kind)
        self.epoch = 0
        self._speeds: Metrics = {}  # of an epoch, for who watches: no part of its metrics
        self._ahead = LookingAhead(run.settings, self.learner.stages)
        torch.manual_seed(run.seed + 1_000_033 * run.team.rank)
        self._begin()
        self._log = None
        if self.is_main:
            self._log = MetricsLog(run.folder, self.epoch, run.log, run.progress.say)

    def _open_replay(self, columns: Mapping[str, Column], *, arrivals: bool = False) -> Replay:
        settings, where = self.settings, self.run.folder / "replay" if self.is_main else None
        played = 0 if self.run.facts.offline else settings.play.steps
        reserve = played * settings.checkpoint_every * (2 if arrivals else 1)
        envs, capacity = settings.play.envs, settings.capacity
        with enough_memory(f"a replay of {capacity + reserve:,} steps; lower capacity"):
            return Replay(
                columns, capacity, reserve=reserve, folder=where, num_envs=envs, arrivals=arrivals
            )

    def _begin(self) -> None:
        """Continue, or warm-start, or begin."""
        newest = self.checkpoints.newest(self.run.progress.say)
        if newest is not None:
            self.epoch = newest[0]
            what = f"the checkpoint of epoch {self.epoch}"
            with reading(what, CheckpointError, passing=(AtariVLMError,)):
                self._restore(newest[1].tensors)
        elif self.run.warm_start is not None:
            self._warm_start(self.run.warm_start)

    def _warm_start(self, path: str) -> None:
        """Begin with a checkpoint's networks; what does not fit is told with what the two were made with."""
        warm = read_checkpoint(path)
        try:
            self.learner.warm_start(warm.tensors, self.run.warm_parts)
        except CheckpointError as error:
            made = unlike(warm.config, self._config())
            raise CheckpointError(f"{path} does not fit: {error}; {made}") from error
        if check := getattr(self.learner, "check_warm_start", None):
            check(warm.config)

    def _restore(self, tensors: Mapping[str, np.ndarray]) -> None:
        streams = self.learner.streams
        own = streams_of_rank(self.team, tensors) or streams.arrays()
        self.learner.restore(tensors)
        if not self.is_main:
            streams.restore(own)
        self.replay.restore(subtree(tensors, "replay"))
        send_frames(self.team, self.replay)
        if self.collector is not None:
            self.collector.restore(tensors)

    def train(self) -> Metrics:
        """Run the remaining epochs; the last epoch's metrics. ``StoppedError`` when asked to stop."""
        metrics: Metrics = {}
        try:
            while self.epoch < self.settings.epochs:
                metrics = self.next_epoch()
        finally:
            if self._log is not None:
                self._log.close()
        return metrics

    def next_epoch(self) -> Metrics:
        """One epoch and its metrics."""
        began, epoch, before = time.process_time(), self.epoch + 1, self.replay.written
        self._speeds.clear()
        metrics = self.collect(epoch)
        if epoch == 1:
            self._check_episodes()
        for part in self.learner.stages:
            metrics |= self.update(part, epoch, (before, self.replay.written))
        if self.is_main and (self._is_last(epoch) or epoch % self.settings.play.eval_every == 0):
            metrics |= self.evaluate(epoch)
        metrics["epoch/cpu_seconds"] = time.process_time() - began
        self.epoch = epoch
        self.report(metrics)
        if self._is_last(epoch) or epoch % self.settings.checkpoint_every == 0:
            self.save()
        return metrics

    def _check_episodes(self) -> None:
        """Dreams begin after as many steps of one episode as the model reads."""
        needed, kept = self.learner.world_model().context_length, self.replay.kept()
        ends = [self.replay.read(name, kept) for name in ("terminated", "truncated")]
        if np.logical_or(*ends).any() and self.replay.lengths.max() < needed:
            raise RunError(
                f"no episode of {self.run.facts.game} has {needed} steps, after which its dreams would begin: "
                f"the longest of {len(self.replay.lengths)} has {self.replay.lengths.max()}"
            )

    def _is_last(self, epoch: int) -> bool:
        return epoch == self.settings.epochs

    def collect(self, epoch: int) -> Metrics:
        """Real play of an epoch, on every rank's replay."""
        play, learner = self.settings.play, self.learner
        if self.run.facts.offline or epoch > play.last_epoch:
            return {}
        began, before = time.monotonic(), self.replay.written_by_env
        metrics: Metrics = {}
        if self.collector is not None:
            random = (learner.streams.rng, learner.streams.generator)
            exploring = Exploring(play.epsilon, play.temperature, play.life_loss_ends)
            with self._task("collection", play.steps, "steps") as step:
                games = self.collector.collect(play.steps, self.replay, exploring, random, step)
            metrics = {
                "collection/steps": float(self.replay.written),
                **games.metrics("collection"),
            }
        send_steps(self.team, self.replay, before)
        seconds = time.monotonic() - began
        self._speeds["collection/steps_per_second"] = play.steps / seconds
        return {**metrics, "collection/seconds": seconds}

    def update(self, part: Stage, epoch: int, steps: tuple[int, int]) -> Metrics:
        """An epoch's updates of one stage: means of what they report, and seconds."""
        count = part.updates(epoch, steps)
        if not count:
            return {}
        began, rows = time.monotonic(), []
        with self._task(part.name.replace("_", " "), count, "updates") as advanced:
            for _ in range(count):
                self._check_stop()
                rows.append(self._one_update(part.name))
                advanced()
        means = {
            f"{part.name}/{key}": float(np.mean([row[key] for row in rows])) for key in rows[0]
        }
        seconds = time.monotonic() - began
        self._speeds[f"{part.name}/updates_per_second"] = count / seconds
        return {**means, f"{part.name}/seconds": seconds}

    def _one_update(self, stage: str) -> Metrics:
        """An update of the learner; what a loss that is no number was computed from is kept in the run's folder."""
        try:
            return self.learner.update(stage)
        except DivergedError as error:
            path = self.run.folder / f"diverged-rank-{self.team.rank}.npz"
            write_arrays(path, error.arrays)
            saved = f"the batch is in {path}"
            raise DivergedError(
                f"{error}; {saved}. The run stops in epoch {self.epoch + 1} and goes on from its last checkpoint"
            ) from error

    def evaluate(self, epoch: int) -> Metrics:
        """Real games, what can be measured on them, and media."""
        play, keeper = self.settings.play, EpisodeKeeper(GAMES, STEPS)
        metrics: Metrics = {}
        if not self.run.facts.offline:
            episodes = play.final_episodes if self._is_last(epoch) else play.eval_episodes
            metrics = self.play(episodes, watch=keeper.see).metrics("evaluation")
            metrics |= measure(self.learner, keeper.episodes(), play.eval_temperature, epoch)
        names = self.run.facts.action_names
        gallery = Gallery(self.run.folder, epoch, names, play.eval_temperature, self.run.media)
        try:
            gallery.save(self.learner, keeper.episodes())
        except (
            OSError
        ) as error:  # media are not worth a run; checkpoints are, and fail for themselves
            self.run.progress.say(f"the media of epoch {epoch} could not be written: {error}")
        return metrics

    def play(
        self,
        episodes: int,
        temperature: float | None = None,
        watch: Callable[[int, GameStep], None] = lambda row, step: None,
    ) -> Returns:
        """Real games on seeds that are never trained on; neither the replay nor the run's random
        numbers notice. ``watch`` sees every step.
        """
        run = self.run
        generator = torch.Generator(run.device.name).manual_seed(run.seed + 1_000_003 * self.epoch)
        seeds = [eval_seed(run.seed, index) for index in range(episodes)]
        drawn_at = self.settings.play.eval_temperature if temperature is None else temperature

        def see(row: int, step: GameStep) -> None:
            watch(row, step)
            if step.over:
                advanced()

        def make() -> TrainingGame:
            return self._game(1, self.settings.play.eval_max_steps)

        with self._task("evaluation", episodes, "games") as advanced:
            playing = Playing(generator, drawn_at, watch=see)
            return play_games(make, self.policy, seeds, playing)

    def _task(self, name: str, total: int, unit: str) -> AbstractContextManager[Callable[[], None]]:
        epoch = min(self.epoch + 1, self.settings.epochs)
        return running(self.run.progress, Task(name, total, unit, (epoch, self.settings.epochs)))

    def _games(self) -> list[TrainingGame]:
        """Those that are collected from, side by side; an episode is cut where the replay could not hold it."""
        play = self.settings.play
        return [self._game(play.max_noops, self.longest_episode) for _ in range(play.envs)]

    @property
    def longest_episode(self) -> int:
        """Steps after which a game that is collected from is cut: no episode outgrows the replay."""
        play = self.settings.play
        return min(play.max_steps, self.settings.capacity // play.envs - self.replay.arrivals)

    def _game(self, max_noops: int, max_steps: int) -> TrainingGame:
        facts = self.run.facts
        config = GameConfig(facts.game, max_noops=max_noops, max_steps=max_steps, keys=facts.keys)
        return make_game(config, self.policy.inputs)

    def report(self, metrics: Metrics) -> None:
        """Write down the epoch that is over; ranks whose weights differ stop the run here."""
        self.team.check_equal(self.learner.weights())
        self._speeds |= self._ahead.after(self.epoch, metrics)
        if self._log is not None:
            self._log.add(self.epoch, metrics)
            if self.run.report is not None:
                self.run.report(self.epoch, {**metrics, **self._speeds})

    @property
    def log(self) -> MetricsLog:
        """The run's metrics; rank 0 alone has them."""
        assert self._log is not None
        return self._log

    def save(self) -> None:
        """Write a checkpoint of everything, and the model by itself. Every rank calls it."""
        self.replay.saved()
        streams = streams_of_others(self.team, self.learner.streams.arrays())
        if not self.is_main:
            return
        replay = {f"replay.{name}": array for name, array in self.replay.arrays().items()}
        tensors = self.learner.arrays() | replay | streams
        if self.collector is not None:
            tensors |= self.collector.arrays()
        self.checkpoints.save(self.epoch, self._config(), tensors, self._provenance())
        self.save_model()

    def save_model(self) -> None:
        """Write the model of now by itself; rank 0 alone."""
        if self.is_main:
            save_model(self.run.folder / "model", self.learner, self._config(), self._provenance())

    def _config(self) -> dict[str, Any]:
        return {**self.run.facts.as_config(), **self.learner.config()}

    def _provenance(self) -> dict[str, Any]:
        return {"seed": self.run.seed, "steps": self.replay.written, "epoch": self.epoch}

    def _check_stop(self) -> None:
        if self.team.any(self.run.stop is not None and self.run.stop.is_set()):
            at = f"stopped in epoch {self.epoch + 1}"
            raise StoppedError(f"{at}; the run continues from its last checkpoint")

    def close(self) -> None:
        """Close the game."""
        if self.collector is not None:
            self.collector.lanes.close()
