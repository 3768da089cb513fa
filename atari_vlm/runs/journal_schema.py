"""The tables of a journal, how their rows are sealed, and how a file is opened.

Every row carries a digest of its values, and the number of rows that belong together is kept: of ``meta`` and ``episodes`` in
``meta``, of an episode's calls and steps in its row when it is done. A flipped bit, or a row that is gone, is therefore told
when it is read. Journals of version 1 have none of this, and those before version 3 no tables of searches; they are read as they
are, and become version 3 when they are opened for writing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atari_vlm.errors import RunError, StorageError, one_line

VERSION = 3
OWN = "_journal"  # the row of meta that is the journal's own: its id, and how many rows there are
COLUMNS = {  # tables that every version has; the ``episode`` of a call is the number of its task, which may be a simulation
    "meta": ("key", "value"),
    "episodes": (
        *(
            "episode",
            "phase",
            "seed",
            "status",
            "episode_return",
            "length",
            "fallback_rate",
            "cost_usd",
        ),
        "calls",
    ),
    "calls": (
        "episode",
        "call",
        "step",
        "kind",
        "request_key",
        "request",
        "reply",
        "started_at",
        "cached",
    ),
    "steps": (
        *(
            "episode",
            "step",
            "action",
            "source",
            "reward",
            "terminated",
            "truncated",
            "info",
            "decision",
        ),
    ),
}
SEARCH_COLUMNS = {  # since version 3
    "simulations": ("simulation", "kind", "parent", "outcome", "calls"),
    "nodes": (
        *("node", "parent", "call", "kind", "score", "bug", "visits", "value", "terminal"),
        *("fixes_left", "program", "failure", "alpha", "beta"),
    ),
}
_ADDED = {
    "episodes": ("calls", "INTEGER", None),
    "calls": ("cached", "INTEGER NOT NULL DEFAULT 0", 0),
}
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE blobs (sha TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE episodes (episode INTEGER PRIMARY KEY, phase TEXT NOT NULL, seed INTEGER NOT NULL, status TEXT NOT NULL,
    episode_return REAL, length INTEGER, fallback_rate REAL, cost_usd REAL);
CREATE TABLE calls (episode INTEGER, call INTEGER, step INTEGER NOT NULL, kind TEXT NOT NULL, request_key TEXT NOT NULL,
    request TEXT NOT NULL, reply TEXT, started_at REAL NOT NULL, PRIMARY KEY (episode, call)) WITHOUT ROWID;
CREATE TABLE steps (episode INTEGER, step INTEGER, action INTEGER NOT NULL, source TEXT NOT NULL, reward REAL NOT NULL,
    terminated INTEGER NOT NULL, truncated INTEGER NOT NULL, info TEXT NOT NULL, decision TEXT NOT NULL,
    PRIMARY KEY (episode, step)) WITHOUT ROWID
"""
_SEARCH_TABLES = """
CREATE TABLE simulations (simulation INTEGER PRIMARY KEY, kind TEXT NOT NULL, parent INTEGER, outcome TEXT NOT NULL,
    calls INTEGER NOT NULL, digest BLOB);
CREATE TABLE nodes (node INTEGER PRIMARY KEY, parent INTEGER, call INTEGER NOT NULL, kind TEXT NOT NULL, score REAL NOT NULL,
    bug INTEGER NOT NULL, visits INTEGER NOT NULL, value REAL NOT NULL, terminal INTEGER NOT NULL, fixes_left INTEGER,
    program TEXT, failure TEXT NOT NULL, alpha REAL, beta REAL, digest BLOB)
"""
_LONGEST_VALUE = 1 << 28
# what sqlite3 raises for a file: the second when the damaged name of a table stands in its message
DAMAGE = (sqlite3.Error, UnicodeDecodeError)


def digest_of(table: str, values: Sequence[Any]) -> bytes:
    """16 bytes of SHA-256 over a row as SQLite gives it back."""
    return hashlib.sha256(f"{table} {tuple(values)!a}".encode()).digest()[:16]


def insert(db: sqlite3.Connection, table: str, values: Sequence[Any]) -> None:
    """Write a row with its digest, in place of one with the same key."""
    marks = ", ".join("?" * (len(values) + 1))
    db.execute(
        f"INSERT OR REPLACE INTO {table} VALUES ({marks})", (*values, digest_of(table, values))
    )


@functools.cache
def select(table: str, version: int) -> str:
    """The start of a query for whole rows: the columns, then the digest (``NULL`` in version 1)."""
    names = list(_columns(table))
    if version == 1 and table in _ADDED:
        names[-1] = "NULL" if _ADDED[table][2] is None else str(_ADDED[table][2])
    return f"SELECT {', '.join(names)}, {'NULL' if version == 1 else 'digest'} FROM {table} "


