"""The process in which a program runs: it preloads what programs may import, locks itself, then loads and answers.

It is started as a fresh interpreter by :mod:`atari_vlm.world_models.code.sandbox_process`, with no environment but its own. What
it says after a program was loaded is not trusted: the program owns this process.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import io
import os
import random
import resource
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from atari_vlm.world_models.code import landlock, seccomp, wire
from atari_vlm.world_models.code.wire import (
    AUDIT,
    CALL,
    DONE,
    LOAD,
    RAISED,
    REPLY,
    REQUEST,
    ROLLOUT,
    STEP,
    STEP_ROWS,
    UNSENDABLE,
)
from atari_vlm.world_models.code.worker_answers import fault
from atari_vlm.world_models.code.worker_program import Program, Rows
from atari_vlm.world_models.code.worker_script import MORE_ALLOWED, Script

ALLOWED = tuple(
    "__future__ abc array bisect cmath collections colorsys contextlib copy dataclasses datetime decimal enum fractions "
    "functools heapq io itertools json math numbers numpy operator pprint queue random re statistics string struct textwrap "
    "types typing warnings weakref".split()
)
_PRELOADED = (
    *ALLOWED,
    "collections.abc",
    *(f"numpy.{part}" for part in "fft linalg ma polynomial random typing".split()),
)
_CHUNK = 1 << 16
_REPLY_REST = REPLY.size - 4  # what the length of a frame counts besides its value


def main() -> NoReturn:
    """Preload, lock, say how that went, then answer until nobody asks any more. Arguments: two descriptors, bytes of memory."""
    request_fd, reply_fd, memory_bytes = map(int, sys.argv[-3:])
    for name in _PRELOADED:
        importlib.import_module(name)
    _quiet()
    _seed_what_has_no_seed()
    gc.freeze()  # what is here now stays
    said = _lock(request_fd, reply_fd, memory_bytes)
    body, outcome = wire.pack(said), DONE if said["seccomp"] else RAISED
    _send(reply_fd, REPLY.pack(len(body) + _REPLY_REST, 0, outcome) + body)
    if said["seccomp"]:
        _serve(request_fd, reply_fd)
    os._exit(0)  # no finalisers, no atexit: they are the program's


class _Nowhere(io.TextIOBase):
    """Where a program prints to."""

    def write(self, text: str) -> int:
        return len(text)


def _quiet() -> None:
    """No output, no input, no names of this machine."""
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = _Nowhere()  # type: ignore[misc, assignment]
    sys.stdin = sys.__stdin__ = io.StringIO()  # type: ignore[misc, assignment]
    sys.argv, sys.orig_argv = [""], [""]
    warnings.simplefilter("ignore")
    os.environ.clear()


def _seed_what_has_no_seed() -> None:
    """A generator made without a seed draws it from ``random``, which is seeded for every call: programs are repeatable."""
    seeded = random.Random.seed

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        seeded(self, random.getrandbits(64) if a is None else a, version)

    random.Random.seed = seed  # type: ignore[method-assign]
    random.seed(0)
    np.random.seed(0)
    np.random.bit_generator.randbits = random.getrandbits  # type: ignore[attr-defined]


def _lock(request_fd: int, reply_fd: int, memory_bytes: int) -> dict[str, Any]:
    """Landlock, limits, the filter, in this order, and what holds afterwards."""
    sys.path[:], sys.meta_path[:], sys.path_hooks[:] = [], [_Closed()], []
    sys.path_importer_cache.clear()
    used, reason, abi = _memory_in_use(), "", 0
    try:
        seccomp.no_privileges()
        abi = landlock.restrict()  # before the limits: it needs a descriptor
        _limit(used + memory_bytes)
        seccomp.install(request_fd, reply_fd)
    except OSError as error:
        reason = str(error)
    return {"seccomp": seccomp.holds(), "landlock": abi, "reason": reason}


def _limit(memory_bytes: int) -> None:
    """So much memory; no new files, processes, locked pages or core dumps."""
    _lower(resource.RLIMIT_AS, memory_bytes)
    for name in ("CORE", "FSIZE", "NPROC", "MEMLOCK", "NOFILE"):
        _lower(getattr(resource, f"RLIMIT_{name}"), 0)


def _memory_in_use() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


class _Closed:
    """The only finder left: there is nothing more to import."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        raise _not_allowed(name)


