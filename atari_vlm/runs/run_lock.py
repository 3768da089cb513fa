"""Who writes a run: one process, which holds its lock."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from pathlib import Path
from typing import IO

from atari_vlm.errors import RunError
from atari_vlm.files import naming


def hold_lock(path: Path) -> IO[str]:
    """The lock of a run, held; ``RunError`` where somebody else holds it, or where it is no lock."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path / "lock", flags, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _no_lock(path)
    lock = os.fdopen(handle, "r+", encoding="utf-8", errors="replace")
    try:
        owner = lock.read(32)
        if not re.fullmatch(r"([0-9]{1,20}\n)?", owner):
            raise _no_lock(path)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with naming(path / "lock"):
            lock.seek(0)
            lock.truncate()
            lock.write(f"{os.getpid()}\n")
            lock.flush()
    except BlockingIOError as error:
        lock.close()
        raise RunError(
            f"the run {path} is being written by another process (process id {owner.strip() or 'unknown'})"
        ) from error
    except BaseException:
        lock.close()
        raise
    return lock


def _no_lock(path: Path) -> RunError:
    return RunError(f"{path / 'lock'} is not the lock of a run; it is left as it is")
