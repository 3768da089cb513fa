"""Messages as the vendors want them: turns that alternate, and what the system says apart."""

from __future__ import annotations

from collections.abc import Sequence

from atari_vlm.errors import ConfigError
from atari_vlm.types import Message, Text


def merge_turns(messages: Sequence[Message]) -> list[Message]:
    """Messages without empty texts, consecutive ones of a role merged.

    Anthropic, Gemini and many open models' chat templates want turns to alternate.
    """
    turns: list[Message] = []
    for message in messages:
        parts = tuple(
            part for part in message.parts if not isinstance(part, Text) or part.text.strip()
        )
        if turns and turns[-1].role == message.role:
            turns[-1] = Message(message.role, turns[-1].parts + parts)
        elif parts:
            turns.append(Message(message.role, parts))
    if not any(turn.role == "user" for turn in turns):
        raise ConfigError("a request needs at least one user message that is not empty")
    if any(turn.role == "system" and turn.images for turn in turns):
        raise ConfigError("a system message holds text only; put images into a user message")
    return turns


def system_text(turns: list[Message]) -> str:
    """The text of all system messages, for vendors that want it apart."""
    return "\n\n".join(turn.text for turn in turns if turn.role == "system")
