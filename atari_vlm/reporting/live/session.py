"""A session of play on the live page: its episodes one after the other, with what the agent's model replied."""

from __future__ import annotations

from atari_vlm.reporting.live.state import LiveState
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.progress import Label, Task
from atari_vlm.types import Source, Transition


class Following:
    """Tells a page what a session of play does: :meth:`begin` at every episode, :meth:`step` at every step."""

    def __init__(self, state: LiveState, game: str, agent: str):
        self._state, self._game, self._agent = state, game, agent
        self._task: Task | None = None
        self._count = 0

    def begin(self, seed: int) -> None:
        """An episode begins; the one before it, if it was not over, is left out of the table."""
        if self._task is not None:
            self._state.ended(self._task)
        label = Label(self._game, self._agent, seed, self._count, "play")
        self._task = Task(f"episode {self._count}", label=label)
        self._row = EpisodeRow(self._count, "eval", seed, "done", 0.0, 0, 0.0, 0.0)
        self._count += 1
        self._state.began(self._task)

    def step(self, step: Transition) -> None:
        """A step was played."""
        if self._task is None:
            return
        for reply in step.decision.replies:
            self._state.answered(self._task, reply)
        self._state.advanced(self._task, step)
        self._row = _with_step(self._row, step)
        if step.terminated or step.truncated:
            self._state.ended(self._task, self._row)
            self._task = None


def _with_step(row: EpisodeRow, step: Transition) -> EpisodeRow:
    length = row.length or 0
    fallbacks = (row.fallback_rate or 0.0) * length + (step.decision.source is Source.FALLBACK)
    costs = (row.cost_usd, step.decision.cost_usd)
    return EpisodeRow(
        episode=row.episode,
        phase=row.phase,
        seed=row.seed,
        status=row.status,
        episode_return=(row.episode_return or 0.0) + step.reward,
        length=length + 1,
        fallback_rate=fallbacks / (length + 1),
        cost_usd=None if costs[0] is None or costs[1] is None else costs[0] + costs[1],
    )
