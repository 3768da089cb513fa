"""GIF-MCTS: generate, improve and fix programs, guided by a Monte-Carlo tree search (arXiv 2405.15383).

An edge is an action, a node the first lines of the program that the action's reply held (its state), with the whole program as
the rollout that gives its value. Every healthy node can be continued (*generate*) and rewritten (*improve*), each without limit:
taking an action that was never taken adds another of its kind. A node whose program raises can only be *fixed*, once, and so on
down a chain; until a fix succeeds it is worth what the remaining fixes promise, and its ancestors learn of its visits alone.

With several choices out at once, each counts as visits of value 0 along its path until its outcome is there (virtual loss).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from atari_vlm.synthesis.config import SearchConfig
from atari_vlm.synthesis.learned_prior import LearnedPrior
from atari_vlm.synthesis.program_tree import TreeNode
from atari_vlm.synthesis.records import Choice, Kind, Outcome, SearchNode


class GifMcts:
    """The tree. Ties are drawn from numpy's ``RandomState(seed)``, once per node that a selection passes."""

    def __init__(self, config: SearchConfig):
        self._config = config
        self._random = np.random.RandomState(config.seed)
        self._priors: dict[Kind, LearnedPrior] = {
            "generate": LearnedPrior(*config.prior_generate),
            "improve": LearnedPrior(*config.prior_improve),
            "fix": LearnedPrior(*config.prior_fix),
        }
        top = 0.99 if config.fixes else 0.0
        self._bug_values = np.linspace(0.0, top, config.fixes + 1).tolist()
        self.root = TreeNode("root", None, number=0, visits=1, fixes_left=config.fixes)
        self.root.lines = 2 if config.preset == "code" else 0
        self.root.add("generate")

    def begin(self, outcome: Outcome) -> None:
        """Let the root hold a program: it can be improved, or fixed, beside the programs that are generated anew."""
        self.root.outcome, self.root.broken = outcome, outcome.bug
        self._open(self.root)
        if outcome.bug and self._config.allow_generate:
            self.root.add("generate")

    def select(self, call: int) -> Choice | None:
        """Go down the tree to an action that was never taken, or (preset ``code``) to a dead node that is asked again."""
        if not self._can_be_chosen(self.root):
            if self.root.waiting:
                return None
            self.root.add("generate")  # all that there was is dead
        node = self.root
        while True:
            parent, node = node, self._best_child(node)
            if node.visits == 0 or self._is_dead(node):
                break
        if node.visits == 0 and not parent.broken and self._may_repeat(node.kind):
            parent.add(node.kind)
        for passed in node.path():
            passed.waiting += 1
        basis = parent.to_be_fixed.outcome
        return Choice(call, node.kind, parent.number, parent.partial, basis, node)

    def apply(self, choice: Choice, outcome: Outcome) -> None:
        """Put the outcome where it was chosen, learn from it, and hand its value up."""
        node: TreeNode = choice.place
        parent = node.parent
        assert parent is not None
        for passed in node.path():
            passed.waiting -= 1
        before = self._siblings(parent, node.kind)
        self._expand(node, parent, choice.call, outcome)
        after = self._siblings(parent, node.kind)
        seen = before if self._config.preset == "paper" else after
        self._priors[node.kind].learn(outcome.score, seen)
        self._back_up(node)
        if parent.broken:
            self._settle_chain(parent, node)

    def nodes(self) -> tuple[SearchNode, ...]:
        """The root and every program, by number."""
        made = [node for node in self.root.below() if node.outcome is not None]
        return tuple(
            sorted((node.record() for node in (self.root, *made)), key=lambda record: record.node)
        )

    def weights(self) -> dict[str, tuple[float, float]]:
        """The learned ``(w_G, w_L)`` by kind."""
        return {kind: prior.weights for kind, prior in self._priors.items()}

    def _best_child(self, node: TreeNode) -> TreeNode:
        scores = {
            child: self._score(node, child) for child in node.children if self._can_be_chosen(child)
        }
        highest = max(scores.values())
        best = [child for child, score in scores.items() if score == highest]
        return best[self._random.choice(len(best))]

    def _score(self, parent: TreeNode, child: TreeNode) -> float:
        """Upper confidence bound; of an action that was never taken with its predicted value."""
        if child.visits > 0:
            tried, value = child.visits + child.waiting, child.hoped
        else:
            tried = sum(other.kind == child.kind for other in parent.children) - 1
            value = self._priors[child.kind].predict(self._siblings(parent, child.kind))
        visits = parent.visits + parent.waiting
        return value + self._config.exploration * math.sqrt(
            math.log(visits) / (tried + self._config.eps)
        )

    def _can_be_chosen(self, node: TreeNode) -> bool:
        """Whether a selection that comes here finds something to ask."""
        todo = [node]
        while todo:  # a chain may be as long as the budget: no recursion
            here = todo.pop()
            if here.visits > 0 and not self._is_dead(here):
                todo += here.children
            elif not here.waiting and (here.visits == 0 or self._config.preset == "code"):
                return True
        return False

    @staticmethod
    def _is_dead(node: TreeNode) -> bool:
        return node.terminal or not node.children

    def _may_repeat(self, kind: Kind) -> bool:
        return kind != "generate" or self._config.allow_generate

    @staticmethod
    def _siblings(parent: TreeNode, kind: Kind) -> list[float]:
        """The values of a node's children of one kind that hold an outcome."""
        return [
            child.value
            for child in parent.children
            if child.kind == kind and child.outcome is not None
        ]

    def _expand(self, node: TreeNode, parent: TreeNode, call: int, outcome: Outcome) -> None:
        """Fill a node: its state, what can be done there, and what it is worth until something is."""
        node.number, node.outcome = call, outcome
        node.broken = outcome.bug or (node.kind == "fix" and outcome.program is None)
        failed_fix = node.broken and node.kind == "fix"
        node.fixes_left = parent.fixes_left - 1 if failed_fix else self._config.fixes
        goes_on = self._grow(node, parent, outcome.program)
        node.terminal = not goes_on and (outcome.program is not None or not node.broken)
        node.reward = outcome.score if node.terminal else 0.0
        if not node.terminal:
            self._open(node)

    def _grow(self, node: TreeNode, parent: TreeNode, program: str | None) -> bool:
        """Set a node's partial program; returns whether the program goes on after it."""
        wanted = parent.lines + self._config.node_lines
        lines = [] if program is None else program.split("\n")[:wanted]
        node.partial = "\n".join(lines)
        node.lines = len(lines) + (self._config.preset == "code")
        return len(lines) == wanted

    def _open(self, node: TreeNode) -> None:
        """The actions that can be taken at a node that was just filled."""
        node.children = []
        if not node.broken:
            for kind in self._healthy_kinds():
                node.add(kind)
        elif self._bug_values[node.fixes_left] > 0:
            node.add("fix")
            node.value_sum += self._bug_values[node.fixes_left]

    def _healthy_kinds(self) -> Iterator[Kind]:
        if self._config.allow_generate:
            yield "generate"
        if self._config.allow_improve:
            yield "improve"

    def _back_up(self, node: TreeNode) -> None:
        """Count the visit from the node up to the root, and add what it brought; a bug brings nothing, and takes nothing."""
        assert node.outcome is not None
        value = 0.0 if node.terminal else node.outcome.score
        unknown = node.broken
        for passed in node.path():
            passed.value_sum += passed.value if unknown else value
            passed.visits += 1
            value = passed.reward + self._config.discount * value

    def _settle_chain(self, parent: TreeNode, child: TreeNode) -> None:
        """A broken program was fixed, or not: what this means for it and for the fixes before."""
        exhausted = child.broken and child.fixes_left == 0
        for node in parent.chain():
            worth = self._bug_values[child.fixes_left] if child.broken else child.value
            node.value_sum = 0.0 if exhausted else worth * node.visits
            node.terminal |= exhausted and node is not self.root
            node.broken &= exhausted
