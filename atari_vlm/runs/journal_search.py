"""The tables of a search in a journal: what became of every simulation, and the tree as it stands.

A simulation's outcome is written once and never changes: a run that is continued takes it from here, whatever the machine's
speed would make of a deadline today. The tree is written anew as it grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from atari_vlm.runs.journal_rows import (
    NodeRow,
    SimulationRow,
    node_row,
    node_values,
    simulation_row,
    simulation_values,
)
from atari_vlm.runs.journal_schema import insert
from atari_vlm.runs.journal_tables import SealedTables

Row = TypeVar("Row")


class SearchTables(SealedTables):
    """Reads and writes them. Journals of before version 3 have none: they are read as empty."""

    _tree: dict[int, NodeRow] | None = None  # as it was written last

    def simulations(self) -> list[SimulationRow]:
        """All finished simulations in order."""
        return self._search_rows("simulations", "simulation", simulation_row)

    def simulation(self, number: int) -> SimulationRow | None:
        """One simulation, or ``None`` if it was never finished."""
        if self._version < 3:
            return None
        rows = self._rows("simulations", "WHERE simulation = ?", number, make=simulation_row)
        return rows[0] if rows else None

    def nodes(self) -> list[NodeRow]:
        """The tree as it stood when the last outcome had been put in, by number."""
        return self._search_rows("nodes", "node", node_row)

    def record_simulation(self, row: SimulationRow, program: str | None) -> None:
        """Record what became of a simulation, with the program that its outcome names by SHA-256."""
        with self._transaction() as db:
            if program is not None:
                data = program.encode("utf-8", "surrogatepass")
                sha = hashlib.sha256(data).hexdigest()
                db.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?)", (sha, data))
            if self.simulation(row.simulation) is None:
                self._note_count("simulations", self._own()["simulations"] + 1)
            insert(db, "simulations", simulation_values(row))

    def record_nodes(self, rows: Sequence[NodeRow]) -> None:
        """Put the tree in place of what was there; only what changed is written."""
        before = {row.node: row for row in self.nodes()} if self._tree is None else self._tree
        after = {row.node: row for row in rows}
        with self._transaction(durable=False) as db:
            for number in before.keys() - after.keys():
                db.execute("DELETE FROM nodes WHERE node = ?", (number,))
            for row in rows:
                if before.get(row.node) != row:
                    insert(db, "nodes", node_values(row))
            self._note_count("nodes", len(rows))
        self._tree = after

    def _check_simulation(self, number: int, calls: list[int]) -> None:
        """A finished simulation knows how many calls it made."""
        row = self.simulation(number)
        if row is not None:
            self._check_numbered(calls, row.calls, f"simulation {number}")

    def _search_rows(self, table: str, key: str, make: Callable[[Any], Row]) -> list[Row]:
        if self._version < 3:
            return []
        with self._snapshot():
            rows = self._rows(table, f"ORDER BY {key}", make=make)
            self._check_count(table, len(rows))
        return rows
