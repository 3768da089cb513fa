"""The journal of a run: everything that was asked, answered, decided and done, in one SQLite file.

Written in this order: the *request* of a call, its *reply*, the *step* that followed (SQLite, WAL). A reply is on the disk
before anybody sees it (``synchronous=FULL``: it may have cost money); requests and steps follow with the next reply, because
they can be made again exactly. A run that dies at any point has therefore lost at most the replies of the calls in flight, and
whoever plays the same episodes again is served every reply that is here (:mod:`atari_vlm.runs.journal_vlm`). What is
written again must equal what is there; a difference raises :class:`RunError`, because then the run is not the same run.

Texts (UTF-8) and pictures (PNG) are stored once each under the SHA-256 of their bytes. Only ``started_at`` and the latencies
inside replies and decisions are clocks; everything else is a function of the configuration and the replies.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from atari_vlm.errors import ConfigError, RunError

Phase = Literal["train", "eval"]
VERSION = 1

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE blobs (sha TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE episodes (episode INTEGER PRIMARY KEY, phase TEXT NOT NULL, seed INTEGER NOT NULL, status TEXT NOT NULL,
    episode_return REAL, length INTEGER, fallback_rate REAL, cost_usd REAL);
CREATE TABLE calls (episode INTEGER, call INTEGER, step INTEGER NOT NULL, kind TEXT NOT NULL, request_key TEXT NOT NULL,
    request TEXT NOT NULL, reply TEXT, started_at REAL NOT NULL, PRIMARY KEY (episode, call)) WITHOUT ROWID;
CREATE TABLE steps (episode INTEGER, step INTEGER, action INTEGER NOT NULL, source TEXT NOT NULL, reward REAL NOT NULL,
    terminated INTEGER NOT NULL, truncated INTEGER NOT NULL, info TEXT NOT NULL, decision TEXT NOT NULL,
    PRIMARY KEY (episode, step)) WITHOUT ROWID;
"""


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
    action: int
    source: str
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    decision: dict[str, Any]


@dataclass(frozen=True)
class CallRow:
    """One call of a VLM. ``reply`` is ``None`` while no answer has arrived.

    ``request`` is ``[[role, [["text", sha] | ["image", sha], ...]], ...]``; ``reply`` is ``Reply.as_dict()`` for the kind
    ``"complete"`` and ``{"scores": [...]}`` for ``"scores"``. ``started_at`` is Unix time in seconds.
    """

    episode: int
    call: int
    step: int
    kind: Literal["complete", "scores"]
    request_key: str
    request: list[Any]
    reply: dict[str, Any] | None
    started_at: float


