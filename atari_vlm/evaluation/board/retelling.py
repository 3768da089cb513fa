"""An episode told again: what is done is what was told, and what is decided and what comes of it must be the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete

from atari_vlm.agents.base import Agent
from atari_vlm.agents.plans import plans_of, repair_plans
from atari_vlm.evaluation.board.bundle import SOURCES, Refused, Told
from atari_vlm.evaluation.board.players import BundleVLM
from atari_vlm.runs.recorded import recorded_action
from atari_vlm.spaces import Env
from atari_vlm.types import Decision, Reply, Source, Transition
from atari_vlm.wrappers.views import action_names

Read = Callable[[Reply], list[int]]


class Retold:
    """Does what an episode did, and insists that the same is decided and the same comes of it: else :class:`Refused`."""

    def __init__(
        self, told: Told, vlm: BundleVLM, inner: Agent | None, first_actions: Read | None = None
    ):
        self._told, self._vlm, self._inner, self._first_actions = told, vlm, inner, first_actions
        self._said: dict[int, list[Reply]] = {}
        for said in told.replies:
            self._said.setdefault(said.step, []).append(said.reply)
        self._step = self.fallbacks = 0

    def reset(self, *, seed: int | None = None) -> None:
        """Back to the first step."""
        self._step = self._vlm.step = 0
        if self._inner is not None:
            self._inner.reset(seed=seed)

    def act(self, observation: Any) -> Decision:
        """The told action; where the agent was made anew, its decision, which must be the same."""
        if self._step == self._told.length:
            raise Refused(
                f"the game goes on after step {self._step}, with which the bundle ends the episode"
            )
        self._vlm.step = self._step
        decision = self._as_told() if self._inner is None else self._decided(observation)
        letter = None if self._told.sources is None else self._told.sources[self._step]
        if letter is not None and SOURCES[letter] != str(decision.source):
            raise Refused(
                f"step {self._step}: the action is said to come from {SOURCES[letter]}, and comes from {decision.source}"
            )
        self.fallbacks += decision.source is Source.FALLBACK
        return decision

    def observe(self, transition: Transition) -> None:
        """Compare reward and end with what was told."""
        told, step = self._told.rewards[self._step], self._step
        if not equal(transition.reward, told):
            raise Refused(
                f"step {step}: the reward is {transition.reward:g}, and {told:g} in the bundle"
            )
        if self._inner is not None:
            self._inner.observe(transition)
        self._step += 1

    def _decided(self, observation: Any) -> Decision:
        assert self._inner is not None
        decision = self._inner.act(observation)
        told, came = self._told.actions[self._step], np.asarray(decision.action).tolist()
        if came != told:
            because = "its reply is read as" if decision.replies else "the agent decides"
            raise Refused(
                f"step {self._step}: the action is {told!r:.60} in the bundle, and {because} {came!r:.60}"
            )
        self._vlm.check_said()
        return decision

    def _as_told(self) -> Decision:
        """Taken as said, but that plans are followed as they were read."""
        replies = self._said.get(self._step, [])
        told = self._told.actions[self._step]
        if self._first_actions is not None and replies:
            legal = self._first_actions(replies[-1])
            if told not in legal:
                raise Refused(
                    f"step {self._step}: the action is {told!r:.60} in the bundle, and its reply's plans begin with {legal}"
                )
        letter = (self._told.sources or "")[self._step : self._step + 1]
        source = Source(SOURCES[letter]) if letter else Source.POLICY
        waited = sum(reply.latency_s for reply in replies)
        return Decision(
            recorded_action(told), source, None, (Reply("", "recorded", latency_s=waited),)
        )


def first_actions(env: Env, plans: tuple[int, int] | None) -> Read | None:
    """How a reply with plans is read: the actions that they begin with; NOOP where it holds none that can be used."""
    if plans is None:
        return None
    count, horizon = plans
    names = action_names(env, "plans")
    noop = names.index("NOOP") if "NOOP" in names else 0

    def read(reply: Reply) -> list[int]:
        usable = repair_plans(plans_of(reply, names, count, horizon), count, horizon, fill=noop)
        return sorted({plan[0] for plan in usable}) or [noop]

    return read


def check_actions(env: Env, told: Told) -> None:
    """An action that the game has not is a reason, whatever the game would say of it."""
    space = env.action_space
    for step, action in enumerate(told.actions):
        if isinstance(space, Discrete) == isinstance(action, list):
            raise Refused(f"step {step}: {action!r:.60} is no action of {space}")
        if isinstance(space, Discrete) and not space.contains(action):
            raise Refused(f"step {step}: {action} is no action of {space}")


def equal(came: float, told: float) -> bool:
    """Equal numbers; games of continuous physics may round otherwise in the last digits on another processor."""
    return came == told or math.isclose(came, told, rel_tol=1e-9, abs_tol=1e-12)
