"""Preprocessed pictures, kept while they are recent: example pictures come with every request, frames with two or more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from atari_vlm.vlm.local.prompt import Piece


class PieceCache:
    """Least-recently-used pieces up to ``max_bytes`` of tensors. Thread-safe; two threads may make the same piece once each."""

    def __init__(self, max_bytes: int = 256 << 20):
        self._max_bytes, self._bytes = max_bytes, 0
        self._pieces: OrderedDict[str, Piece] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, make: Callable[[], Piece]) -> Piece:
        """The piece under ``key``, made if it is not there."""
        with self._lock:
            if key in self._pieces:
                self._pieces.move_to_end(key)
                return self._pieces[key]
        piece = make()
        with self._lock:
            if key not in self._pieces:
                self._pieces[key] = piece
                self._bytes += piece.nbytes
            while self._bytes > self._max_bytes and len(self._pieces) > 1:
                self._bytes -= self._pieces.popitem(last=False)[1].nbytes
        return piece
