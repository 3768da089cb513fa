"""What a writer is told of an environment that nobody described: its spaces."""

from __future__ import annotations

from atari_vlm.experience.transitions import TransitionBuffer


def description_of(buffer: TransitionBuffer) -> str:
    """The spaces of a buffer's environment in words."""
    return (
        f"States (observations) are of {buffer.observation_space}.\n"
        f"Actions are of {buffer.action_space}.\n"
        "The rules are those of the environment of that name."
    )
