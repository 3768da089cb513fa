"""What a search hands around: what is asked, what came of it, and the tree that is left at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

# of a node, and what a question asks for: nobody asks for a root, and a shorter program is no node
Kind = Literal["root", "generate", "improve", "fix", "simplify"]
Failure = Literal["", "no-code", "cut", "bug"]


@dataclass(frozen=True)
class Outcome:
    """What became of one call: the program, if the reply held one, and how well it predicts.

    ``score`` (0 to 1, over the feedback transitions) is 0 for a program that raises (``bug``) and where there is none.
    ``fields`` are the shares of right values by name, ``events`` how often rare things happened, and the share of it that was
    foretold; ``held_out`` is the score on the held-out transitions (``None`` without any). ``error`` is what a bug said.
    ``examples`` are mispredicted transitions as a writer is shown them. ``verified`` is ``None`` where no replay of the whole
    buffer was asked for. ``cost_usd`` is what the call cost, ``None`` where that is unknown.
    """

    program: str | None = None
    score: float = 0.0
    failure: Failure = ""
    error: str = ""
    fields: Mapping[str, float] = field(default_factory=dict)
    events: Mapping[str, Sequence[float]] = field(default_factory=dict)
    held_out: float | None = None
    examples: tuple[Mapping[str, Any], ...] = ()
    verified: bool | None = None
    cost_usd: float | None = 0.0

    @property
    def bug(self) -> bool:
        """Whether the program raised."""
        return self.failure == "bug"

    @property
    def solved(self) -> bool:
        """Whether the search ends with this program."""
        return self.score == 1.0 and self.verified is not False


@dataclass(frozen=True)
class Choice:
    """What a method wants to ask next.

    ``parent`` is the node it goes on from, ``basis`` the outcome whose program is to be fixed or improved. ``partial`` are the
    lines that a generated program begins with. ``place`` is the method's own and comes back to it with the outcome.
    """

    call: int
    kind: Kind
    parent: int | None = None
    partial: str = ""
    basis: Outcome | None = None
    place: Any = None


@dataclass(frozen=True)
class SearchNode:
    """A program of a search, and where it stands.

    ``node`` is 0 for the root of GIF-MCTS, else the number of the call that made it, ``call``; a node that was asked again has
    the newer number. ``value`` is the mean of what went through it in ``visits`` (in WorldCoder: its score, and 1 + the times it
    was refined). ``fixes_left`` counts for GIF-MCTS, ``alpha`` and ``beta`` for WorldCoder; ``None`` elsewhere.
    """

    node: int
    parent: int | None
    call: int
    kind: Kind
    score: float
    bug: bool
    visits: int
    value: float
    terminal: bool
    fixes_left: int | None
    program: str | None
    failure: Failure
    alpha: float | None = None
    beta: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    ``program`` is the first one with the highest ``score`` over the feedback transitions (``None`` where no reply held one),
    ``held_out_score`` its score over the others. ``calls`` counts simulations, those that a cache or a journal answered too.
    ``weights`` are the learned ``(w_G, w_L)`` of GIF-MCTS by kind. ``failures`` counts replies by what was wrong with them,
    ``cost_usd`` is ``None`` where a price is unknown. ``verified`` tells whether the program replays the whole buffer, ``None``
    where that was not asked for.
    """

    nodes: tuple[SearchNode, ...]
    program: str | None
    score: float
    held_out_score: float | None
    calls: int
    weights: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    cost_usd: float | None = 0.0
    verified: bool | None = None


class SearchMethod(Protocol):
    """How the next question is chosen. Called from one thread; several choices may be out at once.

    Outcomes come back in the order of the choices, so that what is chosen depends on seed and outcomes alone.
    """

    def begin(self, outcome: Outcome) -> None:
        """Begin with a program instead of nothing; before anything is selected."""
        ...

    def select(self, call: int) -> Choice | None:
        """What call number ``call`` asks; ``None`` while that depends on outcomes that are still out."""
        ...

    def apply(self, choice: Choice, outcome: Outcome) -> None:
        """Learn what became of the oldest choice that is out."""
        ...

    def nodes(self) -> tuple[SearchNode, ...]:
        """All programs so far, by number."""
        ...

    def weights(self) -> dict[str, tuple[float, float]]:
        """Learned weights by kind; empty where nothing is learned."""
        ...