def _not_allowed(name: str) -> ImportError:
    return ImportError(f"a program may not import {name}, only {', '.join(ALLOWED)}")


def _loaded(text: str, is_script: bool) -> Program | Script:
    """The program of a request: one that has a contract, or a script."""
    if is_script:
        return Script(text, _builtins((*ALLOWED, *MORE_ALLOWED)))
    return Program(text, _builtins(ALLOWED))


def _builtins(allowed: tuple[str, ...]) -> dict[str, Any]:
    """The builtins that a program sees: all, with an import that keeps to the list."""
    real = builtins.__import__

    def guarded(
        name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        if level or name.partition(".")[0] not in allowed:
            raise _not_allowed(name)
        return real(name, globals, locals, fromlist, level)

    return {**vars(builtins), "__import__": guarded}


def _serve(request_fd: int, reply_fd: int) -> None:
    """Answer frame after frame."""
    program: Any = None
    run: dict[int, Callable[..., Any]] = {}
    while data := _receive(request_fd):
        size, number, seed, operation = REQUEST.unpack_from(data)
        if size + 4 > len(data):
            data += _rest(request_fd, size + 4 - len(data))
        try:
            value = wire.unpack(data, REQUEST.size)
            if operation == LOAD:
                program = _loaded(*value)
                run, answer = _operations(program), [program.contract, program.methods()]
            else:
                if program.draws:
                    program.seed(seed)
                answer = run[operation](*value)
            outcome, body = DONE, wire.pack(answer)
            if len(body) > wire.LIMIT:
                raise wire.WireError(f"{len(body):,} bytes, and at most {wire.LIMIT:,} cross")
        except wire.WireError as error:
            outcome, body = UNSENDABLE, wire.pack([str(error)[:500]])
        except BaseException as error:
            outcome, body = RAISED, _packed_fault(error)
        frame = REPLY.pack(len(body) + _REPLY_REST, number, outcome) + body
        sent = os.write(reply_fd, frame)
        if sent < len(frame):
            _send(reply_fd, frame[sent:])


def _operations(program: Program | Script) -> dict[int, Callable[..., Any]]:
    if isinstance(program, Script):
        return {CALL: program.call}
    return {
        CALL: program.call,
        STEP: program.step_alike,
        STEP_ROWS: lambda *given: _rows(program.step_rows(*given)),
        ROLLOUT: lambda *given: _rows(program.rollout(*given)),
        AUDIT: program.audit,
    }


def _packed_fault(error: BaseException) -> bytes:
    try:
        return wire.pack(list(fault(error)))
    except BaseException:
        return wire.pack(["Exception", "an error whose words cannot be sent", 0])


def _rows(found: Rows) -> list[Any]:
    """Rows as they are sent; what raised only where something did."""
    states, rewards, dones, faults = found
    return [states, rewards, dones, faults] if faults else [states, rewards, dones]


def _receive(fd: int) -> bytes:
    """The beginning of a frame, at least its head; nothing when the other side has gone."""
    data = os.read(fd, _CHUNK)
    if 0 < len(data) < REQUEST.size:
        data += _rest(fd, REQUEST.size - len(data))
    return data


def _rest(fd: int, missing: int) -> bytes:
    parts = []
    while missing > 0:
        parts.append(os.read(fd, min(missing, 16 * _CHUNK)))
        if not parts[-1]:
            os._exit(0)
        missing -= len(parts[-1])
    return b"".join(parts)


def _send(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
