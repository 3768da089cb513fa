"""A reply cache shared between runs: SQLite, keyed by the content of the request.

The key (:func:`~atari_vlm.vlm.base.request_key`) covers the VLM's name with its endpoint, every message with its pixels, and
the sampling; ``Sampling.sample`` tells apart repeated draws. Rows are JSON, so opening a cache runs nothing.

A cache stands behind the record of a run: what was paid for goes on to whoever asked, also when the cache cannot keep it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from atari_vlm.errors import ConfigError, ReplayMissError, UnknownNameError, reading
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Sampling, request_key
from atari_vlm.vlm.layers.asking import current

CacheMode = Literal["read", "readwrite", "replay-only"]
AnswerT = TypeVar("AnswerT", Reply, np.ndarray)
logger = logging.getLogger(__name__)

_COLUMNS = ("key", "name", "body", "created")
_TABLES = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, name TEXT, body TEXT NOT NULL, created REAL NOT NULL)",
    # which call of which run paid for a reply, and a digest of it; replies of older versions have none
    "CREATE TABLE IF NOT EXISTS origins (key TEXT PRIMARY KEY, asker TEXT, digest TEXT NOT NULL)",
)
_MOST_BYTES = 1 << 25  # of one value


class ReplyCache:
    """The table itself: string keys to JSON bodies. Safe between threads and between processes.

    Raises ``ConfigError`` for a path that is not one, or another program's database, which stays as it is.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock = threading.Lock()
        with reading(f"{self.path} is not a reply cache: it", ConfigError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and not self.path.is_file():
                raise ValueError("it is no file")  # a pipe would be waited for
            self._db = sqlite3.connect(
                self.path, check_same_thread=False, timeout=30.0, isolation_level=None
            )
            try:
                self._begin()
            except BaseException:
                self._db.close()
                raise

    def get(self, key: str) -> tuple[Any, str | None] | None:
        """The stored body and who paid for it, or ``None``; raises whatever a damaged file makes the readers raise."""
        query = (
            "SELECT body, asker, digest FROM replies LEFT JOIN origins USING (key) WHERE key = ?"
        )
        with self._lock:
            row = self._db.execute(query, (key,)).fetchone()
        if row is None:
            return None
        if row[2] is not None and row[2] != _digest(key, row[0]):
            raise ValueError("it is not what was stored")
        return json.loads(row[0]), row[1]

    def put(
        self, key: str, name: str, body: Any, asker: str | None = None, *, replace: bool = False
    ) -> None:
        """Store a body; the first one for a key stays, unless it is to be replaced."""
        how = "REPLACE" if replace else "IGNORE"
        text = json.dumps(body, allow_nan=False)
        with self._lock, self._transaction():
            row = (key, name, text, time.time())
            new = self._db.execute(
                f"INSERT OR {how} INTO replies VALUES (?, ?, ?, ?)", row
            ).rowcount
            if new > 0:
                self._db.execute(
                    "INSERT OR REPLACE INTO origins VALUES (?, ?, ?)",
                    (key, asker, _digest(key, text)),
                )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _begin(self) -> None:
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
        self._db.execute("PRAGMA trusted_schema=OFF")
        tables = {
            name
            for (name,) in self._db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
        columns = tuple(row[1] for row in self._db.execute("PRAGMA table_info(replies)"))
        if (tables and "replies" not in tables) or (columns and columns != _COLUMNS):
            raise ValueError("it is another program's database")
        self._db.execute("PRAGMA journal_mode=WAL")
        for statement in _TABLES:
            self._db.execute(statement)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


class CachedVLM:
    """A VLM whose replies come from the cache where it holds them; those are :attr:`~atari_vlm.types.Reply.cached`.

    ``mode``: ``"readwrite"``; ``"read"`` asks but stores nothing; ``"replay-only"`` never asks and raises
    ``ReplayMissError`` for a request the cache does not hold. Equal requests that arrive at the same time are asked once.

    An entry that is damaged, and a cache that cannot be read or written, count as a miss, with a warning; with
    ``"replay-only"`` they are a ``ConfigError``. ``recovered`` is told each reply (``None``: scores) that the call which asks now
    had paid for in an earlier life of its process.
    """

    def __init__(
        self,
        vlm: VLM,
        path: str | Path,
        mode: CacheMode = "readwrite",
        *,
        recovered: Callable[[Reply | None], object] = lambda reply: None,
    ):
        if mode not in get_args(CacheMode):
            raise UnknownNameError("cache mode", mode, get_args(CacheMode))
        self._vlm, self._mode, self._recovered = vlm, mode, recovered
        self._cache = ReplyCache(path)
        self._in_flight: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self.name, self.capabilities = vlm.name, vlm.capabilities
        self.hits = 0

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """The cached reply, else the VLM's own."""
        key = request_key(self.name, messages, sampling)
        return self._through(
            key, lambda: self._vlm.complete(messages, sampling=sampling), _reply_of, Reply.as_dict
        )

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """The cached scores, else the VLM's own."""
        key = request_key(self.name, messages, None, choices)
        ask: Callable[[], np.ndarray] = lambda: self._vlm.score_choices(messages, choices)  # noqa: E731
        return self._through(
            key, ask, lambda body: scores_of(body, len(choices)), np.ndarray.tolist
        )

    def close(self) -> None:
        """Close the cache file."""
        self._cache.close()

    def _through(
        self,
        key: str,
        ask: Callable[[], AnswerT],
        read: Callable[[Any], AnswerT],
        body_of: Callable[[AnswerT], Any],
    ) -> AnswerT:
        with self._alone(key):
            cached, broken = self._held(key, read)
            if cached is not None:
                return cached
            if self._mode == "replay-only":
                raise ReplayMissError(
                    f"{self._cache.path} holds no reply for request {key[:12]}… of {self.name}"
                )
            answer = ask()
            if self._mode == "readwrite":
                self._keep(key, body_of(answer), broken)
            return answer

    def _held(self, key: str, read: Callable[[Any], AnswerT]) -> tuple[AnswerT | None, bool]:
        """What the cache holds, and whether an entry is there that cannot be used."""
        try:
            with reading(f"an entry of the reply cache {self._cache.path}", ConfigError):
                row = self._cache.get(key)
                answer = None if row is None else read(row[0])
        except ConfigError as error:
            if self._mode == "replay-only":
                raise
            self._warn(f"{error}; the VLM is asked instead")
            return None, True
        if row is None or answer is None:
            return None, False
        with self._lock:
            self.hits += 1
        call = current()
        if call is not None and row[1] == call.asker:
            self._recovered(answer if isinstance(answer, Reply) else None)
            return answer, False
        if call is not None:
            call.cached = True
        return _as_cached(answer), False

    def _keep(self, key: str, body: Any, replace: bool) -> None:
        call = current()
        try:
            self._cache.put(
                key, self.name, body, None if call is None else call.asker, replace=replace
            )
        except (sqlite3.Error, ValueError) as error:
            self._warn(
                f"the reply cache {self._cache.path} cannot be written: {error}; the run goes on without it"
            )

    def _warn(self, message: str) -> None:
        """Once for each way in which it fails."""
        with self._lock:
            new = message not in self._warned
            self._warned.add(message)
        if new:
            logger.warning(message)

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Hold the lock of one key."""
        with self._lock:
            lock = self._in_flight.setdefault(key, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._lock:
                self._in_flight.pop(key, None)


def _digest(key: str, text: str) -> str:
    return hashlib.sha256(f"{key} {text!a}".encode()).hexdigest()[:32]


def scores_of(body: Any, count: int) -> np.ndarray:
    """Log-probabilities float64 ``(count,)`` from plain JSON data; ``ValueError`` for anything else, NaN among them."""
    if not isinstance(body, list) or not all(type(score) in (int, float) for score in body):
        raise ValueError("scores are a list of numbers")
    scores = np.array(body, dtype=np.float64)
    if len(scores) != count or np.isnan(scores).any():
        raise ValueError(f"there must be {count} scores, none of them NaN, got {body!r:.60}")
    return scores


def _reply_of(body: Any) -> Reply:
    return Reply.from_dict(body)


def _as_cached(answer: AnswerT) -> AnswerT:
    return dataclasses.replace(answer, cached=True) if isinstance(answer, Reply) else answer
