"""Run hostile programs and watch from outside: ``python hostile_run.py FIRST LAST`` prints what came of them as JSON.

A host effect is a file, mode or name that changed, a connection, a signal, a process that stays, a descriptor that leaks, an
answer that says it won or holds a secret of ours, anything but an answer or a ``SandboxError``, and more time than allowed.
"""

from __future__ import annotations

import collections
import json
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from hostile import Hostile, hostile

from atari_vlm.errors import SandboxError
from atari_vlm.world_models.code import Sandbox, sandbox_process
from atari_vlm.world_models.code.sandbox_process import Worker

DEADLINE_S, MEMORY_MB, GRACE_S = 0.3, 200, 1.0
ENDED = (
    "SandboxTimeoutError",
    "SandboxCrashError",
    "SandboxViolationError",
)  # each costs a new worker
SIGNALS = signal.SIGUSR1, signal.SIGURG


class Host:
    """What a program could have an effect on."""

    def __init__(self, folder: Path):
        self.folder, self.secret, self.mark = folder, f"CANARY-{uuid.uuid4().hex}", uuid.uuid4().hex
        (folder / "folder").mkdir()
        (folder / "secret.txt").write_text(self.secret)
        (folder / "secret.py").write_text("x = 1")
        os.environ["SECRET_KEY"] = self.secret
        sandbox_process._ENVIRONMENT["MARK"] = self.mark
        self.signals: list[int] = []
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self.signals.append(number))
        self.sockets = [_listening(kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
        self.port = self.sockets[0].getsockname()[1]
        self.before = self.state()

    def state(self) -> dict[str, Any]:
        """All that must be the same afterwards."""
        return {
            "files": sorted(map(_described, self.folder.rglob("*"))),
            "elsewhere": [
                Path(p).exists()
                for p in ("/dev/shm/atari_vlm_canary", "/tmp/other", "/dev/shm/canary")
            ],
            "machine": [
                os.uname(),
                os.getcwd(),
                dict(os.environ),
                os.getpriority(0, 0),
                sorted(os.sched_getaffinity(0)),
            ],
            "descriptors": len(os.listdir("/proc/self/fd")),
            "signals": list(self.signals),
            "connections": [_called(one) for one in self.sockets],
            "processes": self.processes(),
        }

    def processes(self) -> list[str]:
        """Workers and what they started: all that was born with our mark."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found.append(folder.name)
            except OSError:
                continue
        return found

    def changes(self) -> list[str]:
        """What is not as it was."""
        now = self.state()
        return [
            f"{name}: {self.before[name]} -> {now[name]}"
            for name in now
            if now[name] != self.before[name]
        ]

    def text(self, program: Hostile) -> str:
        """The program with the names of this host."""
        site = str(Path(np.__file__).parent.parent)
        text = program.text.replace("CANARY/", f"{self.folder}/").replace(
            "'CANARY'", repr(str(self.folder))
        )
        text = text.replace("b'CANARY'", repr(str(self.folder).encode()))
        for name, value in (("PORT", self.port), ("PARENT", os.getpid()), ("SITE", site)):
            text = text.replace(name, str(value))
        return text


def _listening(kind: socket.SocketKind) -> socket.socket:
    one = socket.socket(type=kind)
    one.bind(("127.0.0.1", 0))
    one.setblocking(False)
    if kind is socket.SOCK_STREAM:
        one.listen()
    return one


def _called(one: socket.socket) -> bool:
    try:
        one.accept() if one.type is socket.SOCK_STREAM else one.recv(1)
    except BlockingIOError:
        return False
    return True


def _described(path: Path) -> tuple[Any, ...]:
    facts = path.lstat()
    content = path.read_text() if path.is_file() else ""
    return (
        str(path),
        facts.st_mode,
        facts.st_uid,
        facts.st_gid,
        facts.st_mtime,
        facts.st_nlink,
        content,
    )


def run(program: Hostile, host: Host) -> tuple[str, list[str]]:
    """The kind of its end, and its effects."""
    kinds, effects, text = [], [], host.text(program)
    sandbox: list[Sandbox] = []

    def start() -> str:
        sandbox.append(Sandbox(text, deadline_s=DEADLINE_S, memory_mb=MEMORY_MB))
        return ""

    calls = [
        start,
        lambda: sandbox[0].call("set_state", [0.0]),
        lambda: sandbox[0].call("step", 0),
        lambda: sandbox[0].step([0.0, 1.0], 1),
        lambda: sandbox[0].step_rows(np.zeros((3, 2)), np.arange(3)),
        lambda: sandbox[0].rollout([[0.0], [1.0]], np.zeros((2, 3), int)),
        lambda: sandbox[0].call("reset", [[0.0]], []),
    ]
    for number, ask in enumerate(calls):
        kind, said, seconds = _watched(ask)
        kinds.append(kind)
        allowed = (
            DEADLINE_S + GRACE_S + (10.0 if number == 0 else 0.0)
        )  # a worker boots on a busy machine
        if seconds > allowed:
            effects.append(f"call {number} took {seconds:.1f} s")
        if "WON" in said or host.secret in said:
            effects.append(f"call {number} won: {said[:200]}")
        if kind == "unknown":
            effects.append(f"call {number}: {said[:300]}")
        if "\x1b" in said or (kind.startswith("Sandbox") and not said.isprintable()):
            effects.append(f"call {number} says control characters: {said[:200]!r}")
        if not sandbox or sum(kind in ENDED for kind in kinds) == 2:
            break
    if sandbox:
        sandbox[0].close()
    ends = [kind for kind in kinds if kind != "answered"]
    return max(ends, key=ends.count, default="answered"), effects + host.changes()


class TimedWorker(Worker):
    """A worker that counts what it takes to start, which is none of its program's time."""

    seconds = 0.0

    def __init__(self, memory_mb: int):
        began = time.monotonic()
        super().__init__(memory_mb)
        TimedWorker.seconds += time.monotonic() - began


def _watched(ask: Any) -> tuple[str, str, float]:
    boots, began, answer = TimedWorker.seconds, time.monotonic(), None
    try:
        kind, answer = "answered", ask()
    except SandboxError as error:
        kind, answer = type(error).__name__, error
    except BaseException as error:
        kind, answer = "unknown", error
    seconds = time.monotonic() - began - (TimedWorker.seconds - boots)
    return kind, repr(answer) if kind in ("answered", "unknown") else str(answer), seconds


def main(first: int, last: int) -> dict[str, Any]:
    """Programs ``first`` to ``last``."""
    sandbox_process.Worker = TimedWorker  # type: ignore[misc]
    chosen = hostile()[first:last]
    ends: collections.Counter[str] = collections.Counter()
    effects = {}
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder))
        with Sandbox("def f(): return 1") as sandbox:
            assert sandbox._worker is not None
            landlock = sandbox._worker.landlock
        for program in chosen:
            end, found = run(program, host)
            ends[end] += 1
            if found:
                effects[program.name] = found
                host.before = host.state()
        for one in host.sockets:
            one.close()
    families = len({program.family for program in chosen})
    return {
        "programs": len(chosen),
        "families": families,
        "ends": dict(ends),
        "effects": effects,
        "landlock": landlock,
        "user": os.getuid(),
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2])), indent=1))
