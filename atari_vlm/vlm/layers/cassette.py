"""Cassettes: a VLM's replies recorded to a JSON-lines file and played back without the VLM.

The first line names the VLM and its capabilities; each further line is one reply under the key of its request. A request
made several times is answered in the recorded order. Requests themselves are not stored, so a cassette holds no pictures.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm.errors import ConfigError, ReplayMissError
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Sampling, request_key

_FORMAT = "atari_vlm cassette 1"


class RecordingVLM:
    """Passes requests on to a VLM and appends its replies to ``path``; a new file each time."""

    def __init__(self, vlm: VLM, path: str | Path):
        self._vlm = vlm
        self.name, self.capabilities = vlm.name, vlm.capabilities
        self._lock = threading.Lock()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path = Path(path)
        header = {"format": _FORMAT, "name": self.name, "capabilities": sorted(self.capabilities)}
        self._path.write_text(json.dumps(header) + "\n", encoding="utf-8")

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Ask and record."""
        reply = self._vlm.complete(messages, sampling=sampling)
        self._append(request_key(self.name, messages, sampling), reply.as_dict())
        return reply

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Score and record."""
        scores = self._vlm.score_choices(messages, choices)
        self._append(request_key(self.name, messages, None, choices), scores.tolist())
        return scores

    def _append(self, key: str, body: Any) -> None:
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "body": body}) + "\n")


class ReplayVLM:
    """Answers from a recording; ``ReplayMissError`` for a request it does not hold (or no longer holds)."""

    def __init__(self, path: str | Path):
        self._path = Path(path)
        try:
            first, *rest = self._path.read_text(encoding="utf-8").splitlines()
            header = json.loads(first)
            if header["format"] != _FORMAT:
                raise ValueError(f"format {header['format']!r}, expected {_FORMAT!r}")
            self.name, self.capabilities = header["name"], frozenset(header["capabilities"])
            rows = [json.loads(line) for line in rest]
        except FileNotFoundError as error:
            raise ConfigError(f"there is no recording at {self._path}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self._path} is not a recording: {error}") from error
        self._lock = threading.Lock()
        self._replies: defaultdict[str, deque[Any]] = defaultdict(deque)
        for row in rows:
            self._replies[row["key"]].append(row["body"])

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """The next recorded reply to this request."""
        return Reply.from_dict(self._next(request_key(self.name, messages, sampling)))

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """The next recorded scores for this request."""
        return np.array(self._next(request_key(self.name, messages, None, choices)), dtype=np.float64)

    def _next(self, key: str) -> Any:
        with self._lock:
            if not self._replies[key]:
                raise ReplayMissError(f"{self._path} holds no (further) reply for request {key[:12]}… of {self.name}")
            return self._replies[key].popleft()
