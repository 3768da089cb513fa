"""A reply cache shared between runs: SQLite, keyed by the content of the request.

The key (:func:`~atari_vlm.vlm.base.request_key`) covers the VLM's name with its endpoint, every message with its pixels, and
the sampling; ``Sampling.sample`` tells apart repeated draws. Rows are JSON, so opening a cache runs nothing.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from atari_vlm.errors import ConfigError, ReplayMissError, UnknownNameError
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Sampling, request_key

CacheMode = Literal["read", "readwrite", "replay-only"]

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, name TEXT, body TEXT NOT NULL, created REAL NOT NULL)"
)


class ReplyCache:
    """The table itself: string keys to JSON bodies. Safe between threads and between processes."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(self.path, check_same_thread=False, timeout=30.0, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self.path} is not a reply cache: {error}") from error

    def get(self, key: str) -> Any | None:
        """The stored body, or ``None``."""
        with self._lock:
            row = self._db.execute("SELECT body FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, name: str, body: Any) -> None:
        """Store a body; the first one for a key stays."""
        with self._lock:
            self._db.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)", (key, name, json.dumps(body), time.time())
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


class CachedVLM:
    """A VLM whose replies come from the cache where it holds them.

    ``mode``: ``"readwrite"``; ``"read"`` asks but stores nothing; ``"replay-only"`` never asks and raises
    ``ReplayMissError`` for a request the cache does not hold. Equal requests that arrive at the same time are asked once.
    """

    def __init__(self, vlm: VLM, path: str | Path, mode: CacheMode = "readwrite"):
        if mode not in get_args(CacheMode):
            raise UnknownNameError("cache mode", mode, get_args(CacheMode))
        self._vlm, self._mode = vlm, mode
        self._cache = ReplyCache(path)
        self._in_flight: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self.name, self.capabilities = vlm.name, vlm.capabilities
        self.hits = 0

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """The cached reply, else the VLM's own."""
        key = request_key(self.name, messages, sampling)
        body = self._through(key, lambda: self._vlm.complete(messages, sampling=sampling).as_dict())
        return Reply.from_dict(body)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """The cached scores, else the VLM's own."""
        key = request_key(self.name, messages, None, choices)
        return np.array(
            self._through(key, lambda: self._vlm.score_choices(messages, choices).tolist()), dtype=np.float64
        )

    def close(self) -> None:
        """Close the cache file."""
        self._cache.close()

    def _through(self, key: str, ask: Callable[[], Any]) -> Any:
        with self._alone(key):
            body = self._cache.get(key)
            if body is not None:
                self.hits += 1
                return body
            if self._mode == "replay-only":
                raise ReplayMissError(f"{self._cache.path} holds no reply for request {key[:12]}… of {self.name}")
            body = ask()
            if self._mode == "readwrite":
                self._cache.put(key, self.name, body)
            return body

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