def checked(table: str, version: int, rows: list[Any]) -> list[tuple[Any, ...]]:
    """The rows without their digests, once these are found right; ``ValueError`` if one is not."""
    for row in rows:
        if version != 1 and row[-1] != digest_of(table, row[:-1]):
            raise ValueError(
                f"a row of {table} is not what was written (of {_columns(table)[0]} {row[0]!r:.60})"
            )
    return [tuple(row[:-1]) for row in rows]


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The journal at ``path``, made if there is no file or an empty one, and of this version afterwards.

    Raises ``RunError`` for what is no journal: nothing is made or changed in it. ``StorageError`` where nothing can be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
    except sqlite3.Error as error:
        raise StorageError(f"{path} cannot be opened: {one_line(error)}") from error
    try:
        version = version_of(db, path)
        db.execute("PRAGMA trusted_schema=OFF")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        if version < VERSION:
            _upgrade(db, version)
        return db
    except DAMAGE as error:
        db.close()
        raise not_written(path, error) from error
    except BaseException:
        db.close()
        raise


def not_written(path: Path, error: Exception) -> RunError:
    """The error for a write that failed: ``StorageError`` unless it is the file itself that is damaged."""
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    ):
        return RunError(f"{path} cannot be written; it is damaged: {one_line(error)}")
    return StorageError(
        f"{path} cannot be written: {one_line(error)}. Nothing recorded before is lost; the same command continues"
    )


def _upgrade(db: sqlite3.Connection, version: int) -> None:
    """Make the tables (version 0), or give older ones what later versions added; all of it or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if version == 0:
            _make(db, _TABLES)
        if version < 2:
            _seal(db)
        _make(db, _SEARCH_TABLES)
        (own,) = db.execute("SELECT value FROM meta WHERE key = ?", (OWN,)).fetchone()
        grown = {**json.loads(own), **dict.fromkeys(SEARCH_COLUMNS, 0)}
        insert(db, "meta", (OWN, json.dumps(grown, sort_keys=True)))
        db.execute(f"PRAGMA user_version={VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _make(db: sqlite3.Connection, tables: str) -> None:
    for statement in tables.split(";\n"):
        db.execute(statement)


def _seal(db: sqlite3.Connection) -> None:
    """What version 2 added: digests of rows, counts of them, the journal's id."""
    for table, (column, kind, _) in _ADDED.items():
        db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
    for table in COLUMNS:
        db.execute(f"ALTER TABLE {table} ADD COLUMN digest BLOB")
    for table, columns in COLUMNS.items():
        for row in db.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall():
            insert(db, table, row)
    counts = {table: _count(db, table) for table in ("meta", "episodes")}
    own = {"id": secrets.token_hex(8), **counts}
    insert(db, "meta", (OWN, json.dumps(own, sort_keys=True)))


def _columns(table: str) -> tuple[str, ...]:
    return COLUMNS[table] if table in COLUMNS else SEARCH_COLUMNS[table]


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def open_read_only(path: Path) -> sqlite3.Connection:
    """The journal at ``path``, which may be written by another process meanwhile; ``RunError`` for what is none."""
    address = path.resolve().as_uri()
    db = sqlite3.connect(
        f"{address}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        db.execute("SELECT 1 FROM sqlite_schema").fetchall()
    except sqlite3.OperationalError as error:  # a finished run on a medium that cannot be written
        db.close()
        if path.with_name(path.name + "-wal").exists():
            raise RunError(
                f"{path} cannot be read here while its write-ahead log is open: {one_line(error)}"
            ) from error
        db = sqlite3.connect(
            f"{address}?immutable=1", uri=True, isolation_level=None, check_same_thread=False
        )
    except DAMAGE:
        pass  # said properly below
    try:
        if version_of(db, path) == 0:
            raise RunError(f"{path} is empty: its run was stopped before it began")
        return db
    except BaseException:
        db.close()
        raise


def version_of(db: sqlite3.Connection, path: Path) -> int:
    """The file's version, 0 for a new file; ``RunError`` if it is no journal or of a later version."""
    try:
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        tables = {
            name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
    except DAMAGE as error:
        raise RunError(f"{path} is not a journal: {one_line(error)}") from error
    if version > VERSION or version < 0:
        raise RunError(
            f"{path} has journal version {version}; this package reads version {VERSION}"
        )
    known = {*COLUMNS, "blobs", *(SEARCH_COLUMNS if version > 2 else ())} if version else set()
    if {name for name in tables if not name.startswith("sqlite_")} != known:
        raise RunError(
            f"{path} is not a journal but another program's database; nothing was changed in it"
        )
    return version


@contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Whatever reading a damaged journal raises, as a :class:`RunError`."""
    try:
        yield
    except (sqlite3.ProgrammingError, RunError):  # closed: the caller's mistake, not the file's
        raise
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} cannot be read; it is damaged: {one_line(error)}") from error
