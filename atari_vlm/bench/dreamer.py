"""Speed and memory of a Dreamer's learner on a CPU core against SheepRL 0.8.4 (``--peer sheeprl=P/bin/python``).

How the two are held beside each other is in :mod:`~atari_vlm.bench.pairs`. Its ``dreamer_v3_5`` is today's algorithm, its
``dreamer_v3`` that of 2023.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atari_vlm.bench.measure import NO_PEER, Case, Unit
from atari_vlm.bench.pairs import Pair, Peer
from atari_vlm.bench.worker import HERE

SHEEPRL = Peer("sheeprl", "SheepRL", "0.8.4")
SIDES = {"ours": HERE / "dreamer_ours.py", "sheeprl": HERE / "dreamer_sheeprl.py"}
BATCH, LENGTH, STEPS = 16, 64, 15
GOAL, MOST_MB = 1.0, {"1m": 2500.0}
_ALGORITHMS = {"1m": "dreamer_v3_5", "12m": "dreamer_v3_5", "xs": "dreamer_v3"}
_NOTE = (
    "each side in a process of its own, equal work and parameters within 1 % (checked); only ours draws its batch, keeps the "
    "latents, follows with the slow critic and tells its losses within the time; bf16 beside bf16-mixed"
)


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
        SHEEPRL.check(python)
    learnings = [
        Learning(preset, precision) for precision in ("f32", "bf16") for preset in _ALGORITHMS
    ]
    return [case for learning in learnings for case in rows_of(DreamerPair(learning, python))]


class DreamerPair(Pair):
    """Both sides of one size in one precision."""

    def __init__(self, learning: Learning, python: str | None, sides: Mapping[str, Path] = SIDES):
        super().__init__(SHEEPRL, vars(learning), python, sides)
        self.learning = learning


def rows_of(pair: DreamerPair) -> list[Case]:
    """The cases of a pair."""
    learning, algorithm = pair.learning, _ALGORITHMS[pair.learning.preset]
    starts, steps = f"{learning.starts:,}", learning.steps
    size = f"{learning.preset} of paper-v1" if algorithm == "dreamer_v3" else learning.preset

    def case(what: str, note: str, amount: Callable[[str], float], **options: Any) -> Case:
        peer: Unit = functools.partial(amount, "sheeprl")
        given = pair.python is not None
        return Case(
            f"DreamerV3 {size}, {what}, {learning.precision}",
            f"SheepRL {SHEEPRL.version}, {algorithm}" if given else NO_PEER,
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
