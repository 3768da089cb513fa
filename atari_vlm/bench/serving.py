"""The process of one side of a comparison: ``PYTHON serving.py SIDE.py SPEC``, asked and answering in lines of JSON.

The standard library alone, since the Python that runs it may be a peer's. ``SIDE.py`` has ``run(spec, serve)``, which makes what
is to be measured and calls ``serve(facts, works)``: what it is, plain data, and what it can be asked to do, by name. Answers:
``{"facts": ...}`` once; for every ``{"work": NAME}`` the processor's seconds and the most memory so far, ``{"cpu_s": s,
"peak_mb": MB}``; or ``{"error": "..."}``. The process ends with its input.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO


def peak_mb() -> float:
    """The most memory that this process has had, in 10^6 bytes; where the system says so not what its parent had before."""
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


class Server:
    """Answers on ``answers``; what libraries print goes to the errors."""

    def __init__(self, answers: TextIO):
        self._answers = answers

    def answer(self, **parts: Any) -> None:
        """One line."""
        self._answers.write(json.dumps(parts) + "\n")
        self._answers.flush()

    def serve(self, facts: Mapping[str, Any], works: Mapping[str, Callable[[], object]]) -> None:
        """Do what is asked until nothing more is."""
        self.answer(facts=dict(facts))
        for line in sys.stdin:
            work = works[json.loads(line)["work"]]
            begin = time.process_time()
            work()
            self.answer(cpu_s=time.process_time() - begin, peak_mb=peak_mb())


def main() -> None:
    """Serve the side that the command line names; its first error is the last answer."""
    side, spec = sys.argv[1:]
    server = Server(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    try:
        runpy.run_path(side)["run"](json.loads(spec), server.serve)
    except Exception as error:
        server.answer(error=f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    main()
