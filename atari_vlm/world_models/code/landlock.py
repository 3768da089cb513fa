"""The second wall: Landlock takes the file system, TCP, foreign signals and sockets away where the kernel has it.

An empty ruleset handles every right that this kernel knows and grants none. Its system calls have one number everywhere.
"""

from __future__ import annotations

import ctypes
import os
import struct

_CREATE, _RESTRICT = 444, 446
_VERSION_FLAG = 1
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # ABI -> how many file rights it knows
_BIND_AND_CONNECT, _ABSTRACT_SOCKETS_AND_SIGNALS = 3, 3  # of ABI 4 and of ABI 6


def restrict() -> int:
    """Take everything away that Landlock can; the ABI it was done with, 0 where this kernel has none. Needs no_new_privs."""
    abi = _call(_CREATE, None, 0, _VERSION_FLAG)
    if abi < 1:
        return 0
    attributes = ruleset_of(abi)
    ruleset = _call(_CREATE, attributes, len(attributes), 0)
    if ruleset < 0:
        return 0
    try:
        return abi if _call(_RESTRICT, ruleset, 0) == 0 else 0
    finally:
        os.close(ruleset)


def ruleset_of(abi: int) -> bytes:
    """``struct landlock_ruleset_attr`` as this ABI knows it: file rights, network rights, scopes."""
    files = (1 << _FILE_RIGHTS.get(abi, 16)) - 1
    words = [files]
    if abi >= 4:
        words.append(_BIND_AND_CONNECT)
    if abi >= 6:
        words.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    return struct.pack(f"<{len(words)}Q", *words)


def _call(number: int, *arguments: bytes | int | None) -> int:
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(syscall(ctypes.c_long(number), *words))
