"""A search in a run's journal: what was asked and answered, what became of it, and the tree."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

from atari_vlm.errors import RunError, reading
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.journal_rows import NodeRow, SimulationRow
from atari_vlm.runs.journal_vlm import Heard, JournalVLM
from atari_vlm.synthesis.records import Choice, Outcome, SearchNode
from atari_vlm.vlm.base import VLM


class JournalRecord:
    """A :class:`~atari_vlm.synthesis.searching.Record` that is a journal: call number n is the one call of simulation n."""

    def __init__(self, journal: Journal, writer: VLM, heard: Heard | None = None):
        self._journal, self._writer, self._heard = journal, writer, heard

    def writer(self, call: int) -> VLM:
        """The recorded reply, else the writer's own, recorded before anybody sees it."""
        return JournalVLM(self._writer, self._journal, call, self._heard)

    def outcome(self, call: int) -> Outcome | None:
        """What became of a call, if it was judged; ``RunError`` where the journal is damaged."""
        row = self._journal.simulation(call)
        if row is None:
            return None
        with reading(f"simulation {call} in {self._journal.path}", RunError):
            return _outcome_of(row.outcome, self._journal)

    def keep(self, choice: Choice, outcome: Outcome) -> None:
        """Record what became of a call."""
        data = {**dataclasses.asdict(outcome), "program": sha_of(outcome.program)}
        row = SimulationRow(choice.call, choice.kind, choice.parent, data, int(choice.call > 0))
        self._journal.record_simulation(row, outcome.program)

    def keep_nodes(self, nodes: Sequence[SearchNode]) -> None:
        """Record the tree."""
        self._journal.record_nodes([row_of(node) for node in nodes])


def row_of(node: SearchNode) -> NodeRow:
    """A node as journal and table hold it: its program by SHA-256, flags as 0 and 1."""
    values: dict[str, Any] = {
        item.name: getattr(node, item.name) for item in dataclasses.fields(NodeRow)
    }
    flags = {"bug": int(node.bug), "terminal": int(node.terminal)}
    return NodeRow(**{**values, **flags, "program": sha_of(node.program)})


@functools.lru_cache(4096)
def sha_of(program: str | None) -> str | None:
    """The SHA-256 of a program's text, hex."""
    return None if program is None else hashlib.sha256(bytes_of(program)).hexdigest()


def bytes_of(program: str) -> bytes:
    """A program as a file holds it."""
    return program.encode("utf-8", "surrogatepass")


def _outcome_of(data: dict[str, Any], journal: Journal) -> Outcome:
    sha = data["program"]
    program = None if sha is None else journal.blob(sha).decode("utf-8", "surrogatepass")
    return Outcome(**{**data, "program": program, "examples": tuple(data["examples"])})
