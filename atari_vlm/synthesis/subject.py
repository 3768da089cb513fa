"""What is modelled: from the options of a command line to an environment and its transitions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.experience.transition_reading import read_buffer
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.synthesis.benchmark.catalogue import (
    BenchmarkEnv,
    benchmark_ids,
    env_of_buffer,
    find_env,
)
from atari_vlm.synthesis.benchmark.collecting import fill_replay_buffer
from atari_vlm.synthesis.command_options import EnvironmentOptions, SearchCommand

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9.-]+")


def named_env(options: EnvironmentOptions) -> BenchmarkEnv | None:
    """The environment that ``--env`` or ``--idx`` names, or both if they agree; ``None`` where neither is given."""
    named = [find_env(name) for name in (options.env, options.idx) if name is not None]
    if len({env.env_id for env in named}) > 1:
        raise ConfigError(
            f"--env {options.env} is not --idx {options.idx}, which is {named[1].env_id}: give one of them"
        )
    return named[0] if named else None


def env_id_of(options: SearchCommand) -> str:
    """The environment that is meant, found out before anything is played or asked.

    Raises ``ConfigError`` where nothing is named, ``MismatchError`` for a buffer of another environment.
    """
    env = named_env(options)
    if options.buffer is None:
        if env is None:
            raise ConfigError(
                "which environment? --env ID, --idx N, or --buffer FILE of its transitions"
            )
        return env.env_id
    buffer = read_buffer(options.buffer)
    if env is not None and env.env_id != made_as(buffer):
        raise MismatchError(
            f"{options.buffer} holds transitions of {buffer.env_id}; asked for is {env.asked}"
        )
    return buffer.env_id


def transitions_for(options: SearchCommand) -> TransitionBuffer:
    """The transitions of ``--buffer``, else of the environment that is named, collected now."""
    env = named_env(options)
    if options.buffer is not None or env is None:
        return read_buffer(options.buffer or "")
    asked = (options.policy, options.n_transitions, options.seed)
    return collected(env, options.save_dir, *asked)


def note_on(buffer: TransitionBuffer) -> str:
    """What else is to be known about the environment of a buffer, beside every number of it; empty for nothing."""
    env = env_of_buffer(buffer.env_id)
    if env is None or not env.note:
        return ""
    return f"the paper's {env.paper_id} is {env.env_id} here: {env.note}"


def shard(index: int, count: int) -> tuple[str, ...]:
    """Part ``index`` of the list of environments, split into ``count`` parts: every so-manieth of them."""
    ids = benchmark_ids()
    parts = min(count, len(ids))
    if not 0 <= index < parts:
        raise ConfigError(f"--idx is a part of --total-tasks, from 0 to {parts - 1}, got {index!r}")
    return ids[index::count]


def collected(
    env: BenchmarkEnv, save_dir: Path, policy: str, n_transitions: int, seed: int
) -> TransitionBuffer:
    """Transitions of ``env`` as ``policy`` plays it; kept beside the runs, so that a run that goes on has the same."""
    folder = save_dir / "buffers"
    name = _NOT_IN_A_NAME.sub("-", "-".join((env.env_id, policy, str(n_transitions), str(seed))))
    if all((folder / f"{name}{end}").exists() for end in (".npz", ".json")):
        return read_buffer(folder / f"{name}.npz")
    played_by: Any = policy
    return fill_replay_buffer(env.asked, n_transitions, folder, name, policy=played_by, seed=seed)


def made_as(buffer: TransitionBuffer) -> str:
    """The id under which a buffer's environment is made here."""
    env = env_of_buffer(buffer.env_id)
    return buffer.env_id if env is None else env.env_id
