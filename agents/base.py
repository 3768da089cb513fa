"""The agent protocol: observation in, decision out. The environment does not matter: real or dreamed."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from atari_vlm.types import Decision, Transition


@runtime_checkable
class Agent(Protocol):
    """What decides. Deterministic given its seed and what it was shown (a VLM's replies included)."""

    def reset(self, *, seed: int | None = None) -> None:
        """Begin an episode: forget what belongs to the last one; ``seed`` fixes the agent's own randomness."""
        ...

    def act(self, observation: Any) -> Decision:
        """Choose the next action. Raises a typed error when the model cannot be asked: failure never looks like play."""
        ...

    def observe(self, transition: Transition) -> None:
        """Be told what the last decision led to."""
        ...
