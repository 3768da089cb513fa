"""A tree search as plain as can be: UCT, one state at a time, random rollouts. What the batched search is measured against."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

Step = Callable[[list[float], int], tuple[list[float], bool]]


class _Node:
    __slots__ = ("children", "over", "state", "values", "visits")

    def __init__(self, state: list[float], over: bool, num_actions: int):
        self.state, self.over = state, over
        self.children: list[_Node | None] = [None] * num_actions
        self.visits = [0] * num_actions
        self.values = [0.0] * num_actions


class PlainSearch:
    """UCT over ``step(state, action) -> (state, over)`` where every step is worth 1."""

    def __init__(
        self, step: Step, num_actions: int, *, depth: int, rollout: int, discount: float = 0.99
    ):
        self._step, self._num_actions, self._depth = step, num_actions, depth
        self._rollout, self._discount = rollout, discount
        self._random = random.Random(0)

    def run(self, state: list[float], simulations: int) -> int:
        """The most visited action after so many simulations."""
        root = _Node(state, False, self._num_actions)
        for _ in range(simulations):
            self._simulate(root)
        return max(range(self._num_actions), key=lambda action: root.visits[action])

    def _simulate(self, root: _Node) -> None:
        node = root
        path: list[tuple[_Node, int]] = []
        while not node.over and len(path) < self._depth:
            action = self._select(node)
            path.append((node, action))
            child = node.children[action]
            if child is None:
                child = node.children[action] = _Node(
                    *self._step(node.state, action), self._num_actions
                )
                total = 0.0 if child.over else self._estimate(child.state)
                break
            node = child
        else:
            total = 0.0
        for parent, action in reversed(path):
            total = 1.0 + self._discount * total
            parent.visits[action] += 1
            parent.values[action] += total

    def _select(self, node: _Node) -> int:
        logarithm = math.log(sum(node.visits) + 1)
        scores = [
            value / count + math.sqrt(2 * logarithm / count) if count else math.inf
            for value, count in zip(node.values, node.visits, strict=True)
        ]
        return scores.index(max(scores))

    def _estimate(self, state: list[float]) -> float:
        total, weight = 0.0, 1.0
        for _ in range(self._rollout):
            state, over = self._step(state, self._random.randrange(self._num_actions))
            total, weight = total + weight, weight * self._discount
            if over:
                break
        return total
