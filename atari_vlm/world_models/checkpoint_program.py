"""The text of a model that is a program, as a file of its checkpoint: written and read as text, never run, never parsed."""

from __future__ import annotations

from atari_vlm.errors import CheckpointError, ConfigError, reading
from atari_vlm.world_models.checkpoint_files import MOST_PROGRAM_BYTES


def pack_program(program: str) -> bytes:
    """A program as UTF-8; ``ConfigError`` for one over 256 KiB, with NUL bytes or with half characters."""
    try:
        return _checked(program.encode())
    except ValueError as error:
        raise ConfigError(f"no checkpoint can hold this program: {error}") from error


def unpack_program(raw: bytes, where: str) -> str:
    """The text that was written; ``CheckpointError`` for what :func:`pack_program` would refuse."""
    with reading(where, CheckpointError):
        return _checked(raw).decode()


def _checked(raw: bytes) -> bytes:
    if len(raw) > MOST_PROGRAM_BYTES:
        raise ValueError(f"a program has at most {MOST_PROGRAM_BYTES} bytes, this one {len(raw)}")
    if b"\0" in raw:
        raise ValueError("a program has no NUL bytes")
    return raw
