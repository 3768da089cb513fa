"""The wall: a filter of system calls that this process can never take off again (Linux, x86-64 and aarch64), by ctypes alone.

Default deny: what is not in the table answers EPERM, a call of another architecture ends the process. What is left is to read
one pipe, to write another, to ask for memory that is not executable, the clock, and to end.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
import sys
from dataclasses import dataclass

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF: ld [k], jeq, jset, ret
_ALLOW, _DENY, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_PROT_EXEC, _PRIVILEGED_ADVICE = 4, 0xFFFFFFE0  # advice of 32 and above is to poison memory: root's
_CAPABILITIES = 0x20080522  # version 3 of capset(2)
_PR_SET_NO_NEW_PRIVS, _SET_MODE_FILTER, _ALL_THREADS = 38, 1, 1


@dataclass(frozen=True)
class Table:
    """The numbers of one architecture."""

    architecture: int  # AUDIT_ARCH_* of linux/audit.h
    seccomp: int  # the number of seccomp(2) itself
    read: int
    write: int
    mapping: tuple[int, ...]  # mmap, mprotect: protection is the third argument
    advice: int  # madvise: what is advised is the third argument
    free: tuple[int, ...]  # munmap mremap brk exit exit_group clock_gettime sched_yield


TABLES = {
    "x86_64": Table(0xC000003E, 317, 0, 1, (9, 10), 28, (11, 25, 12, 60, 231, 228, 24)),
    "aarch64": Table(0xC00000B7, 277, 63, 64, (222, 226), 233, (215, 216, 214, 93, 94, 113, 124)),
}


def program_of(table: Table, request_fd: int, reply_fd: int) -> bytes:
    """The filter as BPF instructions, eight bytes each."""
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, table.architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number in table.free:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for number, fd in ((table.read, request_fd), (table.write, reply_fd)):
        code += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _ARGUMENTS),
            (_EQUAL, 0, 1, fd),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _DENY),
        ]
    limited = [
        *((number, _PROT_EXEC) for number in table.mapping),
        (table.advice, _PRIVILEGED_ADVICE),
    ]
    for number, forbidden in limited:
        code += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _ARGUMENTS + 2 * 8),
            (_ANY_BIT, 1, 0, forbidden),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _DENY),
        ]
    code.append((_RETURN, 0, 0, _DENY))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def no_privileges() -> None:
    """This process has no more of root's rights, if it had any, and will have none: what a filter needs. Raises ``OSError``."""
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITIES, 0))
    nothing = ctypes.create_string_buffer(24)
    _call("capset", ctypes.addressof(header), ctypes.addressof(nothing))
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def install(request_fd: int, reply_fd: int) -> None:
    """Lock this process, every thread of it, for good. Raises ``OSError`` where the kernel or the machine has no such filter."""
    table = TABLES.get(platform.machine())
    if table is None or sys.platform != "linux":
        raise OSError(errno.ENOSYS, f"no table of system calls for {platform.machine()}")
    apply(program_of(table, request_fd, reply_fd), table)


def apply(code: bytes, table: Table) -> None:
    """Put a filter of BPF instructions over every thread of this process. Raises ``OSError``."""
    program = _Program(len(code) // 8, code)
    _call("syscall", table.seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.addressof(program), 0)


def _call(function: str, *arguments: int) -> None:
    call = getattr(ctypes.CDLL(None, use_errno=True), function)
    call.argtypes, call.restype = [ctypes.c_ulong] * len(arguments), ctypes.c_long
    if call(*arguments) != 0:
        number = ctypes.get_errno() or errno.EINVAL
        raise OSError(number, f"{function}({arguments[0]}): {os.strerror(number)}")


def holds() -> bool:
    """Whether what must be refused is refused: a pipe, a file, a name, executable memory. Nothing lasting comes of trying."""
    return all(_refused(attempt) for attempt in (_pipe, _file, os.getcwd, _executable))


def _refused(attempt: object) -> bool:
    try:
        attempt()  # type: ignore[operator]
    except PermissionError as error:
        return error.errno == errno.EPERM
    except OSError:
        return False
    return False


def _pipe() -> None:
    for fd in os.pipe():
        os.close(fd)


def _file() -> None:
    os.close(os.open("/", os.O_RDONLY))


def _executable() -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
