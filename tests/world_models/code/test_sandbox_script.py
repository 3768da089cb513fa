"""Programs between an input and an output: what they may, and what hostile ones come to."""

import json
import os
import socket

import pytest

from atari_vlm.errors import (
    SandboxCrashError,
    SandboxError,
    SandboxProgramError,
    SandboxTimeoutError,
    SandboxViolationError,
)
from atari_vlm.world_models.code.sandbox import Sandbox

ECHO = """
import sys
from dataclasses import dataclass

@dataclass
class Line:
    text: str

kept = globals().get("kept", [])
for line in sys.stdin:
    kept.append(Line(line.rstrip()))
print(len(kept), kept[-1].text if kept else "nothing")
sys.exit()
"""
WAYS = """
way = input() if sys.stdin.buffer.getvalue()[:1] != b"\\n" else "buffer"
if way == "open": print(open(0).read().strip())
if way == "buffer": sys.stdout.buffer.write(sys.stdin.buffer.read())
if way == "close": print("said"); sys.stdout.close()
if way == "names": print(sorted(Counter("aab").items()), gcd(4, 6), deque([1])[0])
if way == "quit": print("before"); quit(); print("after")
if way == "code": exit(3)
if way == "os": import os
if way == "file": open("/etc/hostname")
if way == "draw": print(random.random())
if way == "much": print("x" * (2 << 20))
if way == "memory": bytearray(1 << 40)
if way == "end": sys.modules["os"]._exit(0)
if way == "loop":
    while True: pass
"""


def test_every_run_reads_its_own_input_and_keeps_nothing():
    with Sandbox(ECHO, script=True) as sandbox:
        assert sandbox.call("run", "a\nb\n") == "2 b\n"
        assert sandbox.call("run", "") == "0 nothing\n"
        assert sandbox.contract == 0 and "run" in sandbox.methods
        with pytest.raises(SandboxError):
            sandbox.step([0], 0)


def test_ways_to_read_print_and_end():
    with Sandbox(WAYS, script=True, deadline_s=1.0) as sandbox:
        ways = ("open", "close", "names", "quit")
        said = {way: sandbox.call("run", f"{way}\nrest\n") for way in ways}
        assert said == {
            "open": "rest\n",
            "close": "said\n",
            "names": "[('a', 2), ('b', 1)] 2 1\n",
            "quit": "before\n",
        }
        assert sandbox.call("run", "\nrest\n") == "\nrest\n"
        assert sandbox.call("run", "draw", seed=4) == sandbox.call("run", "draw", seed=4)
        for way, kind, words in (
            ("code", SandboxProgramError, "exit code 3"),
            ("os", SandboxProgramError, "may not import os"),
            ("file", SandboxViolationError, "no files"),
            ("much", SandboxProgramError, "prints more than"),
            ("memory", SandboxProgramError, "MemoryError"),
            ("end", SandboxCrashError, "ended"),
            ("loop", SandboxTimeoutError, "did not answer"),
        ):
            with pytest.raises(kind, match=words):
                sandbox.call("run", way)
        assert sandbox.call("run", "quit") == "before\n"


def test_functions_are_called_with_json_and_answer_in_json():
    program = """
class Solution:
    def turned(self, numbers: List[int], table) -> List[int]:
        return {"list": tuple(numbers[::-1]), "keys": sorted(table), "array": np.arange(2), 3: None}

def outside(x): return {x}
def deep(x):
    for _ in range(10**5): x = [x]
    return x
"""
    with Sandbox(program, script=True) as sandbox:
        assert sandbox.call("find", "turned") is True
        said = sandbox.call("apply", "turned", json.dumps([[1, 2], {"5": 0, "-1": 0}]))
        assert json.loads(said) == {"list": [2, 1], "keys": [-1, 5], "array": [0, 1], "3": None}
        for name, words in (("missing", "no function"), ("outside", "set is no answer"), ("deep", "Recursion")):  # fmt: skip
            with pytest.raises(SandboxProgramError, match=words):
                sandbox.call("apply", name, "[1]")


def test_a_script_that_does_not_compile_is_refused_when_it_is_loaded():
    with pytest.raises(SandboxProgramError, match="SyntaxError"):
        Sandbox("print(", script=True)


def test_hostile_scripts_do_nothing(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    file = tmp_path / "written"
    os.environ["CANARY_OF_SCRIPTS"] = "canary-81"
    acts = {
        "write": f"os.write(os.open({str(file)!r}, os.O_WRONLY | os.O_CREAT), b'x')",
        "net": f"modules['socket'].create_connection(('127.0.0.1', {port})) if 'socket' in modules else connect()",
        "fork": "os.fork()",
        "run": "os.execv('/bin/sh', ['sh'])",
        "kill": "os.kill(os.getppid(), 9)",
        "read": "os.read(os.open('/proc/self/environ', 0), 100)",
        "fd": "os.write(2, b'x')",
        "thread": "modules['_thread'].start_new_thread(print, ())",
    }
    program = f"""
modules = sys.modules
os = modules["os"]
def connect():
    ctypes = modules["ctypes"]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.socket(2, 1, 0) < 0:
        raise OSError("refused")
try:
    exec({acts!r}[input()])
    print("WON")
except BaseException as error:
    print("stopped", type(error).__name__)
print(dict(os.environ))
"""
    with Sandbox(program, script=True) as sandbox:
        said = {act: sandbox.call("run", act) for act in acts}
    del os.environ["CANARY_OF_SCRIPTS"]
    assert all(text.startswith("stopped") for text in said.values()), said
    assert not file.exists() and "canary-81" not in str(said)
    listener.settimeout(0.05)
    with pytest.raises(TimeoutError):
        listener.accept()
    listener.close()
