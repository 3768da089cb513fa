"""Functions that tests call on workers of Ray."""

import os
import signal
import time
from pathlib import Path

from atari_vlm.errors import RunError, UnknownNameError


def times(factor, number):
    """A result."""
    return factor * number


def fails(number):
    """An error with a constructor of its own; or a long time."""
    if number == 1:
        raise UnknownNameError("game", "Pnog", ["Pong"])
    time.sleep(60 if number else 0)


def tells(key):
    """An error that holds a key."""
    raise RunError(f"the key is {key}")


def waits_once(marks, _):
    """The first time until it is killed, its process named in a folder."""
    if list(Path(marks).iterdir()):
        return "again"
    (Path(marks) / str(os.getpid())).touch()
    time.sleep(60)
    return "never"


def dies(_):
    """The end of the process."""
    os.kill(os.getpid(), signal.SIGKILL)
