"""Speed and memory of a Dreamer's learner on a CPU core against SheepRL 0.8.4 (``--peer sheeprl=P/bin/python``).

Each side learns in a process of its own, pinned to the same core, and measures itself. Both say what work they do; where that
is not the same, or the networks are not of one size, nothing is compared. Its ``dreamer_v3_5`` is today's algorithm, its
``dreamer_v3`` that of 2023. Without the peer ours is measured alone, and there is no ratio.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from atari_vlm.bench.measure import NO_PEER, Case, Unit
from atari_vlm.bench.worker import HERE, Worker, ours, theirs
from atari_vlm.conditions import versions
from atari_vlm.errors import ConfigError

VERSION = "0.8.4"
SIDES = {"ours": HERE / "dreamer_ours.py", "sheeprl": HERE / "dreamer_sheeprl.py"}
BATCH, LENGTH, STEPS = 16, 64, 15
GOAL, MOST_MB = 1.0, {"1m": 2500.0}
ALIKE = 0.01  # how far numbers of parameters may lie apart
_ALGORITHMS = {"1m": "dreamer_v3_5", "12m": "dreamer_v3_5", "xs": "dreamer_v3"}
_NOTE = (
    "each side in a process of its own, equal work and parameters within 1 % (checked); only ours draws its batch, keeps the "
    "latents, follows with the slow critic and tells its losses within the time; bf16 beside bf16-mixed"
)
_VERSIONS = "import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in ('sheeprl', 'torch')}))"


@dataclass(frozen=True)
class Learning:
    """What both sides do: updates of ``batch`` sequences of ``length`` pictures, ``steps`` imagined from each of these."""

    preset: str
    precision: str
    batch: int = BATCH
    length: int = LENGTH
    steps: int = STEPS

    @property
    def starts(self) -> int:
        """States that imagination begins at."""
        return self.batch * self.length


def cases(python: str | None) -> list[Case]:
    """Gradient step, imagination and memory of every size in both precisions; ``python`` is that of SheepRL's environment."""
    if python is not None:
        check_peer(python)
    learnings = [
        Learning(preset, precision) for precision in ("f32", "bf16") for preset in _ALGORITHMS
    ]
    return [case for learning in learnings for case in rows_of(Pair(learning, python))]


def check_peer(python: str) -> None:
    """``ConfigError`` unless this is a Python that has SheepRL of the one version, and our torch."""
    wanted = f"--peer sheeprl=P/bin/python is the Python of an environment with sheeprl=={VERSION}"
    try:
        asked = subprocess.run(
            [python, "-I", "-c", _VERSIONS], capture_output=True, text=True, timeout=60, check=True
        )
        found = json.loads(asked.stdout)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise ConfigError(f"{wanted}; {python} is not: {said}") from error
    except ValueError as error:
        raise ConfigError(f"{wanted}; {python} is no Python") from error
    torch = versions(["torch"])["torch"]
    if found["sheeprl"] != VERSION:
        raise ConfigError(f"{wanted}; {python} has {found['sheeprl']}")
    if found["torch"].partition("+")[0] != torch.partition("+")[0]:
        raise ConfigError(
            f"both sides compute with one torch: {python} has {found['torch']}, ours is {torch}"
        )


class Pair:
    """Both sides of a comparison, open while their rows are measured; ``ConfigError`` where they do not do the same."""

    def __init__(self, learning: Learning, python: str | None, sides: Mapping[str, Path] = SIDES):
        self.learning, self.python, self.sides = learning, python, sides
        self._open: dict[str, Worker] = {}
        self._peaks: dict[str, float] = {}

    def __enter__(self) -> Pair:
        try:
            self._start("ours", "our side", ours())
            if self.python is not None:
                self._start("sheeprl", "SheepRL", theirs(self.python))
                check_alike(self._open["ours"].facts, self._open["sheeprl"].facts)
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
        self._open[side] = Worker(name, command, self.sides[side], vars(self.learning))

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


def rows_of(pair: Pair) -> list[Case]:
    """The cases of a pair."""
    learning, algorithm = pair.learning, _ALGORITHMS[pair.learning.preset]
    starts, steps = f"{learning.starts:,}", learning.steps
    size = f"{learning.preset} of paper-v1" if algorithm == "dreamer_v3" else learning.preset

    def case(what: str, note: str, amount: Callable[[str], float], **options: Any) -> Case:
        peer: Unit = functools.partial(amount, "sheeprl")
        given = pair.python is not None
        return Case(
            f"DreamerV3 {size}, {what}, {learning.precision}",
            f"SheepRL {VERSION}, {algorithm}" if given else NO_PEER,
            functools.partial(amount, "ours"),
            peer if given else None,
            GOAL,
            note=note,
            told=True,
            scope=pair,
            **options,
        )

    step = (
        f"{learning.batch} x {learning.length} pictures of 64 x 64 x 3, two actions, {steps} steps imagined from all {starts}; "
        f"{_NOTE}; stretch goal 1.3x"
    )
    dreaming = "the core, the prior and the draw from it, with given actions"
    most = MOST_MB.get(learning.preset)
    return [
        case("gradient step", step, lambda side: pair.seconds(side, "update")),
        case(f"imagination step of {starts} rows", dreaming, lambda side: pair.seconds(side, "imagine"), count=steps),
        case("peak memory", "of the whole process by the end of its updates", pair.peak, better="lower", unit="MB", most=most),
    ]  # fmt: skip
