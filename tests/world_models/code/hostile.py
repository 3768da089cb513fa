"""Hostile programs, put together from ``programs``: families (``===``) of pieces (between ``---``).

``acts.txt`` is what a program may try to do to its host, bodies of functions: one that comes to its end has won, and says so in
the program's answer. ``bodies.txt`` is what ``step`` may answer, raise, burn or replace: nothing there wins, what counts is that
we are still here, and in time. ``environments.txt`` is whole programs. ``c`` calls libc, ``call`` makes a system call by its
number on x86-64; both raise where the result is negative. CANARY, PORT, PARENT and SITE are put in by ``hostile_run.py``.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

HEAD = """
import copy, decimal, functools, itertools, math, re, struct, warnings, weakref
import numpy as np
sys = [c for c in object.__subclasses__() if c.__name__ == "_wrap_close"][0].__init__.__globals__["sys"]
loaded, os, ctypes = sys.modules, sys.modules["os"], sys.modules["ctypes"]

def c(name, *args):
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_long
    result = function(*[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if result < 0 or result == 0xFFFFFFFF:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def call(number, *args):
    return c("syscall", number, *args)

def attempt(act):
    try:
        return "WON " + repr(act())[:200]
    except BaseException as error:
        return "stopped: " + type(error).__name__

def within():
    at = sys._getframe()
    while "reply_fd" not in at.f_locals or "number" not in at.f_locals:
        at = at.f_back
    return at.f_locals

def out(data):
    while data:
        data = data[os.write(within()["reply_fd"], data):]

def frame(number, body, outcome=0, size=None):
    return struct.pack("<IIB", len(body) + 5 if size is None else size, number & 0xFFFFFFFF, outcome) + body
"""
PLACES = {
    "load": """
SAID = attempt(act)
class Environment:
    def set_state(self, state): pass
    def step(self, action): return [SAID], 0.0, False
""",
    "init": """
class Environment:
    def __init__(self): self.said = attempt(act)
    def set_state(self, state): pass
    def step(self, action): return [self.said], 0.0, False
""",
    "set_state": """
class Environment:
    def set_state(self, state): self.said = attempt(act)
    def step(self, action): return [self.said], 0.0, False
""",
    "step": """
class Environment:
    def set_state(self, state): pass
    def step(self, action): return [attempt(act)], 0.0, False
""",
    "batch": """
class Environment:
    def set_state(self, state): pass
    def step(self, action): return self.step_batch([0], [0])[0], 0.0, False
    def step_batch(self, states, actions): raise ValueError(attempt(act))
""",
    "del": """
SAID = []
class Going:
    def __del__(self): SAID.append(attempt(act))
class Environment:
    def set_state(self, state): Going()
    def step(self, action): return SAID, 0.0, False
""",
    "iter": """
class Answer(list):
    def __iter__(self): return iter([attempt(act)])
class Environment:
    def set_state(self, state): pass
    def step(self, action): return Answer([0]), 0.0, False
""",
    "error": """
class Error(Exception):
    def __str__(self): return attempt(act)
class Environment:
    def set_state(self, state): pass
    def step(self, action): raise Error
""",
    "lookup": """
class Environment:
    def __getattr__(self, name): return lambda *a: ([attempt(act)], 0.0, False)
""",
    "functions": """
def reset(observations, actions): return [attempt(act)]
def step(state, action): return [attempt(act)], 0.0, False
def observe(state): return [attempt(act)]
""",
}
STEP = """
class Environment:
    def set_state(self, state): self.state = state
    def step(self, action):
        IN, NUMBER = within()["request_fd"], within()["number"]
"""


BATCH = """
import numpy as np
class Environment:
    def set_state(self, state): self.state = state
    def step(self, action): return self.state, 0.0, False
    def step_batch(self, x, a): return """
LONG = {
    "programs that do not load": [
        "x =",
        "(" * 10**5,
        "x = " + "-" * 10**5 + "1",
        "x = " + "+".join(["1"] * 20000),
        "\ufeffx = 1\n\x0c\x1a",
        "import numpy\n" * 15000,
        "x = '''" + "y" * 200000,
        "class Environment: x = 1 << (1 << 40)",
        "# coding: rot13\nvzcbeg bf",
        "lambda: (yield)\nawait x",
        "x = " + "[" * 90 + "]" * 90,
        "f'{' * 3",
        "\\",
        "def f(" + ",".join(f"a{i}" for i in range(30000)) + "): pass",
        "".join(" " * i + "if 1:\n" for i in range(110)) + " " * 110 + "x",
        "global x\nx: int = (x := 5)\ndel __builtins__",
    ],
    "odd batches": [
        BATCH + what
        for what in (
            "None",
            "x, 0, 0",
            "x[:1], np.zeros(len(x)), np.zeros(len(x), bool)",
            "x, np.zeros((len(x), 2)), np.zeros(len(x))",
            "[x] * 10 ** 6, [0] * len(x), [0] * len(x)",
            "iter(int, 1), [0], [0]",
            "x, ['a'] * len(x), [None] * len(x)",
            "x, np.full(len(x), np.nan), np.full(len(x), np.nan)",
            "np.zeros((len(x), 1 << 18)), np.zeros(len(x)), np.zeros(len(x))",
            "exit()",
            "x.astype(object), np.zeros(len(x)), np.zeros(len(x))",
            "1 / 0",
        )
    ],
}


@dataclass(frozen=True)
class Hostile:
    """One program."""

    family: str
    name: str
    text: str


def hostile() -> list[Hostile]:
    """All of them, always in the same order: the first of every family, the second of every family …"""
    families = {**acts(), **_bodies(), **pieces("environments"), **LONG}
    longest = max(map(len, families.values()))
    return [
        Hostile(family, f"{family} {n}", texts[n])
        for n in range(longest)
        for family, texts in families.items()
        if n < len(texts)
    ]


def pieces(name: str) -> dict[str, list[str]]:
    """The families of a file."""
    found: dict[str, list[str]] = {}
    for family in (
        (Path(__file__).parent / "programs" / f"{name}.txt").read_text().split("=== ")[1:]
    ):
        title, _, rest = family.partition("\n")
        found[title] = rest.removesuffix("\n").split("\n---\n")
    return found


def acts() -> dict[str, list[str]]:
    """Every act in one of the places where a program's code runs, the places in turn."""
    places, made, turn = list(PLACES.values()), {}, 0
    for family, bodies in pieces("acts").items():
        made[family] = []
        for body in bodies:
            act = HEAD + "def act():\n" + textwrap.indent(body, "    ")
            made[family].append(act + places[turn % len(places)])
            turn += 3
    return made


def _bodies() -> dict[str, list[str]]:
    return {
        family: [HEAD + STEP + textwrap.indent(body, " " * 8) for body in bodies]
        for family, bodies in pieces("bodies").items()
    }
