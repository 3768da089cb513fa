"""A side of a comparison that runs in a process of its own, with a Python of its own, pinned as its parent is.

See :mod:`~atari_vlm.bench.serving` for the other end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError

HERE = Path(__file__).parent
_ROOT = str(HERE.parent.parent)


def ours() -> tuple[str, ...]:
    """The command of a side that imports this package, wherever it lies."""
    lines = f"import sys; sys.path.insert(0, {_ROOT!r}); from atari_vlm.bench.serving import main; main()"
    return (sys.executable, "-c", lines)


def theirs(python: str) -> tuple[str, ...]:
    """The command of a side that runs in a peer's Python, which sees nothing of ours but two files."""
    return (python, "-I", str(HERE / "serving.py"))


class Worker:
    """A process that has made ready what ``side`` makes of ``spec``; ``facts`` is what it says of it.

    ``ConfigError`` with what it said last where it cannot be started, ends or does not answer within ``patience_s``. It works in
    a folder of its own, which is removed with it by :meth:`close`.
    """

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        side: Path,
        spec: Mapping[str, Any],
        *,
        patience_s: float = 1800.0,
    ):
        self.name, self.patience_s, self._late = name, patience_s, False
        self._folder = tempfile.TemporaryDirectory(prefix="atari-vlm-bench-")
        self._errors = (Path(self._folder.name) / "errors.txt").open("w+", errors="replace")
        try:
            self._process = subprocess.Popen(
                [*command, str(side), json.dumps(spec)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                cwd=self._folder.name, text=True,
            )  # fmt: skip
        except OSError as error:
            self._clear()
            raise ConfigError(f"{name} cannot be started: {error}") from error
        try:
            self.facts: dict[str, Any] = self._answer()["facts"]
        except BaseException:
            self.close()
            raise

    def work(self, name: str) -> dict[str, float]:
        """Have it do a work: seconds ``cpu_s``, and the most memory that it has had by then, ``peak_mb``."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"work": name}) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended: the answer says how
        return self._answer()

    def close(self) -> None:
        """End it and remove its folder."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._clear()

    def _clear(self) -> None:
        self._errors.close()
        self._folder.cleanup()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        late = threading.Timer(self.patience_s, self._give_up)
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise ConfigError(f"{self.name} does not work: {answer['error']}")
        return answer

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def _last_words(self) -> str:
        """How it ended, and the last line that it wrote about it."""
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        how = f"no answer within {self.patience_s:g} s" if self._late else f"it ended with {code}"
        return f"{how} ({lines[-1]})" if lines else how
