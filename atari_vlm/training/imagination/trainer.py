"""REM's schedule: collect, improve the tokenizer, the world model and the actor-critic, evaluate; resumable to the bit on CPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atari_vlm.errors import MismatchError, StoppedError
from atari_vlm.experience.replay import Replay, picture_columns
from atari_vlm.runs.metrics import MetricsLog
from atari_vlm.runs.progress import Hook, Quiet, stage
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.runs.trackers import LogConfig
from atari_vlm.training.imagination.checkpoints import Checkpoints
from atari_vlm.training.imagination.collection import (
    Collector,
    EpisodeKeeper,
    Exploring,
    Playing,
    Returns,
    Seen,
    play_games,
)
from atari_vlm.training.imagination.evaluation import GAMES, STEPS, Gallery, measure
from atari_vlm.training.imagination.games import GameConfig, RemGame
from atari_vlm.training.imagination.media import MediaConfig
from atari_vlm.training.imagination.ranks import send_frames, send_steps, streams_of_others, streams_of_rank
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.checkpoint import read_checkpoint, save_checkpoint
from atari_vlm.world_models.learned.arrays import under
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import Metrics
from atari_vlm.world_models.learned.schedule import Updates
from atari_vlm.world_models.learned.team import Team
from atari_vlm.world_models.rem.learner import RemLearner, load_weights
from atari_vlm.world_models.rem.policy import RemPolicy
from atari_vlm.world_models.rem.settings import RemSettings

START_ROWS = 16


@dataclass(frozen=True)
class RemRun:
    """What is trained where. ``game`` ``None``: offline, from the steps that the replay already holds.

    ``warm_start`` is a checkpoint folder whose ``warm_parts`` (tokenizer, world_model, actor_critic) are the beginning.
    ``report`` is called after each epoch with its metrics; ``progress`` is told about everything on the way. Every process of
    a ``team`` makes a trainer of the same run; only rank 0 plays and writes.
    """

    folder: Path
    game: str | None
    settings: RemSettings
    seed: int = 0
    device: Device = field(default_factory=Device)
    warm_start: str | None = None
    warm_parts: tuple[str, ...] = ("tokenizer", "world_model", "actor_critic")
    action_names: tuple[str, ...] = ()
    frame_skip: int = 1
    stop: threading.Event | None = None
    report: Callable[[int, Metrics], None] | None = None
    progress: Hook = field(default_factory=Quiet)
    log: LogConfig = field(default_factory=LogConfig)
    team: Team = field(default_factory=Team)
    media: MediaConfig = field(default_factory=MediaConfig)


class RemTrainer:
    """Trains REM in a folder; making one continues from the folder's newest checkpoint."""

    def __init__(self, run: RemRun):
        self.run, self.settings = run, run.settings
        play, px = run.settings.play, run.settings.networks.tokenizer.frame_px
        reserve = play.steps * run.settings.checkpoint_every if run.game is not None else 0
        self.team, self.leads = run.team, run.team.rank == 0
        where = run.folder / "replay" if self.leads else None
        columns = picture_columns((px, px, 3))
        self.replay = Replay(columns, run.settings.capacity, reserve=reserve, folder=where)
        self.learner = RemLearner(run.settings, self.replay, run.seed, run.device, run.team)
        networks = self.learner.networks
        self.policy = RemPolicy(networks.tokenizer, networks.actor, run.device.name)
        plays = run.game is not None and self.leads
        self.collector = Collector(self._game(), self.policy, run.seed) if plays else None
        self._check_actions()
        self.checkpoints = Checkpoints(run.folder / "checkpoints")
        self.epoch = 0
        torch.manual_seed(run.seed + 1_000_033 * run.team.rank)
        self._begin()
        self._log = MetricsLog(run.folder, self.epoch, run.log, run.progress.say) if self.leads else None

    def _begin(self) -> None:
        """Continue, or warm-start, or begin."""
        newest = self.checkpoints.newest()
        if newest is not None:
            self.epoch, tensors = newest[0], newest[1].tensors
            own = streams_of_rank(self.team, tensors) or self.learner.streams()
            self.learner.restore(tensors)
            if not self.leads:
                self.learner.set_streams(own)
            self.replay.restore(under(tensors, "replay"))
            send_frames(self.team, self.replay)
            if self.collector is not None:
                self.collector.restore(tensors)
        elif self.run.warm_start is not None:
            load_weights(self.learner.networks, read_checkpoint(self.run.warm_start).tensors, self.run.warm_parts)

    def _check_actions(self) -> None:
        wanted = self.settings.networks.num_actions
        if self.collector is not None and self.collector.game.num_actions != wanted:
            raise MismatchError(
                f"the networks have {wanted} actions, {self.run.game} has {self.collector.game.num_actions}"
            )

    def train(self) -> Metrics:
        """Run the remaining epochs; the last epoch's metrics. Raises ``StoppedError`` when asked to stop."""
        found: Metrics = {}
        try:
            while self.epoch < self.settings.epochs:
                found = self._next_epoch()
        finally:
            if self._log is not None:
                self._log.close()
        return found

    @property
    def log(self) -> MetricsLog:
        """The run's metrics; rank 0 alone has them."""
        assert self._log is not None
        return self._log

    def _next_epoch(self) -> Metrics:
        began = time.process_time()
        found = self._one_epoch(self.epoch + 1)
        found["epoch/cpu_seconds"] = time.process_time() - began
        self.epoch += 1
        self.team.check_equal(self.learner.weights())
        if self._log is not None:
            self._log.add(self.epoch, found)
            if self.run.report is not None:
                self.run.report(self.epoch, found)
        if self.epoch % self.settings.checkpoint_every == 0 or self.epoch == self.settings.epochs:
            self.save()
        return found

    def _one_epoch(self, epoch: int) -> Metrics:
        s, learner = self.settings, self.learner
        found: Metrics = {}
        if self.run.game is not None and epoch <= s.play.last_epoch:
            began, before = time.monotonic(), self.replay.written
            if self.collector is not None:
                found |= self._collect(self.collector)
            send_steps(self.team, self.replay, before)
            found["collection/seconds"] = time.monotonic() - began
        found |= self._improve("tokenizer", s.tokenizer.updates, epoch, learner.improve_tokenizer)
        found |= self._improve("world_model", s.world_model.updates, epoch, learner.improve_world_model)
        found |= self._improve("actor_critic", s.actor_critic.updates, epoch, learner.improve_actor_critic)
        if self.leads and (epoch == s.epochs or epoch % s.play.eval_every == 0):
            found |= self._evaluation(epoch)
        return found

    def _evaluation(self, epoch: int) -> Metrics:
        """Real games, what can be measured on them, and media."""
        play, keeper = self.settings.play, EpisodeKeeper(GAMES, STEPS)
        found: Metrics = {}
        if self.run.game is not None:
            episodes = play.final_episodes if epoch == self.settings.epochs else play.eval_episodes
            found = summary("evaluation", self.evaluate(episodes, watch=keeper.see))
            found |= measure(self.learner, keeper.episodes(), play.eval_temperature, epoch)
        names = self.model_config()["action_names"]
        gallery = Gallery(self.run.folder, epoch, names, play.eval_temperature, self.run.media)
        try:
            gallery.save(self.learner, keeper.episodes())
        except OSError as error:  # films and pictures are not worth a run; checkpoints are, and fail for themselves
            self.run.progress.say(f"the media of epoch {epoch} could not be written: {error}")
        return found

    def _improve(self, name: str, updates: Updates, epoch: int, improve: Callable[[], Metrics]) -> Metrics:
        """One epoch's updates of one network: means of what they report, and seconds."""
        if not updates.active(epoch):
            return {}
        began, rows = time.monotonic(), []
        with self._stage(name.replace("_", " "), updates.steps, "updates"):
            for _ in range(updates.steps):
                self._check_stop()
                rows.append(improve())
                self.run.progress.advanced()
        means = {f"{name}/{key}": float(np.mean([row[key] for row in rows])) for key in rows[0]}
        return {**means, f"{name}/seconds": time.monotonic() - began}

    def _collect(self, collector: Collector) -> Metrics:
        play = self.settings.play
        random = (self.learner.rng, self.learner.generator)
        exploring = Exploring(play.epsilon, play.temperature)
        with self._stage("collection", play.steps, "steps"):
            games = collector.collect(play.steps, self.replay, exploring, random, self.run.progress.advanced)
        return {"collection/steps": float(self.replay.written), **summary("collection", games)}

    def evaluate(
        self, episodes: int, temperature: float | None = None, watch: Callable[[Seen], None] = lambda seen: None
    ) -> Returns:
        """Real games on seeds that are never trained on; neither the replay nor the run's random numbers notice.

        ``watch`` is told every step.
        """
        play = self.settings.play
        policy = RemPolicy(self.learner.networks.tokenizer, self.learner.networks.actor, self.run.device.name)
        generator = torch.Generator(self.run.device.name).manual_seed(self.run.seed + 1_000_003 * self.epoch)
        seeds = [eval_seed(self.run.seed, index) for index in range(episodes)]
        chosen = play.eval_temperature if temperature is None else temperature

        def see(seen: Seen) -> None:
            watch(seen)
            if seen.over:
                self.run.progress.advanced()

        with self._stage("evaluation", episodes, "games"):
            return play_games(lambda: self._game(training=False), policy, seeds, Playing(generator, chosen, watch=see))

    def _stage(self, name: str, total: int, unit: str) -> AbstractContextManager[None]:
        epoch = min(self.epoch + 1, self.settings.epochs)
        return stage(self.run.progress, name, total, unit, (epoch, self.settings.epochs))

    def _game(self, training: bool = True) -> RemGame:
        play = self.settings.play
        assert self.run.game is not None
        px, ends = self.settings.networks.tokenizer.frame_px, play.life_loss_ends
        if training:
            return RemGame(GameConfig(self.run.game, px, 4, play.max_noops, ends, play.max_steps))
        # lost lives are told, as labels of held-out losses; play_games goes on
        return RemGame(GameConfig(self.run.game, px, 4, 1, ends, play.eval_max_steps))

    def save(self) -> None:
        """Write a checkpoint of everything, and the model by itself. Every rank calls it."""
        self.replay.saved()
        streams = streams_of_others(self.team, self.learner.streams())
        if not self.leads:
            return
        tensors = (
            self.learner.arrays() | {f"replay.{key}": value for key, value in self.replay.arrays().items()} | streams
        )
        if self.collector is not None:
            tensors |= self.collector.arrays()
        config, provenance = self.model_config(), {"seed": self.run.seed, "steps": self.replay.written}
        self.checkpoints.save(self.epoch, config, tensors, provenance)
        save_checkpoint(
            self.run.folder / "model",
            kind="rem",
            config=config,
            tensors=self.learner.weights(),
            start=self.start_frames(),
            provenance={**provenance, "epoch": self.epoch},
        )

    def model_config(self) -> dict[str, Any]:
        """What a checkpoint says of the model."""
        game = self.collector.game if self.collector is not None else None
        names = self.run.action_names or tuple(str(a) for a in range(self.settings.networks.num_actions))
        networks = self.settings.as_dict()["networks"]
        return {
            "game": self.run.game or "offline",
            "action_names": list(game.action_names if game is not None else names),
            "frame_skip": game.frame_skip if game is not None else self.run.frame_skip,
            "reward_transform": "sign" if networks["world_model"]["reward"] == "sign" else "none",
            "networks": networks,
        }

    def start_frames(self) -> StartFrames | None:
        """Contexts of two real frames from the replay, if it has any."""
        if not (self.replay.lengths >= 2).any():
            return None
        history = self.replay.histories(START_ROWS, 2, np.random.default_rng(self.run.seed))
        frames, actions = (self.replay.read(name, history.slots) for name in ("image", "action"))
        return StartFrames(frames, actions[:, :1])

    def _check_stop(self) -> None:
        if self.team.any(self.run.stop is not None and self.run.stop.is_set()):
            raise StoppedError(f"stopped in epoch {self.epoch + 1}; the run continues from its last checkpoint")

    def close(self) -> None:
        """Close the game."""
        if self.collector is not None:
            self.collector.game.close()


def summary(name: str, games: Returns) -> Metrics:
    """Mean return and length of finished games; empty for none."""
    if not games.returns:
        return {}
    returns = np.array(games.returns)
    return {
        f"{name}/episodes": float(len(returns)),
        f"{name}/return": float(returns.mean()),
        f"{name}/return_std": float(returns.std()),
        f"{name}/length": float(np.mean(games.lengths)),
    }
