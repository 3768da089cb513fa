"""Play that a model did not decide is no result: said as soon as several decisions in a row fell back, and at the end."""

from __future__ import annotations

from collections.abc import Iterable

from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.types import Source, Transition

SEVERAL = 4
ALL_FELL_BACK = 3  # exit code: the run is whole, and no decision of it is the model's
_CURES = {  # the beginning of a problem -> what may mend it
    "cut": "raise --reply-tokens",
    "empty": "raise --reply-tokens (a model that thinks may use them up), or try --answer text",
    "refused": "the model or its vendor declines: try another --prompt-type or --model",
    "illegal": "try --answer json or choice, or another --prompt-type",
    "missing": "try --answer json, choice or text, or a larger --reply-tokens",
}


class FallbackWatch:
    """Counts fallbacks in a row over all episodes. Whoever calls it holds a lock."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._warned = False

    def see(self, transition: Transition) -> str | None:
        """A warning, once: when :data:`SEVERAL` decisions in a row have fallen back."""
        decision = transition.decision
        if decision.source is not Source.FALLBACK:
            self._in_a_row = self._in_a_row if decision.source is Source.BUFFER else 0
            return None
        self._in_a_row += 1
        if self._warned or self._in_a_row < SEVERAL:
            return None
        self._warned = True
        reason = decision.problems[-1] if decision.problems else ""
        return (
            f"warning: {SEVERAL} decisions in a row are not the model's ({reason}); {cure(reason)}"
        )


def cure(reason: str) -> str:
    """What the user can do about a problem."""
    return _CURES.get(reason.partition(":")[0], "look at the replies in the report")


def verdict(journal: Journal, rows: Iterable[EpisodeRow]) -> tuple[str, int]:
    """What there is to say at the end of episodes that a model was to play (nothing: ``""``), and the exit code."""
    played = [row for row in rows if row.status == "done" and row.length]
    steps = sum(row.length or 0 for row in played)
    rate = sum((row.fallback_rate or 0.0) * (row.length or 0) for row in played) / max(1, steps)
    if rate < 0.5:
        return "", 0
    reason = next((r for row in reversed(played) if (r := _last_problem(journal, row.episode))), "")
    share = "every decision fell back" if rate >= 1 else f"{rate:.1%} of the decisions fell back"
    return (
        f"{share}: this is not the model's play ({reason}); {cure(reason)}",
        ALL_FELL_BACK if rate >= 1 else 0,
    )


def _last_problem(journal: Journal, episode: int) -> str:
    problems = [
        step.decision["problems"]
        for step in journal.steps(episode)
        if step.source == Source.FALLBACK
    ]
    return str(problems[-1][-1]) if problems and problems[-1] else ""
