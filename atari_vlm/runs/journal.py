"""The journal of a run: everything that was asked, answered, decided and done, in one SQLite file.

Written in this order: the *request* of a call, its *reply*, the *step* that followed (SQLite, WAL). A reply is on the disk
before anybody sees it (``synchronous=FULL``: it may have cost money); requests and steps follow with the next reply, because
they can be made again exactly. A run that dies at any point has therefore lost at most the replies of the calls in flight, and
whoever plays the same episodes again is served every reply that is here (:mod:`atari_vlm.runs.journal_vlm`). What is
written again must equal what is there; a difference raises :class:`RunError`, because then the run is not the same run. So does
damage (:mod:`atari_vlm.runs.journal_schema`), and a journal that lost something (:mod:`atari_vlm.runs.journal_mark`).

Texts (UTF-8) and pictures (PNG) are stored once each under the SHA-256 of their bytes. Only ``started_at`` and the latencies
inside replies and decisions are clocks; everything else is a function of the configuration and the replies.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from atari_vlm.runs.journal_rows import (
    CallRow,
    EpisodeRow,
    Phase,
    StepRow,
    call_row,
    call_values,
    dumps,
    step_row_of,
    step_values,
)
from atari_vlm.runs.journal_schema import (
    COLUMNS,
    DAMAGE,
    OWN,
    checked,
    digest_of,
    insert,
    not_written,
    open_for_writing,
    open_read_only,
    select,
    typed_errors,
    version_of,
)


class Journal:
    """Reads and writes one journal; safe to share between the threads of a process.

    One process writes at a time (the run folder's lock sees to that); any number may read with ``read_only=True``, also
    while the run goes on.
    """

    def __init__(self, path: str | Path, read_only: bool = False, *, noted_id: str | None = None):
        self.path = Path(path)
        self.read_only = read_only
        self._lock = threading.RLock()
        self._stored: set[str] = set()
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

    def __enter__(self) -> Journal:
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

    def episodes(self) -> list[EpisodeRow]:
        """All episodes in order of their number."""
        with self._snapshot():
            rows = self._rows(
                "episodes", "ORDER BY episode", make=lambda row: EpisodeRow(*row[:-1])
            )
            self._check_count("episodes", len(rows))
        return rows

    def steps(self, episode: int) -> list[StepRow]:
        """The steps of an episode in order."""
        with self._snapshot():
            rows = self._rows("steps", "WHERE episode = ? ORDER BY step", episode, make=step_row_of)
            self._check_episode(episode, [row.step for row in rows], "length")
        return rows

    def calls(self, episode: int) -> list[CallRow]:
        """The calls of an episode in order, unanswered ones included."""
        with self._snapshot():
            rows = self._rows("calls", "WHERE episode = ? ORDER BY call", episode, make=call_row)
            self._check_episode(episode, [row.call for row in rows], "calls")
        return rows

    def call(self, episode: int, call: int) -> CallRow | None:
        """One call, or ``None`` if it was never begun."""
        rows = self._rows("calls", "WHERE episode = ? AND call = ?", episode, call, make=call_row)
        return rows[0] if rows else None

    def replies(self, *, paid: bool = False) -> Iterator[dict[str, Any]]:
        """Every recorded answer, or only those that were asked for, in order of episode and call."""
        for (episode,) in self._plain("SELECT DISTINCT episode FROM calls ORDER BY episode"):
            yield from (
                row.reply
                for row in self.calls(episode)
                if row.reply is not None and (row.paid or not paid)
            )

    def blob(self, sha: str) -> bytes:
        """The bytes stored under ``sha``; raise :class:`RunError` if they are missing or damaged."""
        rows = self._plain("SELECT data FROM blobs WHERE sha = ?", sha)
        if not rows or hashlib.sha256(rows[0][0]).hexdigest() != sha:
            raise RunError(f"{self.path}: blob {sha} is {'damaged' if rows else 'missing'}")
        return bytes(rows[0][0])

    def set_meta(self, **values: Any) -> None:
        """Store plain JSON data under names, replacing what was there."""
        with self._transaction() as db:
            for key, value in values.items():
                insert(db, "meta", (key, dumps(value)))
            (count,) = db.execute("SELECT count(*) FROM meta WHERE key != ?", (OWN,)).fetchone()
            self._note_count("meta", count)

    def begin_episode(self, episode: int, phase: Phase, seed: int) -> EpisodeRow:
        """Record that an episode begins; when it is there already it must be the same one. Returns its row."""
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM episodes WHERE episode = ?", (episode,)).fetchone():
                self._note_count("episodes", self._own()["episodes"] + 1)
                insert(
                    db, "episodes", (episode, phase, seed, "running", None, None, None, None, None)
                )
            row = self._rows(
                "episodes",
                "WHERE episode = ?",
                episode,
                make=lambda values: EpisodeRow(*values[:-1]),
            )[0]
        if (row.phase, row.seed) != (phase, seed):
            raise RunError(
                f"{self.path}: episode {episode} was recorded as {row.phase} with seed {row.seed}, "
                f"and is now asked for as {phase} with seed {seed}: this is another run"
            )
        return row

    def finish_episode(self, row: EpisodeRow) -> None:
        """Record an episode's results."""
        numbers = [
            None if value is None else float(value)
            for value in (row.episode_return, row.fallback_rate, row.cost_usd)
        ]
        with self._transaction() as db:
            if not db.execute(
                "SELECT 1 FROM episodes WHERE episode = ?", (row.episode,)
            ).fetchone():
                self._note_count("episodes", self._own()["episodes"] + 1)
            (calls,) = db.execute(
                "SELECT count(*) FROM calls WHERE episode = ?", (row.episode,)
            ).fetchone()
            known = (row.episode, row.phase, row.seed, row.status)
            insert(db, "episodes", (*known, numbers[0], row.length, *numbers[1:], calls))

    def record_request(self, row: CallRow, blobs: Mapping[str, bytes]) -> None:
        """Record that a call is about to be made, with the texts and pictures that its request names."""
        new = {sha: data for sha, data in blobs.items() if sha not in self._stored}
        with self._transaction(durable=False) as db:
            db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", new.items())
            insert(db, "calls", (*call_values(row), None, row.started_at, 0))
        with self._lock:
            self._stored.update(new)

    def record_reply(
        self, episode: int, call: int, reply: Mapping[str, Any], *, cached: bool = False
    ) -> None:
        """Record the answer to a call, and whether it came from a cache."""
        with self._lock:
            with self._transaction() as db:
                row = self._raw("calls", "WHERE episode = ? AND call = ?", episode, call)[0]
                new = (*row[:6], dumps(reply), row[7], int(cached))
                db.execute(
                    "UPDATE calls SET reply = ?, cached = ?, digest = ? WHERE episode = ? AND call = ?",
                    (new[6], new[8], digest_of("calls", new), episode, call),
                )
            self._answered += row[6] is None
            if self._mark is not None:
                self._mark.answered(self._answered)

    def record_step(self, row: StepRow) -> None:
        """Record a step; when it is there already it must be equal but for clocks."""
        values = step_values(row)
        with self._transaction(durable=False) as db:
            recorded = self._raw("steps", "WHERE episode = ? AND step = ?", row.episode, row.step)
            if not recorded:
                insert(db, "steps", values)
        if recorded and recorded[0][:8] != values[:8]:
            raise RunError(
                f"{self.path}: episode {row.episode} diverged at step {row.step}: recorded "
                f"(action, source, reward, terminated, truncated, info) {recorded[0][2:8]}, now {values[2:8]}"
            )

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

    def _check_episode(self, episode: int, numbers: list[int], counted: str) -> None:
        """Calls and steps are numbered from 0 without a gap; a finished episode knows how many there are."""
        if self._version == 1:
            return
        columns = COLUMNS["episodes"]
        rows = self._rows(
            "episodes",
            "WHERE episode = ?",
            episode,
            make=lambda row: dict(zip(columns, row, strict=True)),
        )
        done = rows and rows[0]["status"] == "done"
        wanted = rows[0][counted] if done else None
        if numbers != list(range(len(numbers) if wanted is None else wanted)):
            raise RunError(
                f"{self.path} cannot be read; it is damaged: rows of episode {episode} are missing"
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
