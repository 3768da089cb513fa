"""Reinforcement as a run: games side by side, PPO by the turn, evaluation on seeds that are never trained on.

The run folder is that of imitation (:mod:`sft`). A checkpoint holds weights, value head, optimizer, and of every game the
number of its episode and the actions of it: the games are exact, so they are played again to where they were.
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

from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import RunError, StoppedError
from atari_vlm.files import atomic_write
from atari_vlm.runs.metrics import MetricsLog
from atari_vlm.runs.progress import Progress, Quiet, Task, running
from atari_vlm.runs.seeds import SEEDS_PER_RUN, eval_seed, train_seed
from atari_vlm.runs.trackers import LogConfig
from atari_vlm.spaces import Env
from atari_vlm.training.tuning.bases import Base
from atari_vlm.training.tuning.learner import Method, UpdateConfig
from atari_vlm.training.tuning.ppo import PPOConfig, Turns, generalised_advantages
from atari_vlm.training.tuning.rl_learner import ReinforcedLearner
from atari_vlm.training.tuning.saving import TuningCheckpoints
from atari_vlm.training.tuning.teaching import TaughtDecision
from atari_vlm.training.tuning.turns import Ended, Lane, drawn
from atari_vlm.vlm.local.adapter import Adapter, AdapterCard, described, save_adapter


@dataclass(frozen=True)
class ReinforcementRun:
    """What is trained where. ``make_env`` gives a new game; ``start`` is the adapter that training begins with."""

    folder: Path
    base: Base
    method: Method
    config: UpdateConfig
    ppo: PPOConfig
    card: AdapterCard
    make_env: Callable[[], Env]
    iterations: int
    max_steps: int
    start: Adapter | None = None
    seed: int = 0
    eval_every: int = 10
    eval_episodes: int = 32
    stop: threading.Event | None = None
    progress: Progress = field(default_factory=Quiet)
    log: LogConfig = field(default_factory=LogConfig)


class ReinforcementTrainer:
    """Trains in a folder; making one continues from the folder's newest whole checkpoint."""

    def __init__(self, run: ReinforcementRun):
        self.run = run
        self.learner = ReinforcedLearner(run.base, run.method, run.config, run.ppo, run.start)
        self.iteration = 0
        self.lanes = [self._lane(number) for number in range(run.ppo.envs)]
        identity = hashlib.sha256(json.dumps(dataclasses.asdict(run.ppo)).encode()).hexdigest()
        self._checkpoints = TuningCheckpoints(run.folder / "checkpoints", identity)
        if (arrays := self._checkpoints.newest(run.progress.say)) is not None:
            self._restore(arrays)
        self._log = MetricsLog(run.folder, self.iteration, run.log, run.progress.say)

    def _lane(self, number: int) -> Lane:
        """Seeds of training are even, and no two lanes share one."""
        count = self.run.ppo.envs

        def seeds(episode: int) -> int:
            return train_seed(self.run.seed, (episode * count + number) % SEEDS_PER_RUN)

        return self._made(seeds)

    def _made(self, seeds: Callable[[int], int]) -> Lane:
        run = self.run
        options = VLMAgentOptions(frames=run.card.frames)
        return Lane(run.make_env(), run.card.prompt_type, options, seeds, run.max_steps)

    def train(self) -> dict[str, Any]:
        """The remaining iterations; writes the adapter and ``results.json``, and returns these results."""
        run = self.run
        try:
            while self.iteration < run.iterations:
                self._next()
        finally:
            self._log.close()
        returns = self.evaluate()
        results = {
            "return": float(np.mean(returns)),
            "returns": returns,
            "evaluation_episodes": len(returns),
            "updates": self.learner.updates,
            "decisions": self.iteration * run.ppo.envs * run.ppo.steps,
            "games": list(run.card.games),
            "base": run.card.base,
            "weights": run.card.weights,
            "started_from": None if run.start is None else run.start.digest,
            "seed": run.seed,
        }
        card = described(run.card, updates=self.learner.updates)
        save_adapter(run.folder / "adapter", self.learner.tuned, self.learner.layers, card)
        atomic_write(run.folder / "results.json", json.dumps(results, indent=2) + "\n")
        return results

    def close(self) -> None:
        """Close the games."""
        for lane in self.lanes:
            lane.close()

    def _next(self) -> None:
        number, ended = self.iteration + 1, list[Ended]()
        rng = np.random.default_rng([self.run.seed, number])
        torch.manual_seed(int(rng.integers(2**31)))
        asked, turns = self._play(rng, ended)
        metrics = self._learn(asked, turns, rng)
        self.iteration = number
        if ended:
            metrics["episodes"] = float(len(ended))
            metrics["return"] = float(np.mean([episode.episode_return for episode in ended]))
        last = number == self.run.iterations
        if last or number % self.run.eval_every == 0:
            metrics["evaluation_return"] = float(np.mean(self.evaluate()))
        self._log.add(number, metrics)  # lines after the last checkpoint are dropped and made again
        if last or number % self.run.eval_every == 0:
            self._save()
        self._tell(number, metrics)

    def _tell(self, number: int, metrics: Mapping[str, float]) -> None:
        shown = ("return", "evaluation_return", "entropy", "kl", "clipped")
        told = ", ".join(f"{name} {metrics[name]:.3f}" for name in shown if name in metrics)
        self.run.progress.say(f"iteration {number} of {self.run.iterations}: {told}")

    def _play(
        self, rng: np.random.Generator, ended: list[Ended]
    ) -> tuple[list[TaughtDecision], Turns]:
        """``steps`` decisions of every game, and what they were worth."""
        ppo, count = self.run.ppo, len(self.lanes)
        shape = (ppo.steps, count)
        rewards, ends, values = np.zeros(shape), np.zeros(shape), np.zeros((ppo.steps + 1, count))
        asked: list[TaughtDecision] = []
        actions: list[int] = []
        rows: list[np.ndarray] = []
        first: list[np.ndarray] = []
        task = Task("play", ppo.steps, "steps", (self.iteration + 1, self.run.iterations))
        with running(self.run.progress, task) as done:
            for t in range(ppo.steps):
                self._check_stop()
                now = [lane.asked for lane in self.lanes]
                scores, values[t] = self.learner.policy(now)
                if ppo.kl:
                    first += self.learner.first_policy(now)
                chosen = drawn(scores, rng)
                asked, actions, rows = asked + now, actions + chosen, rows + scores
                for n, (lane, action) in enumerate(zip(self.lanes, chosen, strict=True)):
                    rewards[t, n], over, episode, cut = lane.step(action)
                    ends[t, n] = over
                    if episode is not None:
                        ended.append(episode)
                    if cut is not None:  # the game would have gone on
                        rewards[t, n] += ppo.discount * self.learner.policy([cut])[1][0]
                done()
            values[-1] = self.learner.policy([lane.asked for lane in self.lanes])[1]
        advantages = generalised_advantages(rewards, values, ends, ppo)
        chances = np.array([row[action] for row, action in zip(rows, actions, strict=True)])
        returns = (advantages + values[:-1]).ravel()
        turns = Turns(np.array(actions), chances, advantages.ravel(), returns, tuple(first or rows))
        return asked, turns

    def _learn(
        self, asked: Sequence[TaughtDecision], turns: Turns, rng: np.random.Generator
    ) -> dict[str, float]:
        """Epochs over what was played; advantages are normalised over all of it."""
        ppo, parts = self.run.ppo, list[dict[str, float]]()
        spread = turns.advantages.std() + 1e-8
        normal = (turns.advantages - turns.advantages.mean()) / spread
        for _ in range(ppo.epochs):
            order = rng.permutation(len(asked))
            for at in range(0, len(order), ppo.minibatch):
                self._check_stop()
                part = order[at : at + ppo.minibatch]
                batch = Turns(
                    turns.actions[part],
                    turns.log_probs[part],
                    normal[part],
                    turns.returns[part],
                    tuple(turns.reference[n] for n in part),
                )
                parts.append(self.learner.improve([asked[n] for n in part], batch))
        return {name: float(np.mean([row[name] for row in parts])) for name in parts[0]}

    def evaluate(self) -> list[float]:
        """Returns of whole games on odd seeds, which are never trained on, the likeliest answer always taken."""
        count = self.run.eval_episodes
        lanes = [
            self._made(lambda episode: eval_seed(self.run.seed, 0))
            for _ in range(min(count, self.run.ppo.envs))
        ]
        returns: list[float] = []
        try:
            for begun in range(0, count, len(lanes)):
                going = dict(enumerate(lanes[: count - begun]))
                for n, lane in going.items():
                    lane.begin_with(eval_seed(self.run.seed, begun + n))
                while going:
                    scores, _ = self.learner.policy([lane.asked for lane in going.values()])
                    for (n, lane), row in zip(list(going.items()), scores, strict=True):
                        _, _, episode, _ = lane.step(int(row.argmax()))
                        if episode is not None:
                            returns.append(episode.episode_return)
                            del going[n]
        finally:
            for lane in lanes:
                lane.close()
        return returns

    def _check_stop(self) -> None:
        if self.run.stop is not None and self.run.stop.is_set():
            raise StoppedError(
                f"stopped in iteration {self.iteration + 1}; the run goes on from its last checkpoint"
            )

    def _save(self) -> None:
        longest = max(len(lane.actions) for lane in self.lanes)
        actions = np.full((len(self.lanes), longest + 1), -1, np.int64)
        for row, lane in zip(actions, self.lanes, strict=True):
            row[: len(lane.actions)] = lane.actions
        self._checkpoints.save(
            self.learner.updates,
            {
                **self.learner.arrays(),
                "iteration": np.array(self.iteration, np.int64),
                "lanes.episode": np.array([lane.episode for lane in self.lanes], np.int64),
                "lanes.actions": actions,
            },
        )

    def _restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.learner.restore(arrays)
        self.iteration = int(arrays["iteration"])
        episodes, actions = arrays["lanes.episode"], arrays["lanes.actions"]
        if len(episodes) != len(self.lanes):
            raise RunError("the checkpoint is of another number of games")
        for lane, episode, row in zip(self.lanes, episodes, actions, strict=True):
            lane.restore(int(episode), row[row >= 0].tolist())
