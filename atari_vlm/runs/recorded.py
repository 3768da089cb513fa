"""A recorded episode, played again in the emulator from its seed and its actions: exact, and without asking anybody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atari_vlm.errors import RunError
from atari_vlm.runs.journal import EpisodeRow, StepRow
from atari_vlm.runs.rollout import OnStep, play_episode
from atari_vlm.spaces import Env
from atari_vlm.types import Action, Decision, Proposal, Reply, Source, Trajectory, Transition


class RecordedAgent:
    """Decides what was decided, and insists that the same comes of it: else :class:`RunError`."""

    def __init__(self, episode: EpisodeRow, steps: Sequence[StepRow]):
        self._episode, self._steps = episode, steps
        self._next = 0

    def reset(self, *, seed: int | None = None) -> None:
        """Back to the first step."""
        self._next = 0

    def act(self, observation: Any) -> Decision:
        """The recorded action, source, reasoning and latency."""
        row = self._steps[self._next]
        decision = row.decision
        reply = Reply(
            "", "recorded", latency_s=decision["latency_s"], cost_usd=decision["cost_usd"]
        )
        whole = (row.action,) if isinstance(row.action, int) else None
        proposal = None if whole is None else Proposal(whole, decision["reasoning"])
        action, problems = recorded_action(row.action), tuple(decision["problems"])
        return Decision(action, Source(row.source), proposal, (reply,), problems)

    def observe(self, transition: Transition) -> None:
        """Compare with what was recorded."""
        row = self._steps[self._next]
        if (transition.reward, transition.terminated) != (row.reward, row.terminated):
            raise RunError(
                f"episode {row.episode} does not repeat: step {row.step} gave reward {transition.reward:g} "
                f"(terminated: {transition.terminated}), recorded were {row.reward:g} ({row.terminated}); "
                "the emulator or the environment's settings are not those of the run"
            )
        self._next += 1


def recorded_action(action: int | list[int] | list[float]) -> Action:
    """An action as a record in JSON holds it, as an environment takes it."""
    if isinstance(action, int):
        return action
    parts = np.array(action)
    return parts.astype(np.float32 if parts.dtype.kind == "f" else np.int64)


def replay_episode(
    env: Env, episode: EpisodeRow, steps: Sequence[StepRow], on_step: OnStep | None = None
) -> Trajectory:
    """Play a recorded episode again as far as it is recorded; ``on_step`` gets every transition with its pictures."""
    if not steps:
        raise RunError(f"episode {episode.episode} has no recorded step")
    agent = RecordedAgent(episode, steps)
    return play_episode(env, agent, seed=episode.seed, max_steps=len(steps), on_step=on_step)
