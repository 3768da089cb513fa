"""What a writer is told of an environment: its rules in words where we have them, else its spaces."""

from __future__ import annotations

from atari_vlm.errors import MissingDependencyError
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.synthesis.benchmark.catalogue import BenchmarkEnv, env_of_buffer


def description_of(buffer: TransitionBuffer) -> str:
    """The description of a buffer's environment, which must be of the buffer's states: old versions had others."""
    env = env_of_buffer(buffer.env_id)
    if env is not None and _is_alike(env, buffer):
        return env.description
    return (
        f"States (observations) are of {buffer.observation_space}.\n"
        f"Actions are of {buffer.action_space}.\n"
        "The rules are those of the environment of that name."
    )


def _is_alike(env: BenchmarkEnv, buffer: TransitionBuffer) -> bool:
    if env.env_id == buffer.env_id:
        return True
    try:
        made = env.make()
    except MissingDependencyError:
        return False
    alike = bool(made.observation_space == buffer.observation_space)
    made.close()
    return alike
