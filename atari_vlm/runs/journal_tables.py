"""What every table of a journal shares: one file and one lock, rows that are sealed and counted, writes that are whole."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from atari_vlm.errors import ConfigError, RunError
from atari_vlm.runs.journal_mark import (
    Mark,
    Noted,
    check_began,
    check_noted,
    check_whole,
    mark_of,
    read_mark,
)
from atari_vlm.runs.journal_rows import dumps
from atari_vlm.runs.journal_schema import (
    DAMAGE,
    OWN,
    checked,
    insert,
    not_written,
    open_for_writing,
    open_read_only,
    select,
    typed_errors,
    version_of,
)


class SealedTables:
    """An open journal. Whoever has tables of their own in it derives from this."""

    def __init__(self, path: str | Path, read_only: bool = False, *, noted_id: str | None = None):
        self.path = Path(path)
        self.read_only = read_only
        self._lock = threading.RLock()
        self._durable = True
        self.id = ""  # what tells this journal from all others; journals of version 1 had none
        if read_only and not self.path.is_file():
            raise ConfigError(f"there is no journal at {self.path}")
        mark = read_mark(self.path)
        check_began(self.path, mark, noted_id)
        self._db = open_read_only(self.path) if read_only else open_for_writing(self.path)
        try:
            self._version = version_of(self._db, self.path)
            self._mark = self._checked_mark(mark, noted_id)
        except BaseException:
            self._db.close()
            raise

    def _checked_mark(self, mark: Noted, noted_id: str | None) -> Mark | None:
        """Compare the journal with what was noted of it; a mark to write where this process writes."""
        self._answered = self._count_answers()
        if self._version > 1:
            self.id = str(self._own()["id"])
            check_whole(self.path, mark, self.id, self._answered)
            check_noted(
                self.path, mark, self.id, noted_id, bool(self.meta().get("finished", False))
            )
        return None if self.read_only else Mark(mark_of(self.path), self.id, self._answered)

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        with self._lock:
            self._db.close()
            if self._mark is not None:
                self._mark.close()
                self._mark = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def meta(self) -> dict[str, Any]:
        """What :meth:`set_meta` stored: plain JSON data under names."""
        with self._snapshot():
            rows = dict(
                self._rows("meta", "ORDER BY key", make=lambda row: (row[0], json.loads(row[1])))
            )
            self._check_count("meta", len(rows) - 1)
        rows.pop(OWN, None)
        return rows

    def set_meta(self, **values: Any) -> None:
        """Store plain JSON data under names, replacing what was there."""
        with self._transaction() as db:
            for key, value in values.items():
                insert(db, "meta", (key, dumps(value)))
            (count,) = db.execute("SELECT count(*) FROM meta WHERE key != ?", (OWN,)).fetchone()
            self._note_count("meta", count)

    def _rows(
        self, table: str, where: str, *values: Any, make: Callable[[Any], Any] = tuple
    ) -> list[Any]:
        """Rows whose digests are right, each turned into what is wanted; :class:`RunError` where the file is damaged."""
        with typed_errors(self.path):
            return [make(row) for row in self._raw(table, where, *values)]

    def _raw(self, table: str, where: str, *values: Any) -> list[Any]:
        with typed_errors(self.path), self._lock:
            rows = self._db.execute(select(table, self._version) + where, values).fetchall()
            return checked(table, self._version, rows)

    def _plain(self, query: str, *values: Any) -> list[Any]:
        with typed_errors(self.path), self._lock:
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Within the block, all that is read is of one moment, also while another process writes."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._plain("BEGIN")
            try:
                yield
            finally:
                with typed_errors(self.path):
                    self._db.execute("ROLLBACK")  # nothing was written

    def _own(self) -> dict[str, Any]:
        rows = self._rows("meta", "WHERE key = ?", OWN, make=lambda row: json.loads(row[1]))
        if not rows:
            raise RunError(
                f"{self.path} cannot be read; it is damaged: it does not say which journal it is"
            )
        return dict(rows[0])

    def _note_count(self, table: str, count: int) -> None:
        insert(self._db, "meta", (OWN, dumps({**self._own(), table: count})))

    def _check_count(self, table: str, count: int) -> None:
        if self._version > 1 and self._own()[table] != count:
            raise RunError(
                f"{self.path} cannot be read; it is damaged: it has {count} of {self._own()[table]} {table}"
            )

    def _check_numbered(self, numbers: list[int], wanted: int | None, whose: str) -> None:
        """Rows are numbered from 0 without a gap; ``wanted`` is how many there are, where it is known."""
        if numbers != list(range(len(numbers) if wanted is None else wanted)):
            raise RunError(
                f"{self.path} cannot be read; it is damaged: rows of {whose} are missing"
            )

    def _count_answers(self) -> int:
        return int(self._plain("SELECT count(*) FROM calls WHERE reply IS NOT NULL")[0][0])

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Write; with ``durable`` it, and all that was written before, is on the disk when the block ends.

        :class:`RunError` where that is impossible (a full disk, a damaged file); then nothing of the block is there.
        """
        try:
            with self._lock:
                yield from self._written(durable)
        except sqlite3.ProgrammingError:
            raise
        except DAMAGE as error:
            raise not_written(self.path, error) from error

    def _written(self, durable: bool) -> Iterator[sqlite3.Connection]:
        if durable != self._durable:
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise
