"""One worker as we see it: started, asked under a deadline, believed in nothing, killed and reaped.

The worker is a fresh interpreter, never a fork: our memory holds keys. It gets two pipes, an environment of our making and the
folders of this package and of numpy, and says in its first frame whether it could lock itself.
"""

from __future__ import annotations

import fcntl
import math
import os
import resource
import select
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import NoReturn

import numpy as np

import atari_vlm
from atari_vlm.errors import (
    SandboxCrashError,
    SandboxError,
    SandboxTimeoutError,
    SandboxViolationError,
)
from atari_vlm.world_models.code import wire
from atari_vlm.world_models.code.sandbox_rows import unavailable
from atari_vlm.world_models.code.wire import DONE, REPLY, REQUEST

_BOOT = """
import sys, types
root, site = sys.argv[1:3]
sys.path.append(site)
for name, folder in (("", ""), (".world_models", "/world_models"), (".world_models.code", "/world_models/code")):
    package = sys.modules["atari_vlm" + name] = types.ModuleType("atari_vlm" + name)
    package.__path__ = [root + folder]
from atari_vlm.world_models.code.worker import main
main()
"""  # the packages' own __init__ files stay unread: they import what a worker has no use for
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")},
}
_BOOT_S = 60.0  # our own code, on a machine as busy as it may be
_CPU_S = 60  # what an orphan may still burn
_PIPE_BYTES = 1 << 18
_CHUNK = 1 << 16
_REQUEST_REST = REQUEST.size - 4  # what the length of a frame counts besides its value


