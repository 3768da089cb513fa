"""WorldCoder: refine the program that Thompson sampling picks (REx, arXiv 2405.17503; as a baseline in arXiv 2405.15383).

A first program is generated; from then on every program has a Beta distribution, 1 + C r and 1 + C (1 - r) at first for a score
r, and the one whose draw is the highest is fixed, or improved where it does not raise. The refined program's parent then gains a
success or a failure. While an outcome is out, it counts as a failure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.records import Choice, Kind, Outcome, SearchNode


@dataclass(eq=False)
class Refinable:
    """A program, and what is believed of refining it."""

    call: int
    kind: Kind
    parent: Refinable | None
    outcome: Outcome
    alpha: float
    beta: float
    refined: int = 0
    waiting: int = 0

    def record(self) -> SearchNode:
        """What is told of it."""
        return SearchNode(
            node=self.call,
            parent=None if self.parent is None else self.parent.call,
            call=self.call,
            kind=self.kind,
            score=self.outcome.score,
            bug=self.outcome.bug,
            visits=1 + self.refined,
            value=self.outcome.score,
            terminal=False,
            fixes_left=None,
            program=self.outcome.program,
            failure=self.outcome.failure,
            alpha=self.alpha,
            beta=self.beta,
        )


class WorldCoder:
    """The bandit. Draws are numpy's ``RandomState(seed).beta``, one for every program, in the order of their calls."""

    def __init__(self, config: SearchConfig):
        self._config = config
        self._random = np.random.RandomState(config.seed)
        self._programs: list[Refinable] = []
        self._generating = False

    def begin(self, outcome: Outcome) -> None:
        """Refine this program first."""
        self._add(0, "root", None, outcome)

    def select(self, call: int) -> Choice | None:
        """Generate until there is a program, then refine the one that is drawn."""
        candidates = [one for one in self._programs if one.outcome.program is not None]
        if not candidates:
            return self._generate(call)
        chosen = candidates[-1] if self._config.select_sequential else self._drawn(candidates)
        chosen.waiting += 1
        kind: Kind = "fix" if chosen.outcome.bug else "improve"
        return Choice(call, kind, chosen.call, basis=chosen.outcome, place=chosen)

    def apply(self, choice: Choice, outcome: Outcome) -> None:
        """Add the program, and note at its parent whether refining it succeeded."""
        parent: Refinable | None = choice.place
        self._add(choice.call, choice.kind, parent, outcome)
        if parent is None:
            self._generating = False
            return
        parent.waiting -= 1
        parent.refined += 1
        parent.alpha += outcome.solved
        parent.beta += not outcome.solved

    def nodes(self) -> tuple[SearchNode, ...]:
        """All programs by call."""
        return tuple(program.record() for program in self._programs)

    def weights(self) -> dict[str, tuple[float, float]]:
        """Nothing is learned but the Beta distributions."""
        return {}

    def _add(self, call: int, kind: Kind, parent: Refinable | None, outcome: Outcome) -> None:
        weight = self._config.beta
        alpha, beta = 1.0 + weight * outcome.score, 1.0 + weight * (1.0 - outcome.score)
        self._programs.append(Refinable(call, kind, parent, outcome, alpha, beta))

    def _generate(self, call: int) -> Choice | None:
        if self._generating:
            return None
        self._generating = True
        return Choice(call, "generate")

    def _drawn(self, candidates: list[Refinable]) -> Refinable:
        draws = [self._random.beta(one.alpha, one.beta + one.waiting) for one in candidates]
        return candidates[int(np.argmax(draws))]
