"""Playing with a journal: an episode is recorded as it goes, continued where it broke off, and taken as read when done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from atari_vlm.agents.base import Agent
from atari_vlm.errors import StoppedError
from atari_vlm.runs.journal import EpisodeRow, Journal, Phase, StepRow
from atari_vlm.runs.journal_vlm import JournalVLM
from atari_vlm.runs.recorded import replay_episode
from atari_vlm.runs.rollout import OnStep, in_parallel, play_episode
from atari_vlm.spaces import Env
from atari_vlm.training.in_context.demonstrations import Demonstration, DemonstrationRecorder, ExampleOptions
from atari_vlm.types import Trajectory, Transition
from atari_vlm.vlm.base import VLM


@dataclass(frozen=True)
class EpisodeSpec:
    """Which episode: its number in the journal, what it is for, and its seed."""

    episode: int
    phase: Phase
    seed: int


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode's row, and its demonstration where one was asked for."""

    row: EpisodeRow
    demonstration: Demonstration | None = None


class Progress(Protocol):
    """Is told what goes on, from the episodes' threads. ``asked`` counts calls that were really made, not read."""

    def episode_began(self, spec: EpisodeSpec) -> None: ...  # noqa: D102

    def step_done(self, spec: EpisodeSpec, transition: Transition, asked: int) -> None: ...  # noqa: D102

    def episode_ended(self, row: EpisodeRow) -> None: ...  # noqa: D102


class Silence:
    """Nobody watches."""

    def episode_began(self, spec: EpisodeSpec) -> None:
        """Nothing."""

    def step_done(self, spec: EpisodeSpec, transition: Transition, asked: int) -> None:
        """Nothing."""

    def episode_ended(self, row: EpisodeRow) -> None:
        """Nothing."""


@dataclass(frozen=True)
class PlayerOptions:
    """How episodes are played. ``stop`` is set by whoever wants the run to end after the current steps."""

    max_steps: int | None = None
    parallel: int = 1
    examples: ExampleOptions = field(default_factory=ExampleOptions)
    progress: Progress = field(default_factory=Silence)
    stop: threading.Event | None = None


class Player:
    """Plays episodes of one run.

    ``make_agent`` builds a fresh agent over the VLM that journals its episode's calls, for the episode's environment.
    """

    def __init__(
        self, journal: Journal, vlm: VLM, make_env: Callable[[], Env], options: PlayerOptions = PlayerOptions()
    ):
        self.journal, self.vlm, self.make_env, self.options = journal, vlm, make_env, options

    def play(
        self, specs: Sequence[EpisodeSpec], make_agent: Callable[[VLM, Env], Agent], *, learn: bool = False
    ) -> list[PlayedEpisode]:
        """Play the episodes side by side; the results are in their order and do not depend on how many run at once.

        With ``learn`` each result holds a demonstration. Raises the first error after all others have ended their step.
        """
        failed = threading.Event()
        return in_parallel(
            lambda spec: self._episode(spec, make_agent, learn, failed), specs, self.options.parallel, failed
        )

    def _episode(
        self, spec: EpisodeSpec, make_agent: Callable[[VLM, Env], Agent], learn: bool, failed: threading.Event
    ) -> PlayedEpisode:
        row = self.journal.begin_episode(spec.episode, spec.phase, spec.seed)
        if row.status == "done" and not learn:
            return self._ended(PlayedEpisode(row))
        env = self.make_env()
        recorder = DemonstrationRecorder(spec.episode, self.options.examples) if learn else None
        try:
            if row.status == "done":
                trajectory = self._read_again(env, row, recorder, failed)
            else:
                trajectory = self._play(env, spec, make_agent, recorder, failed)
                row = finished_row(spec, trajectory)
                self.journal.finish_episode(row)
        finally:
            env.close()
        return self._ended(PlayedEpisode(row, recorder.finish(trajectory) if recorder else None))

    def _play(
        self,
        env: Env,
        spec: EpisodeSpec,
        make_agent: Callable[[VLM, Env], Agent],
        recorder: DemonstrationRecorder | None,
        failed: threading.Event,
    ) -> Trajectory:
        vlm = JournalVLM(self.vlm, self.journal, spec.episode)
        self.options.progress.episode_began(spec)

        def on_step(transition: Transition) -> None:
            self.journal.record_step(step_row(spec.episode, vlm.step, transition, vlm.take_calls()))
            vlm.step += 1
            if recorder is not None:
                recorder.see(transition)
            self.options.progress.step_done(spec, transition, vlm.asked)
            self._check(failed)

        self._check(failed)
        return play_episode(
            env, make_agent(vlm, env), seed=spec.seed, max_steps=self.options.max_steps, on_step=on_step
        )

    def _read_again(
        self, env: Env, row: EpisodeRow, recorder: DemonstrationRecorder | None, failed: threading.Event
    ) -> Trajectory:
        def on_step(transition: Transition) -> None:
            if recorder is not None:
                recorder.see(transition)
            self._check(failed)

        see: OnStep = on_step
        return replay_episode(env, row, self.journal.steps(row.episode), see)

    def _check(self, failed: threading.Event) -> None:
        if failed.is_set() or (self.options.stop is not None and self.options.stop.is_set()):
            raise StoppedError("stopped between two steps")

    def _ended(self, played: PlayedEpisode) -> PlayedEpisode:
        self.options.progress.episode_ended(played.row)
        return played


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
