"""Imitation on the way: an apprentice plays, its teacher says at every step what it would have done, and it learns from that.

Dataset aggregation (Ross, Gordon and Bagnell 2011, arXiv 1011.0686): a pupil that only ever saw its teacher's games does not know
the way back from its own mistakes. Rounds of play and learning alternate; in the first ones the teacher plays, later the
apprentice plays more and more of the moves. What was played is kept on disk, a file a round, pictures as small as the model
sees them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atari_vlm.agents.vlm_agent import VLMAgent, VLMAgentOptions
from atari_vlm.errors import ConfigError, StoppedError, check_count
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.metrics import MetricsLog
from atari_vlm.runs.progress import Progress, Quiet, Task, running
from atari_vlm.runs.seeds import SEEDS_PER_RUN, train_seed
from atari_vlm.spaces import Env
from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.experience import Experience, Shrinking
from atari_vlm.training.tuning.learner import TuningLearner, UpdateConfig
from atari_vlm.training.tuning.places import Places
from atari_vlm.training.tuning.resting import RestingEyes
from atari_vlm.training.tuning.saving import TuningCheckpoints
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.training.tuning.turns import Ended, Lane
from atari_vlm.types import Transition
from atari_vlm.vlm.scripted import ScriptedVLM


@dataclass(frozen=True)
class ApprenticeConfig:
    """What is played and how much of it.

    ``lanes`` says how many games of each name are played side by side. A round is ``steps`` decisions of every lane, then
    ``updates`` updates from all that was played so far. In the first ``watching`` rounds the teacher plays, after them the
    apprentice plays a share that rises to ``alone`` over as many rounds again (with ``watching`` 0 it is ``alone`` at once);
    ``explore`` of all moves are random, and ``wander`` of those that it watches, so that it sees what a good player never shows.
    ``look`` is the share of updates in which it learns, from pictures alone, where the things are that its teacher named; in the
    first ``watching`` rounds it does nothing else. A batch of the others is of one game, which shares its instructions. Only
    in the last ``joined`` share of the rounds do answers change how it sees: early on they spoil what it has learned to see.
    Where nothing changes how it sees, every picture is looked at once.
    """

    lanes: Mapping[str, int]
    rounds: int = 40
    steps: int = 64
    updates: int = 200
    watching: int = 3
    alone: float = 0.8
    explore: float = 0.05
    wander: float = 0.25
    look: float = 0.25
    joined: float = 0.1
    max_steps: int = 3000
    frames: int = 2
    prompt_type: str = "basic"
    seed: int = 0

    def __post_init__(self) -> None:
        check_count(rounds=self.rounds, steps=self.steps, updates=self.updates)
        check_count(max_steps=self.max_steps, **dict(self.lanes))
        if self.watching < 0:
            raise ConfigError(f"watching is 0 or more rounds, got {self.watching!r}")
        if (
            not 0 <= self.explore < 1
            or not 0 <= self.wander < 1
            or not 0 <= self.alone <= 1
            or not 0 <= self.look <= 1
            or not 0 <= self.joined <= 1
        ):
            raise ConfigError(
                "explore and wander are shares from 0 to below 1, alone, look and joined are from 0 to 1"
            )

    def own_share(self, number: int) -> float:
        """The share of moves that the apprentice plays in round ``number``, from 1."""
        if not self.watching:
            return self.alone
        return self.alone * min(1.0, max(0.0, (number - self.watching) / self.watching))

    @property
    def eyes_rest(self) -> bool:
        """Whether what sees stays as it is."""
        return not self.watching and not self.look and not self.joined


class TaughtLane(Lane):
    """A lane beside which the bundled player stands: the action of :attr:`asked` is what it would do."""

    def __init__(
        self,
        env: Env,
        prompt_type: str,
        options: VLMAgentOptions,
        seeds: Callable[[int], int],
        max_steps: int,
    ):
        self._teacher = VLMAgent(ScriptedVLM(), prompt_type=prompt_type)
        super().__init__(env, prompt_type, options, seeds, max_steps)

    def begin_with(self, seed: int) -> None:
        """Begin an episode with a seed, the number staying as it is."""
        self._teacher.reset(seed=seed)
        super().begin_with(seed)

    def _ask(self) -> None:
        wanted = self._teacher.act(self._observation)
        super()._ask()
        said = wanted.proposal.reasoning if wanted.proposal else ""
        self.asked = dataclasses.replace(self.asked, action=int(wanted.action), reasoning=said)

    def _observe(self, transition: Transition) -> None:
        self._teacher.observe(transition)
        super()._observe(transition)


@dataclass(frozen=True)
class ApprenticeRun:
    """What is trained where."""

    folder: Path
    base: Base
    config: ApprenticeConfig
    learning: UpdateConfig
    stop: threading.Event | None = None
    progress: Progress = field(default_factory=Quiet)


class Apprenticeship:
    """Trains in a folder; making one continues behind the folder's newest whole checkpoint, exactly on one CPU thread."""

    def __init__(self, run: ApprenticeRun):
        self.run = run
        self.learner = TuningLearner(run.base, "full", run.learning)
        if run.config.eyes_rest:
            self.learner.eyes = RestingEyes(run.base)
        self.experience = Experience(run.folder / "rounds")
        self.round, self._spent, self._began = 0, 0.0, time.process_time()
        self.games = [game for game, count in run.config.lanes.items() for _ in range(count)]
        self.lanes = [self._lane(number, game) for number, game in enumerate(self.games)]
        self._shrink = Shrinking(run.base)
        self._places = Places(run.base, run.config.seed)
        identity = json.dumps(dataclasses.asdict(run.config), sort_keys=True)
        digest = hashlib.sha256(f"{identity} {run.base.weights}".encode()).hexdigest()
        self._checkpoints = TuningCheckpoints(run.folder / "checkpoints", digest)
        if (arrays := self._checkpoints.newest(run.progress.say)) is not None:
            self._restore(arrays)
        self._log = MetricsLog(run.folder, self.round, say=run.progress.say)

    def _lane(self, number: int, game: str) -> TaughtLane:
        config = self.run.config

        def seeds(episode: int) -> int:
            return train_seed(config.seed, (episode * len(self.games) + number) % SEEDS_PER_RUN)

        options = VLMAgentOptions(frames=config.frames)
        env = make_env({"game_name": game})
        return TaughtLane(env, config.prompt_type, options, seeds, config.max_steps)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of this process since the training was made, and of earlier ones up to their last checkpoint."""
        return self._spent + time.process_time() - self._began

    def train(self) -> None:
        """The remaining rounds."""
        try:
            while self.round < self.run.config.rounds:
                self._next()
        finally:
            self._log.close()

    def close(self) -> None:
        """Close the games."""
        for lane in self.lanes:
            lane.close()

    def _next(self) -> None:
        number, config = self.round + 1, self.run.config
        rng = np.random.default_rng([config.seed, number])
        torch.manual_seed(int(rng.integers(2**31)))
        ended: list[tuple[str, Ended]] = []
        played, right = self._play(number, rng, ended)
        self.experience.add(number, played)
        self._places.note(played)
        rows = list(self._learn(number, rng))
        names = sorted({name for row in rows for name in row})
        metrics = {
            name: float(np.mean([row[name] for row in rows if name in row])) for name in names
        }
        metrics |= _by_game("agreement", self.games, right.T)
        metrics |= _by_game("return", [g for g, _ in ended], [e.episode_return for _, e in ended])
        self.round = number
        self._log.add(number, metrics)
        self._save()
        shown = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())
        self.run.progress.say(f"round {number} of {config.rounds}: {shown}")

    def _play(
        self, number: int, rng: np.random.Generator, ended: list[tuple[str, Ended]]
    ) -> tuple[list[TaughtDecision], np.ndarray]:
        """``steps`` decisions of every lane, and whether the apprentice agreed with its teacher: bool ``(steps, lanes)``."""
        config, own = self.run.config, self.run.config.own_share(number)
        strays = config.wander if number <= config.watching else config.explore
        played: list[TaughtDecision] = []
        right = np.zeros((config.steps, len(self.lanes)), bool)
        task = Task("play", config.steps, "steps", (number, config.rounds))
        with running(self.run.progress, task) as done:
            for t in range(config.steps):
                self._check_stop()
                asked = [self._shrink(lane.asked) for lane in self.lanes]
                played += asked
                scores = self.learner.log_probs(asked)
                best = [int(row.argmax()) for row in scores]
                for n, (lane, decision) in enumerate(zip(self.lanes, asked, strict=True)):
                    right[t, n] = best[n] == decision.action
                    action = best[n] if rng.random() < own else decision.action
                    if rng.random() < strays:
                        action = int(rng.integers(len(decision.names)))
                    _, _, episode, _ = lane.step(action)
                    if episode is not None:
                        ended.append((self.games[n], episode))
                done()
        return played, right

    def _learn(self, number: int, rng: np.random.Generator) -> Iterator[dict[str, float]]:
        config, size = self.run.config, self.run.learning.batch_size
        task = Task("learn", config.updates, "updates", (number, config.rounds))
        joined = number > (1 - config.joined) * config.rounds
        with running(self.run.progress, task) as done:
            for _ in range(config.updates):
                self._check_stop()
                if number <= config.watching or rng.random() < config.look:
                    drawn = rng.integers(len(self.experience), size=2 * size)
                    yield self._places.look(self.learner, [self.experience[n] for n in drawn])
                else:
                    batch = self._of_one_game(rng, size)
                    yield self._places.answer(self.learner, batch, joined=joined)
                done()

    def _of_one_game(self, rng: np.random.Generator, size: int) -> list[TaughtDecision]:
        """Decisions of one game; a game with more lanes is taken more often."""
        game = self.games[int(rng.integers(len(self.games)))]
        lanes = [lane for lane, own in enumerate(self.games) if own == game]
        steps = rng.integers(len(self.experience) // len(self.games), size=size)
        return [
            self.experience[int(step) * len(self.games) + int(rng.choice(lanes))] for step in steps
        ]

    def _check_stop(self) -> None:
        if self.run.stop is not None and self.run.stop.is_set():
            raise StoppedError(
                f"stopped in round {self.round + 1}; the same command goes on from its last checkpoint"
            )

    def _save(self) -> None:
        longest = max(len(lane.actions) for lane in self.lanes)
        actions = np.full((len(self.lanes), longest + 1), -1, np.int64)
        for row, lane in zip(actions, self.lanes, strict=True):
            row[: len(lane.actions)] = lane.actions
        arrays = {
            **self.learner.arrays(),
            **self._places.arrays(),
            "round": np.array(self.round, np.int64),
            "cpu_seconds": np.array(self.cpu_seconds),
            "lanes.episode": np.array([lane.episode for lane in self.lanes], np.int64),
            "lanes.actions": actions,
        }
        self._checkpoints.save(self.learner.updates, arrays)

    def _restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.learner.restore(arrays)
        self.round = int(arrays["round"])
        self._spent = float(arrays["cpu_seconds"])
        self.experience.read(self.round)
        self._places.note(self.experience)
        self._places.restore(arrays)
        rows = zip(self.lanes, arrays["lanes.episode"], arrays["lanes.actions"], strict=True)
        for lane, episode, row in rows:
            lane.restore(int(episode), row[row >= 0].tolist())


def _by_game(word: str, games: Sequence[str], values: Any) -> dict[str, float]:
    """Means of ``values`` for each game that occurs."""
    found: dict[str, list[Any]] = {}
    for game, value in zip(games, values, strict=True):
        found.setdefault(game, []).append(value)
    return {f"{word}.{game}": float(np.mean(own)) for game, own in found.items()}
