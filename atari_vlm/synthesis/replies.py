"""The program in a writer's reply."""

from __future__ import annotations

import re

from atari_vlm.synthesis.records import Failure, Kind
from atari_vlm.types import Reply

_FENCE = re.compile(
    r"^[ \t]*(?P<fence>```+|~~~+)[ \t]*(?P<language>[\w+.-]*)[^\n]*\n(?P<code>.*?)^[ \t]*(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_PYTHON = {"python", "python3", "py"}


def program_in(reply: Reply, kind: Kind) -> tuple[str | None, Failure]:
    """The program of a reply, or why there is none: ``"cut"`` by its limit, or ``"no-code"``.

    It is a fenced block of Python: the longest one of a reply that generates, else the last one (what stands before is talk about
    the old program). A fence without a language counts where no other is Python's.
    """
    if reply.finish_reason == "length":
        return None, "cut"
    text = reply.text.replace("\r\n", "\n")
    fences = [(found["language"].lower(), found["code"]) for found in _FENCE.finditer(text)]
    blocks = [code for language, code in fences if language in _PYTHON]
    blocks = blocks or [code for language, code in fences if not language]
    programs = [program for code in blocks if (program := code.strip("\n").rstrip())]
    if not programs:
        return None, "no-code"
    return (max(programs, key=len) if kind == "generate" else programs[-1]), ""
