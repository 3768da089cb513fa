"""Agents that plan in a world model without a VLM: tree search and the cross-entropy method."""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.agents.world_view import FrameSource, WorldView
from atari_vlm.planning.cross_entropy import CEMConfig, cem
from atari_vlm.planning.scoring import PlanScores, ValueFunction
from atari_vlm.planning.tree_search import MCTSConfig, SearchResult, mcts
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.world_models.base import WorldModel


class _PlanningAgent:
    """What the planners share: the view of the world, the random numbers, and being told what happened."""

    def __init__(self, world_model: WorldModel[Any], value: ValueFunction | None, frame_source: FrameSource | None):
        self.world_model, self._value = world_model, value
        self._view = WorldView(world_model, frame_source)
        self._rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode; without a seed the random numbers go on where they were."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._view.reset()

    def observe(self, transition: Transition) -> None:
        """Note what was really done."""
        self._view.did(transition.decision.action)


class MCTSAgent(_PlanningAgent):
    """Plays the most visited action of a Monte Carlo tree search; ``reuse_tree`` keeps the subtree of what was played.

    The subtree is kept only while the model's predicted reward and end agree with what really happened.
    """

    def __init__(
        self,
        world_model: WorldModel[Any],
        config: MCTSConfig | None = None,
        *,
        value: ValueFunction | None = None,
        reuse_tree: bool = True,
        frame_source: FrameSource | None = None,
    ):
        super().__init__(world_model, value, frame_source)
        self.config, self._reuse = config or MCTSConfig(), reuse_tree
        self._last: SearchResult | None = None

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode with an empty tree."""
        super().reset(seed=seed)
        self._last = None

    def act(self, observation: Any) -> Decision:
        """Search from the present state."""
        self._view.look(observation)
        tree = self._last.tree.advance(self._last.action) if self._last is not None and self._reuse else None
        state = self._view.state(self._rng)
        self._last = mcts(self.world_model, state, self.config, rng=self._rng, value=self._value, tree=tree)
        details = {
            "visits": self._last.visits.tolist(),
            "values": [None if np.isnan(v) else float(v) for v in self._last.values],
            "simulations": self._last.simulations,
        }
        return Decision(self._last.action, Source.POLICY, details=details)

    def observe(self, transition: Transition) -> None:
        """Drop the tree when something else was played or happened than it holds."""
        super().observe(transition)
        if self._last is None:
            return
        child = self._last.tree.root.children[self._last.action]
        expected = child is not None and (child.reward, child.over) == (transition.reward, transition.terminated)
        if transition.decision.action != self._last.action or not expected:
            self._last = None


class CEMAgent(_PlanningAgent):
    """Plays the first action of the best plan that the cross-entropy method finds; the next search starts at its rest."""

    def __init__(
        self,
        world_model: WorldModel[Any],
        config: CEMConfig | None = None,
        *,
        value: ValueFunction | None = None,
        frame_source: FrameSource | None = None,
    ):
        super().__init__(world_model, value, frame_source)
        self.config = config or CEMConfig()
        self._last: PlanScores | None = None

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode without a plan."""
        super().reset(seed=seed)
        self._last = None

    def act(self, observation: Any) -> Decision:
        """Search from the present state. The action is the plan's first: an int, or an array where actions are continuous."""
        self._view.look(observation)
        warm = None if self._last is None else self._last.plans[self._last.best]
        state = self._view.state(self._rng)
        self._last = cem(self.world_model, state, self.config, rng=self._rng, warm_start=warm, value=self._value)
        plan = self._last.plans[self._last.best]
        details = {"plan": plan.tolist(), "score": float(self._last.scores[self._last.best])}
        return Decision(plan[0] if plan.ndim > 1 else int(plan[0]), Source.POLICY, details=details)
