"""Nobody: what stands where an agent that asks nobody would have its VLM."""

from __future__ import annotations

from collections.abc import Sequence

from atari_vlm.errors import NotSupportedError
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import Capability, NoScores, Sampling


class NoVLM(NoScores):
    """Stands where an agent that asks nobody would have its VLM; it has nothing to say."""

    name = "none"
    capabilities: frozenset[Capability] = frozenset()

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Refuse."""
        raise NotSupportedError("this agent asks no VLM")
