"""The walls as data: what the filter decides on both machines, what Landlock is asked for, what a worker may import."""

import errno
import struct
import sys

import numpy as np
import pytest

from atari_vlm.errors import SandboxUnavailableError
from atari_vlm.world_models.code import Sandbox, landlock, sandbox_process
from atari_vlm.world_models.code.seccomp import TABLES, program_of
from atari_vlm.world_models.code.worker import ALLOWED

ALLOW, DENY, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
IN, OUT = 7, 9
# number -> name, of the calls that a worker keeps: from the kernel's tables of each machine
KEPT = {
    "x86_64": {
        "munmap": 11,
        "brk": 12,
        "sched_yield": 24,
        "mremap": 25,
        "madvise": 28,
        "exit": 60,
        "clock_gettime": 228,
        "exit_group": 231,
    },
    "aarch64": {
        "exit": 93,
        "exit_group": 94,
        "clock_gettime": 113,
        "sched_yield": 124,
        "brk": 214,
        "munmap": 215,
        "mremap": 216,
        "madvise": 233,
    },
}
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
READ_WRITE = {"x86_64": (0, 1), "aarch64": (63, 64)}
MAPPING = {"x86_64": (9, 10), "aarch64": (222, 226)}


def decide(machine, number, *arguments, architecture=None):
    """What the kernel would decide: an interpreter of the few instructions that the filter has."""
    code = list(struct.iter_unpack("<HBBI", program_of(TABLES[machine], IN, OUT)))
    words = [number & 0xFFFFFFFF, architecture or MACHINES[machine], 0, 0]
    for argument in [*arguments, *[0] * 6][:6]:
        words += [argument & 0xFFFFFFFF, argument >> 32]
    at = value = 0
    while True:
        kind, yes, no, k = code[at]
        at += 1
        if kind == 0x20:
            value = words[k // 4]
        elif kind == 0x06:
            return k
        else:
            at += yes if (value == k if kind == 0x15 else value & k) else no


@pytest.mark.parametrize("machine", TABLES)
def test_the_filter_allows_what_is_kept_and_nothing_else(machine):
    allowed = {number for number in range(1024) if decide(machine, number, 99, 0, 4) == ALLOW}
    assert allowed == set(KEPT[machine].values())


@pytest.mark.parametrize("machine", TABLES)
def test_each_pipe_has_one_direction(machine):
    read, write = READ_WRITE[machine]
    for fd in range(20):
        assert decide(machine, read, fd) == (ALLOW if fd == IN else DENY)
        assert decide(machine, write, fd) == (ALLOW if fd == OUT else DENY)


@pytest.mark.parametrize("machine", TABLES)
def test_memory_is_never_executable(machine):
    for number in MAPPING[machine]:
        for protection in range(16):
            assert decide(machine, number, 0, 4096, protection) == (
                DENY if protection & 4 else ALLOW
            )
        assert decide(machine, number, 0, 4096, 0x01000007) == DENY


@pytest.mark.parametrize("machine", TABLES)
def test_advice_about_memory_is_not_to_poison_it(machine):
    number = KEPT[machine]["madvise"]
    assert {decide(machine, number, 0, 4096, advice) for advice in range(32)} == {ALLOW}
    assert {decide(machine, number, 0, 4096, advice) for advice in (32, 100, 101, 1 << 31)} == {
        DENY
    }


@pytest.mark.parametrize("machine", TABLES)
def test_another_table_of_calls_ends_the_process(machine):
    for architecture in (
        0x40000003,
        0x40000028,
        0xC000003E ^ 1,
        *(set(MACHINES.values()) - {MACHINES[machine]}),
    ):
        assert all(
            decide(machine, number, architecture=architecture) == KILL for number in range(300)
        )
    x32 = [decide(machine, 0x40000000 + number, IN) for number in range(600)]
    assert set(x32) == {DENY}


def test_landlock_is_asked_for_everything_that_a_kernel_knows():
    assert landlock.ruleset_of(1) == struct.pack("<Q", (1 << 13) - 1)
    assert landlock.ruleset_of(3) == struct.pack("<Q", (1 << 15) - 1)
    assert landlock.ruleset_of(4) == struct.pack("<2Q", (1 << 15) - 1, 3)
    assert (
        landlock.ruleset_of(7) == landlock.ruleset_of(99) == struct.pack("<3Q", (1 << 16) - 1, 3, 3)
    )


def test_all_that_is_allowed_can_be_imported():
    text = "\n".join(f"import {name}" for name in ALLOWED if name != "__future__")
    with Sandbox(
        f"from __future__ import annotations\n{text}\nimport collections.abc, numpy.linalg\ndef f(): return 1"
    ) as sandbox:
        assert sandbox.call("f") == 1


def test_a_worker_that_cannot_start_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox_process.np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    with pytest.raises(
        SandboxUnavailableError, match=r"No module named .numpy.*--unsafe-local-code"
    ) as raised:
        Sandbox("x = 1")
    assert raised.value.exit_code == 69


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("executable", "", "on Linux only"),
        ("executable", "/no/python", "no worker starts"),
        ("platform", "darwin", "on Linux only"),
    ],
)
def test_a_machine_that_has_no_worker_is_refused(monkeypatch, attribute, value, words):
    monkeypatch.setattr(sys, attribute, value)
    with pytest.raises(SandboxUnavailableError, match=words):
        Sandbox("x = 1")


def test_an_orphan_ends_by_itself():
    """Its processor time is limited from outside, and moves on as long as there is somebody who asks."""
    import resource

    with Sandbox("def f(): return 1") as sandbox:
        soft, hard = resource.prlimit(sandbox.pid, resource.RLIMIT_CPU)
        assert 60 <= soft <= 240 and hard == resource.getrlimit(resource.RLIMIT_CPU)[1]
        limits = {
            kind: resource.prlimit(sandbox.pid, getattr(resource, f"RLIMIT_{kind}"))[1]
            for kind in ("NOFILE", "NPROC", "FSIZE", "CORE")
        }
        assert set(limits.values()) == {0}
        assert np.isfinite(resource.prlimit(sandbox.pid, resource.RLIMIT_AS)[1])
