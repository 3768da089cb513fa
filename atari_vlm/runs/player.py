"""Playing with a journal: an episode is recorded as it goes, continued where it broke off, and taken as read when done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from atari_vlm.agents.base import Agent
from atari_vlm.errors import StoppedError
from atari_vlm.runs.journal_rows import EpisodeRow, Phase, StepRow
from atari_vlm.runs.journal_vlm import Heard, JournalVLM
from atari_vlm.runs.progress import Label, Progress, Quiet, Task
from atari_vlm.runs.record import Record
from atari_vlm.runs.recorded import replay_episode
from atari_vlm.runs.rollout import OnStep, in_parallel, play_episode
from atari_vlm.spaces import Env
from atari_vlm.types import Trajectory, Transition
from atari_vlm.vlm.base import VLM


@dataclass(frozen=True)
class EpisodeSpec:
    """Which episode: its number in the journal, what it is for, and its seed; ``label`` is what tables call it."""

    episode: int
    phase: Phase
    seed: int
    label: Label | None = field(default=None, compare=False)

    @property
    def task(self) -> Task:
        """The episode as progress shows it."""
        name = f"{self.phase} episode {self.episode} (seed {self.seed})"
        label = self.label or Label("", "", self.seed, self.episode, self.phase)
        return Task(name, label=label)


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode's row, and what whoever watched it made of it."""

    row: EpisodeRow
    result: Any = None


class EpisodeWatcher(Protocol):
    """Sees an episode whole: as it is played, or played again from the journal."""

    def see(self, transition: Transition) -> None:
        """Take in one step."""
        ...

    def finish(self, trajectory: Trajectory) -> Any:
        """What was made of the episode."""
        ...


Watch = Callable[[EpisodeSpec], EpisodeWatcher]


@dataclass(frozen=True)
class PlayerOptions:
    """How episodes are played. ``stop`` is set by whoever wants the run to end after the current steps."""

    max_steps: int | None = None
    parallel: int = 1
    progress: Progress = field(default_factory=Quiet)
    stop: threading.Event | None = None


class Player:
    """Plays episodes of one run.

    ``make_agent`` builds a fresh agent over the VLM that journals its episode's calls, for the episode's environment.
    """

    def __init__(
        self,
        journal: Record,
        vlm: VLM,
        make_env: Callable[[], Env],
        options: PlayerOptions = PlayerOptions(),
    ):
        self.journal, self.vlm, self.make_env, self.options = journal, vlm, make_env, options

    def play(
        self,
        specs: Sequence[EpisodeSpec],
        make_agent: Callable[[VLM, Env], Agent],
        *,
        watch: Watch | None = None,
    ) -> list[PlayedEpisode]:
        """Play the episodes side by side; the results are in their order and do not depend on how many run at once.

        ``watch`` makes each episode's watcher, whose result the episode holds; an episode that is in the journal is then played
        again for it. Raises the first error after all others have ended their step.
        """
        failed = threading.Event()

        def play(spec: EpisodeSpec) -> PlayedEpisode:
            result = None
            try:
                watcher = None if watch is None else watch(spec)
                played = self._episode(spec, make_agent, watcher, failed)
                result = played.row
                return played
            finally:
                self.options.progress.ended(spec.task, result)

        return in_parallel(play, specs, self.options.parallel, failed)

    def _episode(
        self,
        spec: EpisodeSpec,
        make_agent: Callable[[VLM, Env], Agent],
        watcher: EpisodeWatcher | None,
        failed: threading.Event,
    ) -> PlayedEpisode:
        row = self.journal.begin_episode(spec.episode, spec.phase, spec.seed)
        if row.status == "done" and watcher is None:
            return PlayedEpisode(row)
        env = self.make_env()
        try:
            if row.status == "done":
                trajectory = replay_episode(
                    env, row, self.journal.steps(row.episode), self._on_step(watcher, failed)
                )
            else:
                trajectory = self._play(env, spec, make_agent, self._on_step(watcher, failed))
                row = finished_row(spec, trajectory)
                self.journal.finish_episode(row)
        finally:
            env.close()
        return PlayedEpisode(row, None if watcher is None else watcher.finish(trajectory))

    def _play(
        self, env: Env, spec: EpisodeSpec, make_agent: Callable[[VLM, Env], Agent], seen: OnStep
    ) -> Trajectory:
        heard = Heard.by(self.options.progress, spec.task)
        vlm = JournalVLM(self.vlm, self.journal, spec.episode, heard)
        self.options.progress.began(spec.task, len(self.journal.steps(spec.episode)))

        def on_step(transition: Transition) -> None:
            self.journal.record_step(step_row(spec.episode, vlm.step, transition, vlm.take_calls()))
            vlm.step += 1
            self.options.progress.advanced(spec.task, transition, vlm.asked)
            seen(transition)

        return play_episode(
            env,
            make_agent(vlm, env),
            seed=spec.seed,
            max_steps=self.options.max_steps,
            on_step=on_step,
        )

    def _on_step(self, watcher: EpisodeWatcher | None, failed: threading.Event) -> OnStep:
        """What sees every step; it ends the episode when somebody wants the run to end."""

        def on_step(transition: Transition) -> None:
            if watcher is not None:
                watcher.see(transition)
            self._check(failed)

        self._check(failed)
        return on_step

    def _check(self, failed: threading.Event) -> None:
        if failed.is_set() or (self.options.stop is not None and self.options.stop.is_set()):
            raise StoppedError("stopped between two steps")


def step_row(episode: int, step: int, transition: Transition, calls: list[int]) -> StepRow:
    """A transition as the journal holds it."""
    decision = transition.decision
    return StepRow(
        episode=episode,
        step=step,
        action=np.asarray(decision.action).tolist(),
        source=str(decision.source),
        reward=transition.reward,
        terminated=transition.terminated,
        truncated=transition.truncated,
        info=dict(transition.info),
        decision={
            "reasoning": decision.proposal.reasoning if decision.proposal else "",
            "problems": list(decision.problems),
            "details": dict(decision.details),
            "latency_s": decision.latency_s,
            "cost_usd": decision.cost_usd,
            "calls": calls,
        },
    )


def finished_row(spec: EpisodeSpec, trajectory: Trajectory) -> EpisodeRow:
    """A played episode as the journal holds it."""
    return EpisodeRow(
        episode=spec.episode,
        phase=spec.phase,
        seed=spec.seed,
        status="done",
        episode_return=trajectory.episode_return,
        length=trajectory.length,
        fallback_rate=trajectory.fallback_rate,
        cost_usd=trajectory.cost_usd,
    )