class Worker:
    """A locked process. Raises ``SandboxUnavailableError`` where none can be had."""

    def __init__(self, memory_mb: int):
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [sys.executable, "-S", "-P", "-B", "-c", _BOOT, *_folders()]
        words = [*command, str(theirs_in), str(theirs_out), str(min(memory_mb << 20, 1 << 50))]
        try:
            self._process = subprocess.Popen(
                words,
                env=_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs_in, theirs_out),
                start_new_session=True,
            )
        except OSError as error:
            _close(self._in, self._out)
            raise unavailable(f"no worker starts: {error}") from error
        finally:
            _close(theirs_in, theirs_out)
        self._born = self._renewed = time.monotonic()
        self._number, self._deadline_s, self.is_over = 0, _BOOT_S, False
        _ALIVE.add(self)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(self._in, select.POLLIN)
        self._writable.register(self._out, select.POLLOUT)
        for fd in (self._in, self._out):
            os.set_blocking(fd, False)
            _widen(fd)
        self._await_lock()

    def _await_lock(self) -> None:
        try:
            outcome, body = self._receive(self._read(until := time.monotonic() + _BOOT_S), 0, until)
            said = wire.unpack(body, REPLY.size)
            self.landlock: int = said["landlock"]
        except SandboxError as error:
            raise unavailable(f"no worker starts: {error}{self._last_words()}") from error
        if outcome != DONE:
            self.kill()
            reason = said["reason"] or "its filter of system calls refuses nothing"
            raise unavailable(f"this kernel cannot hold generated code: {reason}")
        self._process.stderr.close()  # type: ignore[union-attr]

    def _last_words(self) -> str:
        """The end of what a worker that never got so far as to lock itself wrote."""
        assert self._process.stderr is not None
        words = wire.clean(self._process.stderr.read(100_000).decode(errors="replace")[-500:])
        self._process.stderr.close()
        return f" ({words})" if words else ""

    def ask(self, operation: int, body: bytes, seed: int, deadline_s: float) -> tuple[int, bytes]:
        """Outcome of an answer, and its frame: the value begins at ``REPLY.size``.

        Raises ``SandboxTimeoutError``, ``SandboxCrashError`` or ``SandboxViolationError``, and then there is no worker any more.
        """
        now, self._deadline_s = time.monotonic(), deadline_s
        if now > self._renewed or deadline_s > _CPU_S:
            self._renew(now, deadline_s)
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        frame = REQUEST.pack(len(body) + _REQUEST_REST, number, seed & 0xFFFFFFFF, operation) + body
        try:
            sent = os.write(self._out, frame)
        except OSError:
            sent = 0
        if sent < len(frame):
            self._send(frame[sent:], now + deadline_s)
        if self._readable.poll(deadline_s * 1000 + 1):
            data = os.read(self._in, _CHUNK)
            if len(data) >= REPLY.size:
                size, said, outcome = REPLY.unpack_from(data)
                if said == number and len(data) == size + 4:
                    return outcome, data
            return self._receive(data, number, now + deadline_s)
        self._late()

    def _renew(self, now: float, deadline_s: float) -> None:
        """Move the limit of CPU seconds: whatever becomes of us, a worker in a loop ends by itself."""
        soft, hard = math.ceil(now - self._born + deadline_s + 2 * _CPU_S), resource.RLIM_INFINITY
        self._renewed = now + _CPU_S
        try:
            hard = resource.prlimit(self._process.pid, resource.RLIMIT_CPU)[1]
            soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
            resource.prlimit(self._process.pid, resource.RLIMIT_CPU, (soft, hard))
        except OSError:
            pass  # it has gone, as the next read will tell

    def _send(self, frame: bytes, deadline: float) -> None:
        """What did not go out at once."""
        while frame:
            try:
                frame = frame[os.write(self._out, frame) :]
            except BlockingIOError:
                self._wait(self._writable, deadline)
            except BrokenPipeError:
                self._died()

    def _receive(self, data: bytes, number: int, deadline: float) -> tuple[int, bytes]:
        """The whole of a frame that begins with ``data``, if it is one."""
        if not data:
            self._died()
        while len(data) < REPLY.size:
            data += self._read(deadline)
        size, said, outcome = REPLY.unpack_from(data)
        if said != number or not REPLY.size <= size + 4 <= wire.LIMIT + REPLY.size:
            self._out_of_turn()
        if len(data) < size + 4:
            data = self._rest(data, size + 4, deadline)
        if len(data) != size + 4:
            self._out_of_turn()
        return outcome, data

    def _rest(self, data: bytes, size: int, deadline: float) -> bytes:
        parts, have = [data], len(data)
        while have < size:
            parts.append(self._read(deadline))
            have += len(parts[-1])
        return b"".join(parts)

    def _read(self, deadline: float) -> bytes:
        self._wait(self._readable, deadline)
        data = os.read(self._in, _CHUNK)
        if not data:
            self._died()
        return data

    def _wait(self, poll: select.poll, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000 + 1):
            self._late()

    def _late(self) -> NoReturn:
        self.kill()
        raise SandboxTimeoutError(f"the program did not answer within {self._deadline_s:g} s")

    def _out_of_turn(self) -> NoReturn:
        self.kill()
        raise SandboxViolationError("the program spoke out of turn, or at more than 1 MiB")

    def _died(self) -> NoReturn:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        self.kill()
        if code == -signal.SIGSYS:
            raise SandboxViolationError("the program made a forbidden system call")
        if code == -signal.SIGXCPU:
            raise SandboxTimeoutError("the program used up its processor time")
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        raise SandboxCrashError(f"the process of the program ended {how}")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def kill(self) -> None:
        """End and reap it; again and again does no harm."""
        if not self.is_over:
            self._process.kill()
            self._process.wait()
            self.leave()

    def leave(self) -> None:
        """Have nothing to do with it any more: it belongs to the process that we were forked from, or is at its end."""
        self.is_over = True
        _close(self._in, self._out)

    def __del__(self) -> None:
        if hasattr(self, "is_over"):
            self.kill()


_ALIVE: weakref.WeakSet[Worker] = weakref.WeakSet()


def _leave_all() -> None:
    """In a fork of ours: two processes that ask one worker would take each other's answers."""
    for worker in [*_ALIVE]:
        if not worker.is_over:
            worker.leave()
            worker._process.returncode = 0  # no child of this process: nothing to wait for


os.register_at_fork(after_in_child=_leave_all)


def _folders() -> list[str]:
    """Where the worker finds this package and numpy."""
    return [
        str(Path(str(atari_vlm.__file__)).resolve().parent),
        str(Path(np.__file__).parent.parent),
    ]


def _widen(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # the user's pipes are many: a small one does as well


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
