"""The one way this package measures speed.

A :class:`Case` is our code, a named peer, and the target for the ratio between them. Each round times ours and the peer's in
turn, so that the ratio holds although the machine may be shared; the medians over the rounds are what is reported.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from atari_vlm.conditions import machine

Unit = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One comparison.

    ``ours`` and ``peer`` do ``count`` units of work per call. ``goal`` bounds ``ratio``: with ``better="lower"`` the ratio is
    ours / peer time per unit and must be at most the goal; with ``"higher"`` it is peer / ours time per unit (a speed-up)
    and must be at least it. Without a goal the ratio is only shown. ``most_us`` bounds our own microseconds a unit as well.
    """

    name: str
    peer_name: str
    ours: Unit
    peer: Unit
    goal: float | None
    better: Literal["lower", "higher"] = "higher"
    count: int = 1
    peer_count: int | None = None
    clock: Literal["cpu", "wall"] = "cpu"
    note: str = ""
    most_us: float | None = None


@dataclass(frozen=True)
class Result:
    """What was measured: microseconds per unit (medians), the ratio of the medians, and the range over rounds."""

    name: str
    peer_name: str
    ours_us: float
    peer_us: float
    ratio: float
    ratio_low: float
    ratio_high: float
    goal: float | None
    better: str
    clock: str
    rounds: int
    note: str
    most_us: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the ratio meets the goal, and our time its own."""
        if self.most_us is not None and self.ours_us > self.most_us:
            return False
        if self.goal is None:
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


def _seconds(work: Unit, clock: str) -> float:
    now = time.process_time if clock == "cpu" else time.perf_counter
    start = now()
    work()
    return now() - start


def measure(case: Case, rounds: int = 5) -> Result:
    """Run a case: one warm-up of each side, then ``rounds`` rounds of ours and peer in turn."""
    case.ours()
    case.peer()
    ours, peers = [], []
    for _ in range(rounds):
        ours.append(_seconds(case.ours, case.clock) / case.count * 1e6)
        peers.append(_seconds(case.peer, case.clock) / (case.peer_count or case.count) * 1e6)
    pairs = [o / p if case.better == "lower" else p / o for o, p in zip(ours, peers, strict=True)]
    ours_us, peer_us = statistics.median(ours), statistics.median(peers)
    return Result(
        name=case.name,
        peer_name=case.peer_name,
        ours_us=ours_us,
        peer_us=peer_us,
        ratio=ours_us / peer_us if case.better == "lower" else peer_us / ours_us,
        ratio_low=min(pairs),
        ratio_high=max(pairs),
        goal=case.goal,
        better=case.better,
        clock=case.clock,
        rounds=rounds,
        note=case.note,
        most_us=case.most_us,
    )


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
        kind = "x the peer's time" if r.better == "lower" else "x faster"
        lines.append(
            f"| {r.name} | {r.peer_name} | {r.ours_us:,.1f} us | {r.peer_us:,.1f} us | "
            f"{r.ratio:.2f}{kind} ({r.ratio_low:.2f}-{r.ratio_high:.2f}) | {_goal(r)} | {_reached(r)} |"
        )
    named: dict[str, list[str]] = {}
    for r in results:
        named.setdefault(r.note, []).append(r.name)
    notes = [
        f"- {'; '.join(dict.fromkeys(names))}: {note}" for note, names in named.items() if note
    ]
    return "\n".join([*lines, *(["", *notes] if notes else []), ""])


def _goal(result: Result) -> str:
    sign = "<=" if result.better == "lower" else ">="
    ratio = [] if result.goal is None else [f"{sign} {result.goal:g}"]
    most = [] if result.most_us is None else [f"<= {result.most_us:g} us"]
    return ", ".join([*ratio, *most]) or "-"


def _reached(result: Result) -> str:
    if result.goal is None and result.most_us is None:
        return "-"
    return "yes" if result.reached else "**no**"


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
