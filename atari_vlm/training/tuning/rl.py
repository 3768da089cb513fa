"""Reinforcement as a run: games side by side, PPO by the turn, evaluation on seeds that are never trained on.

The run folder is that of imitation (:mod:`sft`). A checkpoint holds weights, value head, optimizer, and of every game the
number of its episode and the actions of it: the games are exact, so they are played again to where they were.

Processes of a team play all games alike, since games cost little beside a model: each scores its part of the decisions, and
learns from its part of a minibatch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atari_vlm.agents.answering import AnswerMode
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import RunError, StoppedError
from atari_vlm.files import atomic_write
from atari_vlm.runs.metrics import MetricsLog
from atari_vlm.runs.progress import Progress, Quiet, Task, running
from atari_vlm.runs.seeds import SEEDS_PER_RUN, eval_seed, train_seed
from atari_vlm.runs.trackers import LogConfig
from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.learner import Method, UpdateConfig
from atari_vlm.training.tuning.playing import Played, play_turns
from atari_vlm.training.tuning.ppo import PPOConfig
from atari_vlm.training.tuning.rl_learner import ReinforcedLearner
from atari_vlm.training.tuning.running import TimeLimit
from atari_vlm.training.tuning.saving import TuningCheckpoints
from atari_vlm.training.tuning.stating import state_reader
from atari_vlm.training.tuning.thinking import ThinkingLearner
from atari_vlm.training.tuning.thoughts import ThinkingConfig
from atari_vlm.training.tuning.turns import Lane, PlayedGame, whole_games
from atari_vlm.training.tuning.values import explained
from atari_vlm.vlm.local.adapter import Adapter, AdapterCard, described, save_adapter
from atari_vlm.world_models.learned.team import Team


@dataclass(frozen=True)
class ReinforcementRun:
    """What is trained where. ``start`` is the adapter that training begins with.

    Lanes take the ``games`` in turn; one that stands there several times has more of them.
    """

    folder: Path
    base: Base
    method: Method
    config: UpdateConfig
    ppo: PPOConfig
    card: AdapterCard
    games: tuple[PlayedGame, ...]
    iterations: int
    max_steps: int
    start: Adapter | None = None
    seed: int = 0
    eval_every: int = 10
    eval_episodes: int = 32
    stop: threading.Event | None = None
    limit: TimeLimit = field(default_factory=TimeLimit)
    progress: Progress = field(default_factory=Quiet)
    log: LogConfig = field(default_factory=LogConfig)
    team: Team = field(default_factory=Team)
    thinking: ThinkingConfig | None = None

    @property
    def identity(self) -> str:
        """What a checkpoint is of, in hex."""
        thinking = {} if self.thinking is None else {"thinking": dataclasses.asdict(self.thinking)}
        constants = {**dataclasses.asdict(self.ppo), **thinking}
        return hashlib.sha256(json.dumps(constants).encode()).hexdigest()

    def learner(self) -> ReinforcedLearner:
        """The weights that learn, as they begin."""
        parts = (self.base, self.method, self.config, self.ppo, self.start)
        count = len(self.names)
        if self.thinking is None:
            return ReinforcedLearner(*parts, team=self.team, games=count)
        return ThinkingLearner(*parts, thinking=self.thinking, team=self.team, games=count)

    @property
    def names(self) -> list[str]:
        """The games' names, each once: a game's number is its place here."""
        return list(dict.fromkeys(game.name for game in self.games))


class ReinforcementTrainer:
    """Trains in a folder; making one continues from the folder's newest whole checkpoint."""

    def __init__(self, run: ReinforcementRun):
        self.run = run
        self.learner = run.learner()
        self.iteration, self._latest = 0, dict[str, list[float]]()
        self.lanes = [self._lane(number) for number in range(run.ppo.envs)]
        self._checkpoints = TuningCheckpoints(run.folder / "checkpoints", run.identity)
        if (arrays := self._checkpoints.newest(run.progress.say)) is not None:
            self._restore(arrays)
        self._log = None
        if run.team.rank == 0:
            self._log = MetricsLog(run.folder, self.iteration, run.log, run.progress.say)

    def _lane(self, number: int) -> Lane:
        """Games take turns; seeds of training are even, and no two lanes share one."""
        count, games = self.run.ppo.envs, self.run.games

        def seeds(episode: int) -> int:
            return train_seed(self.run.seed, (episode * count + number) % SEEDS_PER_RUN)

        game = games[number % len(games)]
        lane = self._made(game, seeds)
        lane.game = self.run.names.index(game.name)
        if self.learner.state_reward:
            lane.read_states(state_reader(lane.env, game.name))
        return lane

    def _made(self, game: PlayedGame, seeds: Callable[[int], int]) -> Lane:
        run = self.run
        answer: AnswerMode = "scores" if run.thinking is None else "thoughts"
        options = VLMAgentOptions(frames=run.card.frames, answer=answer)
        return Lane(game.make(), run.card.prompt_type, options, seeds, run.max_steps)

    def train(self) -> dict[str, Any]:
        """The remaining iterations; writes the adapter and ``results.json``, and returns these results."""
        run = self.run
        try:
            while self.iteration < run.iterations:
                self._next()
                if self.iteration % run.eval_every == 0 and self.iteration < run.iterations:
                    run.limit.check(f"{self.iteration} iterations")
        finally:
            if self._log is not None:
                self._log.close()
        returns = self._latest or self.evaluate()
        results = {
            "return": _mean(returns),
            "returns": returns,
            "evaluation_episodes": run.eval_episodes,
            "updates": self.learner.updates,
            "decisions": self.iteration * run.ppo.envs * run.ppo.steps,
            "games": list(run.card.games),
            "base": run.card.base,
            "weights": run.card.weights,
            "started_from": None if run.start is None else run.start.digest,
            "seed": run.seed,
        }
        if run.thinking is not None:
            results["reasoning_tokens"] = run.thinking.tokens
            results["state_reward"] = run.thinking.state_reward
        card = described(run.card, updates=self.learner.updates)
        if self._log is not None:
            save_adapter(run.folder / "adapter", self.learner.tuned, self.learner.layers, card)
            atomic_write(run.folder / "results.json", json.dumps(results, indent=2) + "\n")
        return results

    def close(self) -> None:
        """Close the games."""
        for lane in self.lanes:
            lane.close()

    def _next(self) -> None:
        number = self.iteration + 1
        rng = np.random.default_rng([self.run.seed, number])
        torch.manual_seed(int(rng.integers(2**31)))
        played = self._play(rng)
        metrics = self._learn(played, rng)
        self.iteration = number
        metrics |= played.of_thoughts()
        if self.learner.state_reward:
            metrics["state_reward"] = self.learner.state_reward
        metrics["episodes"] = float(len(played.episodes))
        metrics |= self._named("return", self._returns(played))
        last = number == self.run.iterations
        if last or number % self.run.eval_every == 0:
            self._latest = self.evaluate()
            metrics |= self._named("evaluation_return", self._latest)
        if self._log is not None:
            # lines after the last checkpoint are dropped and made again
            self._log.add(number, metrics)
        if last or number % self.run.eval_every == 0:
            self._save()
        self._tell(number, metrics)

    def _returns(self, played: Played) -> dict[str, list[float]]:
        """Of each game of which an episode ended."""
        names, returns = self.run.names, dict[str, list[float]]()
        for lane, episode in played.episodes:
            name = names[self.lanes[lane].game]
            returns.setdefault(name, []).append(episode.episode_return)
        return returns

    def _named(self, name: str, returns: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """The mean return, of every game by itself too where there are several; empty where no game ended."""
        if not returns:
            return {}
        each = {f"{name}/{game}": float(np.mean(rows)) for game, rows in returns.items()}
        return {name: _mean(returns), **(each if len(self.run.names) > 1 else {})}

    def _tell(self, number: int, metrics: Mapping[str, float]) -> None:
        shown = (
            "return",
            "evaluation_return",
            "entropy",
            "kl",
            "clipped",
            "thought_tokens",
            "stated",
        )
        told = ", ".join(f"{name} {metrics[name]:.3f}" for name in shown if name in metrics)
        if self.learner.state_reward:
            told += f" (a state reward of {self.learner.state_reward:g} is in no return)"
        self.run.progress.say(f"iteration {number} of {self.run.iterations}: {told}")

    def _play(self, rng: np.random.Generator) -> Played:
        run = self.run
        task = Task("play", run.ppo.steps, "steps", (self.iteration + 1, run.iterations))
        with running(run.progress, task) as done:

            def between() -> None:
                done()
                self._check_stop()

            return play_turns(self.lanes, self.learner, rng, between)

    def _learn(self, played: Played, rng: np.random.Generator) -> dict[str, float]:
        """Fit the value head, and in all but the first iterations let the policy learn from what was played, in epochs."""
        ppo, parts = self.run.ppo, list[dict[str, float]]()
        games = [lane.game for lane in self.lanes]
        turns, returns = played.turns(games, ppo)
        metrics = self._explained(np.concatenate(played.values[:-1]), returns, games * ppo.steps)
        self.learner.values.fit(np.concatenate(played.hidden), returns, games * ppo.steps)
        if self.iteration < ppo.value_warm_up:
            return metrics
        for _ in range(ppo.epochs):
            order = rng.permutation(len(returns))
            for at in range(0, len(order), ppo.minibatch):
                self._check_stop()
                rows = order[at : at + ppo.minibatch].tolist()
                asked = [played.asked[n] for n in rows]
                parts.append(self.learner.improve(asked, turns.part(rows)))
        means = {name: float(np.mean([row[name] for row in parts])) for name in parts[0]}
        return {**metrics, **means}

    def _explained(
        self, values: np.ndarray, returns: np.ndarray, games: Sequence[int]
    ) -> dict[str, float]:
        """What the value heads explained of the returns of each game, and the mean of that."""
        numbers = np.asarray(games)
        each = {
            name: [explained(values[numbers == n], returns[numbers == n])]
            for n, name in enumerate(self.run.names)
        }
        return self._named("explained", each)

    def evaluate(self) -> dict[str, list[float]]:
        """Of each game, returns of whole games on odd seeds, which are never trained on, the likeliest answer always taken."""
        games = {game.name: game for game in self.run.games}
        return {name: self._evaluated(game) for name, game in games.items()}

    def _evaluated(self, game: PlayedGame) -> list[float]:
        episodes = self.run.eval_episodes
        count = min(episodes, self.run.ppo.envs)

        def lane(number: int) -> Lane:
            return self._made(game, lambda n: eval_seed(self.run.seed, n * count + number))

        lanes = [lane(number) for number in range(count)]
        try:
            return whole_games(lanes, lambda asked: self.learner.policy(asked)[0], episodes)
        finally:
            for played in lanes:
                played.close()

    def _check_stop(self) -> None:
        if self.run.team.any(self.run.stop is not None and self.run.stop.is_set()):
            raise StoppedError(
                f"stopped in iteration {self.iteration + 1}; the run goes on from its last checkpoint"
            )

    def _save(self) -> None:
        longest = max(len(lane.actions) for lane in self.lanes)
        actions = np.full((len(self.lanes), longest + 1), -1, np.int64)
        for row, lane in zip(actions, self.lanes, strict=True):
            row[: len(lane.actions)] = lane.actions
        arrays = {
            **self.learner.arrays(),
            "iteration": np.array(self.iteration, np.int64),
            "lanes.episode": np.array([lane.episode for lane in self.lanes], np.int64),
            "lanes.actions": actions,
        }
        self.run.team.check_equal(arrays, "weights or games")
        if self._log is not None:
            self._checkpoints.save(self.learner.updates, arrays)

    def _restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.learner.restore(arrays)
        self.iteration = int(arrays["iteration"])
        episodes, actions = arrays["lanes.episode"], arrays["lanes.actions"]
        if len(episodes) != len(self.lanes):
            raise RunError("the checkpoint is of another number of games")
        for lane, episode, row in zip(self.lanes, episodes, actions, strict=True):
            lane.restore(int(episode), row[row >= 0].tolist())


def _mean(returns: Mapping[str, Sequence[float]]) -> float:
    """The mean of the games' means."""
    return float(np.mean([np.mean(rows) for rows in returns.values()]))
