"""Playing: one episode, or many side by side, each with its own environment, agent and seed.

The loop is the same for real and dreamed games. A trajectory keeps the words of its observations and not the pictures (a
thousand steps of them are most of a gigabyte); whoever wants pictures takes them in ``on_step``, where everything passes by.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import gymnasium as gym

from atari_vlm.agents.base import Agent
from atari_vlm.description import Facts
from atari_vlm.errors import StoppedError, check_positive
from atari_vlm.spaces import Env
from atari_vlm.types import Trajectory, Transition

OnStep = Callable[[Transition], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


def play_episode(
    env: Env,
    agent: Agent,
    *,
    seed: int | None,
    max_steps: int | None = None,
    on_step: OnStep | None = None,
) -> Trajectory:
    """Play one episode from ``seed`` until it terminates, is truncated, or has ``max_steps`` steps (then truncated).

    ``on_step`` is called after each step with the full transition; what it raises ends the episode. A decision's latency
    (the journalled one when the reply was journalled) is handed to a ``LatencyAware`` wrapper if there is one. The
    trajectory's observations hold their string entries only.
    """
    if max_steps is not None:
        check_positive(max_steps=max_steps)
    agent.reset(seed=seed)
    observation, _ = env.reset(seed=seed)
    game = _game(env, observation)
    delay = _latency_wrapper(env)
    kept: list[Transition] = []
    while True:
        decision = agent.act(observation)
        if delay is not None:
            delay.set_latency(decision.latency_s)
        next_observation, reward, terminated, truncated, info = env.step(decision.action)
        truncated = bool(truncated) or (not terminated and len(kept) + 1 == max_steps)
        transition = Transition(
            observation,
            decision,
            float(reward),
            next_observation,
            bool(terminated),
            truncated,
            info,
        )
        agent.observe(transition)
        if on_step is not None:
            on_step(transition)
        kept.append(
            dataclasses.replace(
                transition,
                observation=_words(observation),
                next_observation=_words(next_observation),
            )
        )
        if terminated or truncated:
            return Trajectory(game, seed, tuple(kept))
        observation = next_observation


@dataclass(frozen=True)
class RolloutOptions:
    """How :func:`play_episodes` plays. ``on_step`` gets the episode's index and the transition, from that episode's thread."""

    max_steps: int | None = None
    parallel: int = 1
    on_step: Callable[[int, Transition], None] | None = None

    def __post_init__(self) -> None:
        check_positive(parallel=self.parallel)
        if self.max_steps is not None:
            check_positive(max_steps=self.max_steps)


def play_episodes(
    make_env: Callable[[], Env],
    make_agent: Callable[[int], Agent],
    seeds: Sequence[int],
    options: RolloutOptions = RolloutOptions(),
) -> list[Trajectory]:
    """Play one episode per seed, up to ``options.parallel`` at a time; ``make_agent`` gets the episode's index.

    The results are in the order of the seeds and do not depend on ``parallel``. The first error stops all episodes after
    their current step and is raised.
    """
    stop = threading.Event()

    def play(index: int) -> Trajectory:
        def on_step(transition: Transition) -> None:
            if options.on_step is not None:
                options.on_step(index, transition)
            if stop.is_set():
                raise StoppedError("another episode failed")

        env = make_env()
        try:
            return play_episode(
                env,
                make_agent(index),
                seed=seeds[index],
                max_steps=options.max_steps,
                on_step=on_step,
            )
        finally:
            env.close()

    return in_parallel(play, range(len(seeds)), options.parallel, stop)


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], parallel: int, stop: threading.Event
) -> list[Result]:
    """``[work(item) for item in items]`` on ``parallel`` threads.

    When one fails, or the caller is interrupted, ``stop`` is set, no further item begins, and after those under way have
    ended the first error in item order is raised (a ``StoppedError`` only if there is no other).
    """
    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="episode") as pool:
        futures: list[Future[Result]] = [pool.submit(work, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            _abandon(futures, stop)
            raise
        if any(future.done() and future.exception() is not None for future in futures):
            _abandon(futures, stop)
    errors = [
        error
        for future in futures
        if not future.cancelled() and (error := future.exception()) is not None
    ]
    if errors:
        raise next((error for error in errors if not isinstance(error, StoppedError)), errors[0])
    return [future.result() for future in futures]


def _abandon(futures: Sequence[Future[Any]], stop: threading.Event) -> None:
    stop.set()
    for future in futures:
        future.cancel()


def _words(observation: Any) -> Any:
    if not isinstance(observation, Mapping):
        return None
    return {key: value for key, value in observation.items() if isinstance(value, str)}


def _game(env: Env, observation: Any) -> str:
    if isinstance(observation, Mapping) and isinstance(observation.get("text"), str):
        return Facts.from_text(observation["text"]).game
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _latency_wrapper(env: Any) -> Any | None:
    """The wrapper that turns a reply's latency into emulator frames, if the environment has one."""
    while isinstance(env, gym.Wrapper):
        if hasattr(type(env), "set_latency"):
            return env
        env = env.env
    return None
