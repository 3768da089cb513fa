"""How a program ends when it cannot go on: one line on stderr, and an exit code that says what the caller can do. What it warns
of on the way is a line, too.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atari_vlm.errors import AtariVLMError
from atari_vlm.runs.terminal import one_line
from atari_vlm.vlm.layers.keyless import known_keys, without_keys

_INTERRUPTED = 130  # as a shell reports SIGINT
_READER_GONE = 141  # as a shell reports SIGPIPE
_NO_FILE = 74  # EX_IOERR of sysexits.h

Main = Callable[[list[str] | None], int]


def program(main: Main) -> Callable[..., int]:
    """A ``main(argv)`` whose errors end it with one line and their exit code, and Ctrl-C without any; its warnings are lines."""

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> int:
        try:
            with _own_warnings_as_lines():
                return main(argv)
        except (AtariVLMError, OSError) as error:
            return end_with(error)
        except KeyboardInterrupt:
            return _INTERRUPTED

    return run


def end_with(error: AtariVLMError | OSError) -> int:
    """Say what was wrong, without any key, and return the exit code: the error's own, 74 for a file or a full disk.

    Nothing is said when whoever read the output has gone (``... --help | head``).
    """
    if isinstance(error, BrokenPipeError):
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what is still buffered goes nowhere
        return _READER_GONE
    print(f"error: {one_line(without_keys(str(error), known_keys()))}", file=sys.stderr)
    return error.exit_code if isinstance(error, AtariVLMError) else _NO_FILE


@contextmanager
def _own_warnings_as_lines() -> Iterator[None]:
    """Warnings of this package are written as ``warning: ...``, without the place in its code; all others as ever."""
    usual, here = warnings.formatwarning, Path(__file__).parent

    def formatted(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if not Path(filename).is_relative_to(here):
            return usual(message, category, filename, lineno, line)
        return f"warning: {one_line(without_keys(str(message), known_keys()))}\n"

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = usual