class Journal:
    """Reads and writes one journal; safe to share between the threads of a process.

    One process writes at a time (the run folder's lock sees to that); any number may read with ``read_only=True``, also
    while the run goes on.
    """

    def __init__(self, path: str | Path, read_only: bool = False):
        self.path = Path(path)
        self.read_only = read_only
        self._lock = threading.RLock()
        self._stored: set[str] = set()
        self._durable = True
        if read_only and not self.path.is_file():
            raise ConfigError(f"there is no journal at {self.path}")
        self._db = self._open_read_only() if read_only else self._open()

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def meta(self) -> dict[str, Any]:
        """What :meth:`set_meta` stored: plain JSON data under names."""
        return dict(
            self._rows("SELECT key, value FROM meta ORDER BY key", make=lambda row: (row[0], json.loads(row[1])))
        )

    def episodes(self) -> list[EpisodeRow]:
        """All episodes in order of their number."""
        return self._rows("SELECT * FROM episodes ORDER BY episode", make=lambda row: EpisodeRow(*row))

    def steps(self, episode: int) -> list[StepRow]:
        """The steps of an episode in order."""
        return self._rows("SELECT * FROM steps WHERE episode = ? ORDER BY step", episode, make=_step_row)

    def calls(self, episode: int) -> list[CallRow]:
        """The calls of an episode in order, unanswered ones included."""
        return self._rows("SELECT * FROM calls WHERE episode = ? ORDER BY call", episode, make=_call_row)

    def call(self, episode: int, call: int) -> CallRow | None:
        """One call, or ``None`` if it was never begun."""
        rows = self._rows("SELECT * FROM calls WHERE episode = ? AND call = ?", episode, call, make=_call_row)
        return rows[0] if rows else None

    def replies(self) -> Iterator[dict[str, Any]]:
        """Every recorded answer, in order of episode and call."""
        query = "SELECT reply FROM calls WHERE reply IS NOT NULL ORDER BY episode, call"
        yield from self._rows(query, make=lambda row: json.loads(row[0]))

    def blob(self, sha: str) -> bytes:
        """The bytes stored under ``sha``; raise :class:`RunError` if they are missing or damaged."""
        rows = self._rows("SELECT data FROM blobs WHERE sha = ?", sha)
        if not rows or hashlib.sha256(rows[0][0]).hexdigest() != sha:
            raise RunError(f"{self.path}: blob {sha} is {'damaged' if rows else 'missing'}")
        return bytes(rows[0][0])

    def set_meta(self, **values: Any) -> None:
        """Store plain JSON data under names, replacing what was there."""
        with self._transaction() as db:
            for key, value in values.items():
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, _dumps(value)))

    def begin_episode(self, episode: int, phase: Phase, seed: int) -> EpisodeRow:
        """Record that an episode begins; when it is there already it must be the same one. Returns its row."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO episodes (episode, phase, seed, status) VALUES (?, ?, ?, 'running')",
                (episode, phase, seed),
            )
            row = EpisodeRow(*db.execute("SELECT * FROM episodes WHERE episode = ?", (episode,)).fetchone())
        if (row.phase, row.seed) != (phase, seed):
            raise RunError(
                f"{self.path}: episode {episode} was recorded as {row.phase} with seed {row.seed}, "
                f"and is now asked for as {phase} with seed {seed}: this is another run"
            )
        return row

    def finish_episode(self, row: EpisodeRow) -> None:
        """Record an episode's results."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO episodes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", dataclasses.astuple(row))

    def record_request(self, row: CallRow, blobs: Mapping[str, bytes]) -> None:
        """Record that a call is about to be made, with the texts and pictures that its request names."""
        new = {sha: data for sha, data in blobs.items() if sha not in self._stored}
        with self._transaction(durable=False) as db:
            db.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", new.items())
            db.execute(
                "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
                (row.episode, row.call, row.step, row.kind, row.request_key, _dumps(row.request), row.started_at),
            )
        with self._lock:
            self._stored.update(new)

    def record_reply(self, episode: int, call: int, reply: Mapping[str, Any]) -> None:
        """Record the answer to a call."""
        with self._transaction() as db:
            db.execute("UPDATE calls SET reply = ? WHERE episode = ? AND call = ?", (_dumps(reply), episode, call))

    def record_step(self, row: StepRow) -> None:
        """Record a step; when it is there already it must be equal but for clocks."""
        values = (
            *(row.episode, row.step, row.action, row.source, row.reward, int(row.terminated), int(row.truncated)),
            *(_dumps(row.info), _dumps(row.decision)),
        )
        with self._transaction(durable=False) as db:
            found = db.execute("SELECT * FROM steps WHERE episode = ? AND step = ?", (row.episode, row.step)).fetchone()
            if found is None:
                db.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        if found is not None and found[:8] != values[:8]:
            raise RunError(
                f"{self.path}: episode {row.episode} diverged at step {row.step}: recorded "
                f"(action, source, reward, terminated, truncated, info) {found[2:8]}, now {values[2:8]}"
            )

    def _rows(self, query: str, *values: Any, make: Callable[[Any], Any] = tuple) -> list[Any]:
        """What a query finds, each row turned into what is wanted; :class:`RunError` where the file is damaged."""
        try:
            with self._lock:
                rows = self._db.execute(query, values).fetchall()
            return [make(row) for row in rows]
        except sqlite3.ProgrammingError:  # closed: the caller's mistake, not the file's
            raise
        except (sqlite3.Error, ValueError) as error:
            raise RunError(f"{self.path} cannot be read; it is damaged: {str(error)[:160]}") from error

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
        except sqlite3.Error as error:
            raise RunError(
                f"{self.path} cannot be written: {error}. Nothing recorded before is lost; the same command continues"
            ) from error

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

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30.0)
        except sqlite3.Error as error:
            raise RunError(f"{self.path} cannot be opened: {error}") from error
        try:
            return self._begin(db)
        except sqlite3.Error as error:
            db.close()
            raise RunError(f"{self.path} cannot be written: {error}") from error

    def _begin(self, db: sqlite3.Connection) -> sqlite3.Connection:
        version = self._version(db)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        if version == 0:
            db.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={VERSION}")
            db.execute("COMMIT")
        return db

    def _open_read_only(self) -> sqlite3.Connection:
        address = self.path.resolve().as_uri()
        db = sqlite3.connect(f"{address}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        try:
            db.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except sqlite3.OperationalError as error:  # a finished run on a medium that cannot be written
            if self.path.with_name(self.path.name + "-wal").exists():
                raise RunError(f"{self.path} cannot be read here while its write-ahead log is open: {error}") from error
            db = sqlite3.connect(f"{address}?immutable=1", uri=True, isolation_level=None, check_same_thread=False)
        except sqlite3.DatabaseError:
            pass  # said properly below
        if self._version(db) == 0:
            db.close()
            raise RunError(f"{self.path} is empty: its run was stopped before it began")
        return db

    def _version(self, db: sqlite3.Connection) -> int:
        """The file's version, 0 for a new file; :class:`RunError` if it is no journal or another package's."""
        try:
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
        except sqlite3.DatabaseError as error:
            db.close()
            raise RunError(f"{self.path} is not a journal: {error}") from error
        if version not in (0, VERSION):
            db.close()
            raise RunError(f"{self.path} has journal version {version}; this package reads version {VERSION}")
        return version


def _call_row(row: Any) -> CallRow:
    reply = None if row[6] is None else json.loads(row[6])
    values: list[Any] = [*row[:5], json.loads(row[5]), reply, row[7]]
    return CallRow(*values)


def _step_row(row: Any) -> StepRow:
    values: list[Any] = [*row[:5], bool(row[5]), bool(row[6]), json.loads(row[7]), json.loads(row[8])]
    return StepRow(*values)


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays, tuples and mappings as plain JSON data."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigError(f"a journal holds plain data, not {type(value).__name__}: {value!r}")
