"""SIGINT and SIGTERM: the first asks for a clean stop after the current step, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SHOW_CURSOR = "\x1b[?25h"


class Stop(threading.Event):
    """Set by a signal; ``exit_code`` is then 128 plus its number: 130 for Ctrl-C, 143 for SIGTERM."""

    exit_code = 130


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Within the block signals set the yielded :class:`Stop`. For the main thread of a program; handlers are put back after."""
    stop = Stop()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            end_at_once(number)
        stop.exit_code = 128 + number
        stop.set()
        os.write(2, b"\nstopping after the current step (again: at once) ...\n")

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def end_at_once(number: int) -> None:
    """Die of the signal, as if it had never been handled; the journal is safe at any point."""
    if sys.stderr.isatty():
        os.write(2, SHOW_CURSOR.encode())
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
