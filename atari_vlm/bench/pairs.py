"""Two sides of a comparison, ours and a peer's, each in a process of its own, pinned to the same core, which measure themselves.

Both say what work they do; where that is not the same, or the networks are not of one size, nothing is compared. Without the
peer ours is measured alone, and there is no ratio.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from atari_vlm.bench.worker import Worker, ours, theirs
from atari_vlm.conditions import versions
from atari_vlm.errors import ConfigError

ALIKE = 0.01  # how far numbers of parameters may lie apart
_VERSIONS = "import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"


@dataclass(frozen=True)
class Peer:
    """A foreign package: its word in ``--peer WORD=P/bin/python``, what it is called, the one version that is compared with, and
    the packages whose version both sides must share. ``also`` must be there too.
    """

    word: str
    name: str
    version: str
    shared: tuple[str, ...] = ("torch",)
    also: tuple[str, ...] = ()

    def check(self, python: str) -> None:
        """``ConfigError`` unless this is a Python that has the one version, and of what is shared ours."""
        wanted = f"--peer {self.word}=P/bin/python is the Python of an environment with {self.word}=={self.version}"
        wanted += "".join(f" and {package}" for package in self.also)
        program = _VERSIONS.format(names=(self.word, *self.shared, *self.also))
        try:
            asked = subprocess.run(
                [python, "-I", "-c", program],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            found = json.loads(asked.stdout)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
            raise ConfigError(f"{wanted}; {python} is not: {said}") from error
        except ValueError as error:
            raise ConfigError(f"{wanted}; {python} is no Python") from error
        if found[self.word] != self.version:
            raise ConfigError(f"{wanted}; {python} has {found[self.word]}")
        for package in self.shared:
            here = versions([package])[package]
            if found[package].partition("+")[0] != here.partition("+")[0]:
                raise ConfigError(
                    f"both sides compute with one {package}: {python} has {found[package]}, ours is {here}"
                )


class Pair:
    """Both sides of a comparison, open while their rows are measured; ``ConfigError`` where they do not do the same.

    ``spec`` is what both are told, ``sides`` the file of each: ``"ours"`` and the peer's word.
    """

    def __init__(
        self, peer: Peer, spec: Mapping[str, Any], python: str | None, sides: Mapping[str, Path]
    ):
        self.peer, self.spec, self.python, self.sides = peer, spec, python, sides
        self._open: dict[str, Worker] = {}
        self._peaks: dict[str, float] = {}

    def __enter__(self) -> Pair:
        try:
            self._start("ours", "our side", ours())
            if self.python is not None:
                self._start(self.peer.word, self.peer.name, theirs(self.python))
                check_alike(self._open["ours"].facts, self._open[self.peer.word].facts)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _start(self, side: str, name: str, command: tuple[str, ...]) -> None:
        self._open[side] = Worker(name, command, self.sides[side], self.spec)

    def _close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()
        self._peaks.clear()

    def seconds(self, side: str, work: str) -> float:
        """CPU seconds of a work."""
        answer = self._open[side].work(work)
        if work == "update":
            self._peaks[side] = answer["peak_mb"]
        return answer["cpu_s"]

    def peak(self, side: str) -> float:
        """The most memory in 10^6 bytes that a side has had by the end of its last update."""
        if side not in self._peaks:
            self.seconds(side, "update")
        return self._peaks[side]


def check_alike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """``ConfigError`` where two sides do not do the same work, with networks of one size."""
    mine, its = ours["work"], theirs["work"]
    if other := [name for name in {**mine, **its} if mine.get(name) != its.get(name)]:
        told = ", ".join(
            f"{name} {mine.get(name)} here and {its.get(name)} there" for name in other
        )
        raise ConfigError(f"the two sides do not do the same work: {told}")
    sizes = ours["parameters"], theirs["parameters"]
    if abs(sizes[0] - sizes[1]) > ALIKE * sizes[1]:
        raise ConfigError(
            f"the two sides do not learn networks of one size: {sizes[0]:,} parameters here and {sizes[1]:,} there"
        )
