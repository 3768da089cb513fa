"""A program that solves a task, as judges of programming contests run it: as a script between its input and its output, or by a
function that is called.

Every call runs the whole program anew, so nothing of one test is left for the next. Standard input and output are memory: the
process has no others.

This file imports numpy and the standard library only: the worker reads it before it locks itself.
"""

from __future__ import annotations

import bisect
import builtins as python
import collections
import functools
import heapq
import io
import itertools
import json
import math
import random
import re
import string
import sys
import time
import typing
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from atari_vlm.world_models.code.wire import LIMIT
from atari_vlm.world_models.code.worker_answers import FILENAME, AnswerError

MORE_ALLOWED = ("sys", "time")  # beside what every program may import: scripts read and end by them
OUTPUT_BYTES = LIMIT - 1024  # what a script may print, or a function answer
_STDIN = (0, "/dev/stdin")
_TYPES = "Any Callable Deque Dict FrozenSet Generator Iterable Iterator List Mapping Optional Sequence Set Tuple Union".split()
_MODULES = (bisect, collections, functools, heapq, itertools, math, random, re, string, sys, time)
_NAMES: dict[str, Any] = {  # what solutions of the public format take for granted
    **{module.__name__: module for module in _MODULES},
    **{name: getattr(typing, name) for name in _TYPES},
    **{name: getattr(collections, name) for name in ("Counter", "OrderedDict", "defaultdict", "deque")},
    **{name: getattr(itertools, name) for name in ("accumulate", "combinations", "permutations", "product")},
    **{name: getattr(heapq, name) for name in ("heapify", "heappop", "heappush")},
    **{name: getattr(math, name) for name in ("ceil", "floor", "gcd", "inf", "sqrt")},
    "lru_cache": functools.lru_cache,
    "np": np,
}  # fmt: skip


class Script:
    """A compiled program. ``builtins`` are those that its code sees; compiling runs nothing of it."""

    contract = 0

    def __init__(self, text: str, builtins: dict[str, Any] | None = None):
        self._builtins = {**vars(python), **(builtins or {}), "exit": _leave, "quit": _leave}
        self._builtins["open"] = _open
        self._code = compile(text, FILENAME, "exec", dont_inherit=True)
        self.draws = "random" in text

    def methods(self) -> list[str]:
        """What can be called."""
        return ["apply", "find", "run"]

    def seed(self, seed: int) -> None:
        """What ``random`` and ``numpy.random`` draw from here on."""
        random.seed(seed)
        np.random.seed(seed)

    def call(self, method: str, *args: Any) -> Any:
        """What :meth:`run`, :meth:`apply` or :meth:`find` gives."""
        if method not in self.methods():
            raise AnswerError(f"a script has no method {method!r}")
        return getattr(self, method)(*args)

    def run(self, given: str) -> str:
        """What the program prints when it is run as a script that reads ``given``; ``exit`` with 0 or nothing ends it well."""
        kept = _Kept()
        stream = io.TextIOWrapper(kept, encoding="utf-8", errors="replace", newline="\n")
        self._feed(given)
        sys.stdout = stream
        try:
            self._execute("__main__")
        except SystemExit as error:
            if error.code not in (None, 0):
                raise AnswerError(
                    f"the program ended with the exit code {error.code!r:.80}"
                ) from None
        finally:
            sys.stdout = sys.__stdout__
        if not stream.closed:
            stream.flush()
        return kept.text()

    def find(self, name: str) -> bool:
        """Whether the program defines the function; what it raises while it is loaded is raised."""
        self._feed("")
        self._function(name)
        return True

    def apply(self, name: str, arguments: str) -> str:
        """What a function (or method of ``class Solution``) gives for arguments, both as JSON."""
        self._feed("")
        given = json.loads(arguments, object_hook=_with_numbers)
        answer = json.dumps(self._function(name)(*given), default=_plain)
        if len(answer) > OUTPUT_BYTES:
            raise AnswerError(f"the function gives more than {OUTPUT_BYTES:,} bytes")
        return answer

    def _function(self, name: str) -> Any:
        module = self._execute("solution")
        solution = module.__dict__.get("Solution")
        home = solution() if isinstance(solution, type) and hasattr(solution, name) else module
        function = getattr(home, name, None)
        if not callable(function):
            raise AnswerError(f"the program defines no function {name!r}")
        return function

    def _execute(self, name: str) -> ModuleType:
        module = sys.modules[name] = sys.modules["program"] = ModuleType(name)
        module.__dict__.update(_NAMES, __builtins__=self._builtins)
        exec(self._code, module.__dict__)
        return module

    @staticmethod
    def _feed(given: str) -> None:
        data = io.BytesIO(given.encode("utf-8", "surrogatepass"))
        sys.stdin = io.TextIOWrapper(data, encoding="utf-8", errors="replace")


class _Kept(io.BytesIO):
    """What was printed, up to a limit."""

    def write(self, data: Any) -> int:
        if self.tell() + memoryview(data).nbytes > OUTPUT_BYTES:
            raise AnswerError(f"the program prints more than {OUTPUT_BYTES:,} bytes")
        return super().write(data)

    def close(self) -> None:
        """Stay readable: a program may close its output."""

    def text(self) -> str:
        return self.getvalue()[:OUTPUT_BYTES].decode("utf-8", "replace")


def _leave(code: Any = None) -> NoReturn:
    raise SystemExit(code)


def _open(file: Any, *args: Any, **named: Any) -> Any:
    """Standard input by its number or name; there are no other files."""
    if file not in _STDIN:
        raise PermissionError("a program has no files")
    binary = "b" in str(args[0] if args else named.get("mode", ""))
    return sys.stdin.buffer if binary else sys.stdin


def _with_numbers(items: dict[str, Any]) -> dict[Any, Any]:
    """JSON has no whole numbers for keys: where all keys are some, they were."""
    if items and all(re.fullmatch(r"-?\d{1,18}", key) for key in items):
        return {int(key): value for key, value in items.items()}
    return items


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise AnswerError(f"a {type(value).__name__} is no answer that can be compared")
