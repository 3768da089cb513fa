"""Programs drawn independently of one another: best of n, and zero-shot with a chain of thought. Only their prompts differ."""

from __future__ import annotations

from atari_vlm.synthesis.records import Choice, Outcome, SearchNode


class IndependentDraws:
    """Every call generates."""

    def __init__(self) -> None:
        self._drawn: list[tuple[int, Outcome]] = []

    def begin(self, outcome: Outcome) -> None:
        """Nothing: no draw depends on another program."""

    def select(self, call: int) -> Choice:
        """One more draw."""
        return Choice(call, "generate")

    def apply(self, choice: Choice, outcome: Outcome) -> None:
        """Keep it."""
        self._drawn.append((choice.call, outcome))

    def nodes(self) -> tuple[SearchNode, ...]:
        """All programs by call."""
        return tuple(_record(call, outcome) for call, outcome in self._drawn)

    def weights(self) -> dict[str, tuple[float, float]]:
        """Nothing is learned."""
        return {}


def _record(call: int, outcome: Outcome) -> SearchNode:
    return SearchNode(
        node=call,
        parent=None,
        call=call,
        kind="generate",
        score=outcome.score,
        bug=outcome.bug,
        visits=1,
        value=outcome.score,
        terminal=True,
        fixes_left=None,
        program=outcome.program,
        failure=outcome.failure,
    )
