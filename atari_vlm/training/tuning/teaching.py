"""A teacher plays, and the very agent that will play after training looks on: what it would have been asked is what it learns.

:class:`TaughtAgent` holds two agents. The teacher decides. The pupil is a :class:`~atari_vlm.agents.vlm_agent.VLMAgent` like
any other, whose VLM notes the messages that it is asked with and answers with the teacher's action: so the pupil's pictures,
facts, examples and history are those of play, made by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atari_vlm.agents.base import Agent
from atari_vlm.agents.vlm_agent import VLMAgent, VLMAgentOptions
from atari_vlm.description import read_actions
from atari_vlm.types import Decision, Message, Reply, Source, Transition
from atari_vlm.vlm.base import Capability, Sampling


@dataclass(frozen=True, eq=False)
class TaughtDecision:
    """What the pupil is asked, the legal names in order, and the index of the teacher's action; ``episode`` counts from 0.

    ``reasoning`` is what the teacher said about it, empty where it said nothing.
    """

    messages: tuple[Message, ...]
    names: tuple[str, ...]
    action: int
    episode: int
    reasoning: str = ""


class NotingVLM:
    """Notes what it is asked, and is sure of the action that it was told."""

    name = "noting"
    capabilities: frozenset[Capability] = frozenset({"scores"})

    def __init__(self) -> None:
        self.action = 0
        self.asked: tuple[tuple[Message, ...], tuple[str, ...]] | None = None

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Nothing is thought while somebody else decides."""
        return Reply("", self.name)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """0 for the action, -1 for the others."""
        self.asked = tuple(messages), tuple(choices)
        return np.where(np.arange(len(choices)) == self.action, 0.0, -1.0)


class TaughtAgent:
    """Plays as ``teacher`` does, and hands every decision to ``keep`` as a pupil with these options would be asked for it.

    ``explore`` of the actions are random instead (drawn from the episode's seed); what is kept is still what the teacher
    wanted, so that a pupil learns the way back. Decisions that are a teacher's fallback are not kept.
    """

    def __init__(
        self,
        teacher: Agent,
        prompt_type: str,
        options: VLMAgentOptions,
        keep: Callable[[tuple[Message, ...], tuple[str, ...], Decision], None],
        *,
        examples: Sequence[Message] = (),
        explore: float = 0.0,
    ):
        self._teacher, self._keep, self._explore = teacher, keep, explore
        self._vlm = NotingVLM()
        self._pupil = VLMAgent(
            self._vlm, prompt_type=prompt_type, options=options, examples=examples
        )

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode."""
        self._rng = np.random.default_rng(seed)
        self._teacher.reset(seed=seed)
        self._pupil.reset(seed=seed)

    def act(self, observation: Mapping[str, Any]) -> Decision:
        """What the teacher decides, or a random action."""
        decision = self._teacher.act(observation)
        self._vlm.asked, self._vlm.action = None, int(decision.action)
        random = self._explore and self._rng.random() < self._explore
        played = int(self._rng.integers(self._count(observation))) if random else None
        if played is not None:
            self._vlm.action = played  # the pupil's history tells what was played
        self._pupil.act(observation)
        if self._vlm.asked is not None and decision.source is not Source.FALLBACK:
            self._keep(*self._vlm.asked, decision)
        return decision if played is None else Decision(played, Source.POLICY)

    def _count(self, observation: Mapping[str, Any]) -> int:
        return len(read_actions(observation["action_space"]))

    def observe(self, transition: Transition) -> None:
        """Pass on what happened."""
        self._teacher.observe(transition)
        self._pupil.observe(transition)
