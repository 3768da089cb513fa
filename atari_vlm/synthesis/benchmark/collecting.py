"""Play an environment and keep its transitions: at random, with a planner that gets better and better, or with any agent."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.agents.base import Agent
from atari_vlm.conditions import versions
from atari_vlm.errors import check_count
from atari_vlm.experience.transitions import TransitionBuffer, check_observation_space
from atari_vlm.files import check_plain_name
from atari_vlm.runs.rollout import play_episode
from atari_vlm.synthesis.benchmark.catalogue import MANUAL_GAME, find_env
from atari_vlm.synthesis.benchmark.manual_game import ManualGame
from atari_vlm.synthesis.benchmark.players import Apart, Env, Policy, agent_of, described
from atari_vlm.trees import map_leaves, stacked
from atari_vlm.types import Transition


def fill_replay_buffer(
    env: Env | str,
    capacity: int,
    file_path: str | Path,
    buffer_name: str,
    *,
    policy: Policy = "random",
    seed: int = 0,
    max_episode_steps: int | None = None,
) -> TransitionBuffer:
    """Play ``capacity`` transitions of ``env`` (an environment, or a name that ``find_env`` knows) and save them as
    ``<file_path>/<buffer_name>.npz`` and ``.json``; the buffer.

    ``policy`` is ``"random"``, ``"cem"`` (:class:`RisingCEM`), a ``RisingCEM``, an agent, or a function of the observation. An
    episode is cut, and marked as truncated, by the environment's own limit and after ``max_episode_steps``; the last one simply
    stops where the buffer is full. Equal arguments give equal buffers, as far as environment and policy depend on their seeds
    alone. Raises ``ConfigError`` for arguments that are not meant, before anything is played.
    """
    check_plain_name(buffer_name, "a buffer")
    check_count(capacity=capacity)
    if max_episode_steps is not None:
        check_count(max_episode_steps=max_episode_steps)
    known = find_env(env) if isinstance(env, str) else None
    played: Env = known.make() if known is not None else env  # type: ignore[assignment]
    try:
        check_observation_space(played.observation_space)
        episodes = _Episodes(played, capacity, np.random.default_rng(seed))
        agent = Apart(agent_of(policy, played, episodes.filled))
        episodes.play(agent, max_episode_steps)
    finally:
        if known is not None:
            played.close()
    record = known.record() if known is not None else {}
    about = {**record, "policy": described(policy), "seed": seed, "versions": versions()}
    buffer = episodes.buffer(_id_of(played), about)
    buffer.save(file_path, buffer_name)
    return buffer


class _Full(Exception):
    """There are enough transitions."""


class _Episodes:
    """Transitions as they are played."""

    def __init__(self, env: Env, capacity: int, rng: np.random.Generator):
        self._env, self._capacity, self._rng = env, capacity, rng
        self._rows: list[tuple[Any, ...]] = []
        self._starts: list[int] = []

    def filled(self) -> float:
        """The share of the transitions that were played."""
        return len(self._rows) / self._capacity

    def play(self, agent: Agent, most_steps: int | None) -> None:
        """Play episodes until there are enough transitions."""
        with contextlib.suppress(_Full):
            while True:
                self._starts.append(len(self._rows))
                seed = int(self._rng.integers(1 << 31))
                play_episode(self._env, agent, seed=seed, max_steps=most_steps, on_step=self._keep)

    def _keep(self, step: Transition) -> None:
        seen, after = (map_leaves(np.array, t) for t in (step.observation, step.next_observation))
        ends = (step.terminated, step.truncated)
        self._rows.append((seen, step.decision.action, step.reward, after, *ends))
        if len(self._rows) == self._capacity:
            raise _Full

    def buffer(self, env_id: str, provenance: dict[str, Any]) -> TransitionBuffer:
        """What was played."""
        before, actions, rewards, after, terminated, truncated = zip(*self._rows, strict=True)
        return TransitionBuffer(
            stacked(before),
            np.stack(actions),
            rewards,
            stacked(after),
            terminated,
            truncated,
            env_id=env_id,
            observation_space=self._env.observation_space,
            action_space=self._env.action_space,
            trajectory_starts=self._starts,
            provenance=provenance,
        )


def _id_of(env: Env) -> str:
    """The id of an environment that somebody made."""
    if isinstance(env.unwrapped, ManualGame):
        return MANUAL_GAME
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
