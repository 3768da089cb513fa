"""The one way this package measures speed.

A :class:`Case` is our code, a named peer, and the target for the ratio between them. Each round times ours and the peer's in
turn, so that the ratio holds although the machine may be shared; the medians over the rounds are what is reported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from atari_vlm.conditions import machine

Unit = Callable[[], object]
NO_PEER = "no peer given"
NOTHING: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
_SCALE = {"us": 1e6, "MB": 1.0}
_WHAT = {"us": "time", "MB": "memory"}


@dataclass(frozen=True)
class Case:
    """One comparison.

    ``ours`` and ``peer`` do ``count`` units of work per call. ``goal`` bounds ``ratio``: with ``better="lower"`` the ratio is
    ours / peer time per unit and must be at most the goal; with ``"higher"`` it is peer / ours time per unit (a speed-up)
    and must be at least it. Without a goal the ratio is only shown. ``most`` bounds our own amount as well. Without a peer
    ours is measured alone, and there is no ratio.

    With ``told`` the calls give the amount themselves: seconds on the case's clock where ``unit`` is ``"us"``, else that unit.
    ``scope`` is open while cases that share it are measured one after the other: processes that do the work.
    """

    name: str
    peer_name: str
    ours: Unit
    peer: Unit | None
    goal: float | None
    better: Literal["lower", "higher"] = "higher"
    count: int = 1
    peer_count: int | None = None
    clock: Literal["cpu", "wall"] = "cpu"
    note: str = ""
    most: float | None = None
    unit: Literal["us", "MB"] = "us"
    told: bool = False
    scope: contextlib.AbstractContextManager[Any] = NOTHING


@dataclass(frozen=True)
class Result:
    """What was measured: microseconds per unit, or what ``unit`` says (medians), the ratio of the medians, and its range over
    rounds; ``None`` for what a case without a peer has not.
    """

    name: str
    peer_name: str
    ours: float
    peer: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    goal: float | None
    better: str
    clock: str
    rounds: int
    note: str
    most: float | None = None
    unit: str = "us"

    @property
    def reached(self) -> bool:
        """Whether the ratio meets the goal, and our amount its own; what was not measured misses nothing."""
        if self.most is not None and self.ours > self.most:
            return False
        if self.goal is None or self.ratio is None:
            return True
        return self.ratio <= self.goal if self.better == "lower" else self.ratio >= self.goal


def pin_to_one_core() -> int | None:
    """Pin this process and its threads to one core; returns the core, or ``None`` where the system cannot."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def _amount(case: Case, work: Unit, count: int) -> float:
    """What one unit of ``work`` takes, in the case's unit."""
    now = time.process_time if case.clock == "cpu" else time.perf_counter
    start = now()
    said = work()
    amount = float(said) if case.told else now() - start  # type: ignore[arg-type]
    return amount * _SCALE[case.unit] / count


def measure(case: Case, rounds: int = 5) -> Result:
    """Run a case: one warm-up of each side, then ``rounds`` rounds of ours and peer in turn."""
    case.ours()
    if case.peer is not None:
        case.peer()
    ours, peers = [], []
    for _ in range(rounds):
        ours.append(_amount(case, case.ours, case.count))
        if case.peer is not None:
            peers.append(_amount(case, case.peer, case.peer_count or case.count))
    middle, peer = statistics.median(ours), statistics.median(peers) if peers else None
    ratios = [_ratio(case, *pair) for pair in zip(ours, peers, strict=False)]
    return Result(
        name=case.name,
        peer_name=case.peer_name,
        ours=middle,
        peer=peer,
        ratio=None if peer is None else _ratio(case, middle, peer),
        ratio_low=min(ratios, default=None),
        ratio_high=max(ratios, default=None),
        goal=case.goal,
        better=case.better,
        clock=case.clock,
        rounds=rounds,
        note=case.note,
        most=case.most,
        unit=case.unit,
    )


def _ratio(case: Case, ours: float, peer: float) -> float:
    return ours / peer if case.better == "lower" else peer / ours


def to_markdown(subject: str, results: list[Result], options: str = "") -> str:
    """The table that is printed and kept in docs/results; ``options`` are shown behind the command."""
    info = machine()
    versions = ", ".join(f"{name} {version}" for name, version in info["versions"].items())
    lines = [
        f"# Benchmark: {subject}",
        "",
        f"`python -m atari_vlm.bench {subject}{options}`: "
        f"one pinned core, median of {results[0].rounds} rounds, ours and peer in turn.",
        f"{info['cpu']}, Python {info['python']}; {versions}.",
        "",
        "| case | peer | ours | peer | ratio (range) | goal | reached |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        peer = "-" if r.peer is None else f"{r.peer:,.1f} {r.unit}"
        lines.append(
            f"| {r.name} | {r.peer_name} | {r.ours:,.1f} {r.unit} | {peer} | {shown_ratio(r)} | {_goal(r)} | {_reached(r)} |"
        )
    named: dict[str, list[str]] = {}
    for r in results:
        named.setdefault(r.note, []).append(r.name)
    notes = [
        f"- {'; '.join(dict.fromkeys(names))}: {note}" for note, names in named.items() if note
    ]
    return "\n".join([*lines, *(["", *notes] if notes else []), ""])


def shown_ratio(result: Result) -> str:
    """The ratio and its range over the rounds, or a dash where there is none."""
    if result.ratio is None:
        return "-"
    kind = f"x the peer's {_WHAT[result.unit]}" if result.better == "lower" else "x faster"
    return f"{result.ratio:.2f}{kind} ({result.ratio_low:.2f}-{result.ratio_high:.2f})"


def _goal(result: Result) -> str:
    sign = "<=" if result.better == "lower" else ">="
    ratio = [] if result.goal is None else [f"{sign} {result.goal:g}"]
    most = [] if result.most is None else [f"<= {result.most:g} {result.unit}"]
    return ", ".join([*ratio, *most]) or "-"


def _reached(result: Result) -> str:
    if not result.reached:
        return "**no**"
    missing = result.ratio is None if result.goal is not None else result.most is None
    return "-" if missing else "yes"


def to_json(subject: str, results: list[Result], options: str = "") -> str:
    """The same as JSON."""
    rows = [{**dataclasses.asdict(r), "reached": r.reached} for r in results]
    return (
        json.dumps(
            {"subject": subject, "options": options.strip(), "machine": machine(), "results": rows},
            indent=1,
        )
        + "\n"
    )
