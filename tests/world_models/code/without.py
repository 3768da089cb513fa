"""Run a Python program as on a kernel without a wall: ``python without.py landlock | seccomp | honesty PROGRAM ARGUMENTS``.

``landlock`` and ``seccomp`` are not there; ``honesty``: the kernel says that a filter was put on and puts on none. It is itself a
filter of system calls, over this process and all that it starts.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

from atari_vlm.world_models.code.seccomp import TABLES, apply

LANDLOCK = 444


def without(wall: str) -> None:
    """Take a wall away from this process and those it starts."""
    table = TABLES[platform.machine()]
    number = LANDLOCK if wall == "landlock" else table.seccomp
    answer = {"landlock": errno.ENOSYS, "seccomp": errno.EINVAL, "honesty": 0}[wall]
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | answer), (0x06, 0, 0, 0x7FFF0000)]  # fmt: skip
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # no new privileges: what a filter needs
    apply(b"".join(struct.pack("<HBBI", *line) for line in code), table)


if __name__ == "__main__":
    without(sys.argv[1])
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
