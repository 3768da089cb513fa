"""The rows of a journal as records, and as SQLite holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from atari_vlm.errors import ConfigError

Phase = Literal["train", "eval"]


@dataclass(frozen=True)
class EpisodeRow:
    """One episode. The last four are ``None`` while ``status`` is ``"running"``; ``cost_usd`` also when it is unknown."""

    episode: int
    phase: Phase
    seed: int
    status: Literal["running", "done"] = "running"
    episode_return: float | None = None
    length: int | None = None
    fallback_rate: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class StepRow:
    """One step: what was done, why, and what came of it.

    ``decision`` has the keys reasoning, problems, details, latency_s, cost_usd, calls (the indices of this step's calls).
    """

    episode: int
    step: int
    action: int | list[int] | list[float]
    source: str
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    decision: dict[str, Any]


@dataclass(frozen=True)
class CallRow:
    """One call of a VLM. ``reply`` is ``None`` while no answer has arrived.

    ``task`` is the number of the episode, or of the simulation of a search, that it was made for. ``request`` is
    ``[[role, [["text", sha] | ["image", sha], ...]], ...]``; ``reply`` is ``Reply.as_dict()`` for the kind ``"complete"`` and
    ``{"scores": [...]}`` for ``"scores"``. ``started_at`` is Unix time in seconds. ``cached``: the answer came from a cache, and
    cost nothing.
    """

    task: int
    call: int
    step: int
    kind: Literal["complete", "scores"]
    request_key: str
    request: list[Any]
    reply: dict[str, Any] | None
    started_at: float
    cached: bool = False

    @property
    def paid(self) -> bool:
        """Whether it was asked and answered."""
        return self.reply is not None and not self.cached


@dataclass(frozen=True)
class SimulationRow:
    """What became of one simulation of a search, which is one question to its writer.

    ``kind`` is what was asked for, ``parent`` the simulation whose program was to be fixed or improved (``None``: no program).
    ``outcome`` is plain data: program (SHA-256 of the text, or ``None``), score, failure, error, fields, held_out, example,
    verified. ``calls`` is how many calls it made.
    """

    simulation: int
    kind: str
    parent: int | None
    outcome: dict[str, Any]
    calls: int = 1


@dataclass(frozen=True)
class NodeRow:
    """A program in the tree of a search; ``program`` is the SHA-256 of its text. See ``atari_vlm.synthesis.SearchNode``."""

    node: int
    parent: int | None
    call: int
    kind: str
    score: float
    bug: int
    visits: int
    value: float
    terminal: int
    fixes_left: int | None
    program: str | None
    failure: str
    alpha: float | None
    beta: float | None


def simulation_row(row: Any) -> SimulationRow:
    """A simulation from its row."""
    number, kind, parent, outcome, calls = row
    return SimulationRow(number, kind, parent, json.loads(outcome), calls)


def simulation_values(row: SimulationRow) -> tuple[Any, ...]:
    """A simulation as it is stored."""
    return row.simulation, row.kind, row.parent, dumps(row.outcome), row.calls


def node_row(row: Any) -> NodeRow:
    """A node from its row."""
    return NodeRow(*row)


def node_values(row: NodeRow) -> tuple[Any, ...]:
    """A node as it is stored."""
    return tuple(getattr(row, item.name) for item in fields(row))


def call_row(row: Any) -> CallRow:
    """A call from its row."""
    reply = None if row[6] is None else json.loads(row[6])
    values: list[Any] = [*row[:5], json.loads(row[5]), reply, row[7], bool(row[8])]
    return CallRow(*values)


def call_values(row: CallRow) -> tuple[Any, ...]:
    """What is stored of a call before it is answered, but for the clock."""
    return row.task, row.call, row.step, row.kind, row.request_key, dumps(row.request)


def step_values(row: StepRow) -> tuple[Any, ...]:
    """A step's row as it is stored."""
    return (
        *(row.episode, row.step, _number_or_text(row.action), row.source),
        *(float(row.reward), int(row.terminated), int(row.truncated)),
        *(dumps(row.info), dumps(row.decision)),
    )


def step_row_of(row: Any) -> StepRow:
    """A step from its row."""
    action = json.loads(row[2]) if isinstance(row[2], str) else row[2]
    ends = bool(row[5]), bool(row[6])
    values: list[Any] = [*row[:2], action, *row[3:5], *ends, json.loads(row[7]), json.loads(row[8])]
    return StepRow(*values)


def _number_or_text(action: int | list[int] | list[float]) -> int | str:
    """An action as its column holds it: a number, or its parts as JSON."""
    return action if isinstance(action, int) else json.dumps(action)


def dumps(value: Any) -> str:
    """Plain data as JSON."""
    return _ENCODER.encode(value)


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays, tuples and mappings as plain JSON data."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigError(f"a journal holds plain data, not {type(value).__name__}: {value!r}")


_ENCODER = json.JSONEncoder(sort_keys=True, default=_plain)
