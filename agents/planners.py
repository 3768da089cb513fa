"""Agents that plan in a world model without a VLM: tree search and the cross-entropy method."""

from __future__ import annotations

from typing import Any

import numpy as np

from atari_vlm.actions import as_action
from atari_vlm.errors import check_count
from atari_vlm.planning.cross_entropy import CEMConfig, cem
from atari_vlm.planning.scoring import PlanScores, Valuing
from atari_vlm.planning.simulation import MCTSConfig
from atari_vlm.planning.tree import Tree
from atari_vlm.planning.tree_search import SearchResult, mcts
from atari_vlm.types import Decision, Source, Transition
from atari_vlm.world_models.base import WorldModel, in_units_of
from atari_vlm.world_models.seeing import FrameSource
from atari_vlm.world_models.view import WorldView


class _PlanningAgent:
    """What the planners share: the view of the world, the random numbers, and being told what
    happened.
    """

    def __init__(
        self,
        world_model: WorldModel[Any],
        value: Valuing,
        frame_source: FrameSource | None,
    ):
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
        self._view.executed(transition.decision.action)


class MCTSAgent(_PlanningAgent):
    """Plays the most visited action of a Monte Carlo tree search; ``reuse_tree`` keeps the subtree
    of what was played.

    The subtree is kept only while the model's predicted reward, end and, in arrays of numbers,
    state agree with what really happened. ``follow`` > 1 plays up to so many actions of the most
    visited path before it searches again, as long as they agree (source BUFFER).
    """

    def __init__(
        self,
        world_model: WorldModel[Any],
        config: MCTSConfig | None = None,
        *,
        value: Valuing = "own",
        reuse_tree: bool = True,
        follow: int = 1,
        frame_source: FrameSource | None = None,
    ):
        check_count(follow=follow)
        super().__init__(world_model, value, frame_source)
        self.config, self._reuse, self._follow = config or MCTSConfig(), reuse_tree, follow
        self._tree: Tree | None = None
        self._followed, self._next = 0, 0

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode with an empty tree."""
        super().reset(seed=seed)
        self._tree, self._followed, self._next = None, 0, 0

    def act(self, observation: Any) -> Decision:
        """Follow the path of the last search, or search from the present state."""
        self._view.observe(observation)
        if (
            self._tree is not None
            and 0 < self._followed < self._follow
            and any(self._tree.root.visits)
        ):
            self._followed += 1
            self._next = self._tree.favourite(self.config.backup)
            return Decision(self._next, Source.BUFFER)
        state = self._view.state(self._rng)
        kept = self._reuse and self._tree is not None and self._tree.stands_at(state)
        result = mcts(
            self.world_model,
            state,
            self.config,
            rng=self._rng,
            prior=self._prior(observation),
            value=self._value,
            tree=self._tree if kept else None,
        )
        self._tree, self._followed, self._next = result.tree, 1, result.action
        return Decision(result.action, Source.POLICY, details=search_details(result))

    def observe(self, transition: Transition) -> None:
        """Walk down the tree; drop it when something else was played or happened than it holds."""
        super().observe(transition)
        if self._tree is None:
            return
        expected = self._tree.expected(self._next)
        kept = transition.decision.action == self._next and expected is not None
        if kept and expected is not None:
            reward = in_units_of(self.world_model, transition.reward)
            kept = expected[1] == transition.terminated and bool(
                np.isclose(expected[0], reward, rtol=1e-5, atol=1e-6)
            )
        self._tree = self._tree.advance(self._next) if kept else None

    def _prior(self, observation: Any) -> np.ndarray | None:
        """Probabilities of the root's actions, where something knows them."""
        return None


def search_details(result: SearchResult) -> dict[str, Any]:
    """What a report shows of a search."""
    return {
        "visits": result.visits.tolist(),
        "values": [None if np.isnan(v) else float(v) for v in result.values],
        "simulations": result.simulations,
    }


class CEMAgent(_PlanningAgent):
    """Plays the first action of the best plan that the cross-entropy method finds; the next search
    starts at its rest.
    """

    def __init__(
        self,
        world_model: WorldModel[Any],
        config: CEMConfig | None = None,
        *,
        value: Valuing = "own",
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
        """Search from the present state. The action is the plan's first: an int, or an array where
        actions are continuous.
        """
        return self.search(observation)

    def search(self, observation: Any, initial_plans: np.ndarray | None = None) -> Decision:
        """:meth:`act`, with plans ``(P, H)`` that belong to the first population."""
        self._view.observe(observation)
        warm = None if self._last is None else self._last.plans[self._last.best]
        state = self._view.state(self._rng)
        self._last = cem(
            self.world_model,
            state,
            self.config,
            rng=self._rng,
            warm_start=warm,
            initial_plans=initial_plans,
            value=self._value,
        )
        plan = self._last.plans[self._last.best]
        details = {"plan": plan.tolist(), "score": float(self._last.scores[self._last.best])}
        return Decision(
            as_action(self.world_model.action_space, plan[0]), Source.POLICY, details=details
        )
