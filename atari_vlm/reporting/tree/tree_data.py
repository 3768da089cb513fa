"""What the page of a search shows, read from its journal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from atari_vlm.errors import RunError, reading
from atari_vlm.runs.journal import CallRow, Journal
from atari_vlm.runs.journal_rows import NodeRow, SimulationRow


@dataclass(frozen=True)
class Entry:
    """One call of a search, or the root of its tree.

    ``node`` is ``None`` for a call whose place in the tree a later one took, and for one that asked for a shorter program.
    ``messages`` are the texts of the question with their roles; ``reply`` is empty while none has come.
    """

    number: int
    kind: str
    parent: int | None
    node: NodeRow | None
    outcome: Mapping[str, Any]
    program: str | None
    messages: tuple[tuple[str, str], ...] = ()
    reply: str = ""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def score(self) -> float:
        """The feedback score; 0 where there is none."""
        return float(self.outcome.get("score", 0.0))

    @property
    def solved(self) -> bool:
        """Whether the search could end with it."""
        return self.score == 1.0 and self.outcome.get("verified") is not False


def read_entries(journal: Journal) -> dict[int, Entry]:
    """Every finished call by number, the root (0) first; ``RunError`` where the journal is damaged."""
    nodes = {row.node: row for row in journal.nodes()}
    entries = {}
    if 0 in nodes:
        entries[0] = Entry(0, "root", None, nodes[0], {}, None)
    with reading(journal.path, RunError):
        for row in journal.simulations():
            entries[row.simulation] = _entry(journal, row, nodes.get(row.simulation))
    return entries


def best_of(entries: Mapping[int, Entry]) -> Entry | None:
    """The call of the best program: the first of the highest score, accepted ones first, a shorter one in its place."""
    written = [entry for entry in entries.values() if entry.program is not None]
    found = [entry for entry in written if entry.kind != "simplify"]
    best = max(found, key=lambda entry: (entry.solved, entry.score, -entry.number), default=None)
    for entry in written:
        if best is not None and entry.kind == "simplify" and _replaces(entry, best):
            best = entry
    return best


def shortened(entries: Mapping[int, Entry], most: int) -> dict[int, Entry]:
    """The entries with their long texts cut, if need be, so that all of them together have about ``most`` characters."""
    share = max(
        500, most // max(6 * len(entries), 1)
    )  # program, difference, questions, reply, and marks around them

    def cut(text: str) -> str:
        note = (
            f"\n... cut here to keep the page small: the journal holds all {len(text):,} characters"
        )
        return text if len(text) <= share else text[:share] + note

    return {number: _cut(entry, cut) for number, entry in entries.items()}


def _cut(entry: Entry, cut: Callable[[str], str]) -> Entry:
    return dataclasses.replace(
        entry,
        program=None if entry.program is None else cut(entry.program),
        messages=tuple((role, cut(text)) for role, text in entry.messages),
        reply=cut(entry.reply),
        outcome={**entry.outcome, "error": cut(str(entry.outcome.get("error", "")))},
    )


def _replaces(entry: Entry, best: Entry) -> bool:
    right = entry.solved and entry.outcome.get("held_out") in (None, 1.0)
    return right and len(entry.program or "") < len(best.program or "")


def _entry(journal: Journal, row: SimulationRow, node: NodeRow | None) -> Entry:
    sha = row.outcome["program"]
    call = journal.call(row.simulation, 0)
    return Entry(
        number=row.simulation,
        kind=row.kind,
        parent=row.parent,
        node=node,
        outcome=row.outcome,
        program=None if sha is None else journal.blob(sha).decode("utf-8", "replace"),
        messages=() if call is None else _messages(journal, call),
        reply="" if call is None or call.reply is None else str(call.reply.get("text", "")),
        facts={} if call is None or call.reply is None else _facts(call),
    )


def _messages(journal: Journal, call: CallRow) -> tuple[tuple[str, str], ...]:
    return tuple(
        (role, "\n".join(journal.blob(sha).decode("utf-8", "replace") for _, sha in parts))
        for role, parts in call.request
    )


def _facts(call: CallRow) -> dict[str, Any]:
    reply = call.reply or {}
    usage = reply.get("usage") or {}
    return {
        "model": reply.get("model"),
        "finish": reply.get("finish_reason"),
        "tokens in": usage.get("input_tokens"),
        "tokens out": usage.get("output_tokens"),
        "cached": "yes" if call.cached else None,
    }
