"""Cassettes: a VLM's replies recorded to a JSON-lines file and played back without the VLM.

The first line names the VLM and its capabilities; each further line is one reply under the key of its request. A request
made several times is answered in the recorded order. Requests themselves are not stored, so a cassette holds no pictures.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from atari_vlm.errors import ConfigError, ReplayMissError, reading
from atari_vlm.files import append, atomic_write, open_real
from atari_vlm.types import Message, Reply
from atari_vlm.vlm.base import VLM, Capability, Sampling, request_key
from atari_vlm.vlm.layers.cache import scores_of

_FORMAT = "atari_vlm cassette 1"
_MOST_BYTES = 1 << 28


class RecordingVLM:
    """Passes requests on to a VLM and appends its replies to ``path``; a new file each time, in place of what was there."""

    def __init__(self, vlm: VLM, path: str | Path):
        self._vlm = vlm
        self.name, self.capabilities = vlm.name, vlm.capabilities
        self._lock = threading.Lock()
        self._path = Path(path)
        header = {"format": _FORMAT, "name": self.name, "capabilities": sorted(self.capabilities)}
        atomic_write(self._path, _line(header))

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """Ask and record."""
        reply = self._vlm.complete(messages, sampling=sampling)
        self._append(request_key(self.name, messages, sampling), reply.legal().as_dict())
        return reply

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Score and record."""
        scores = self._vlm.score_choices(messages, choices)
        self._append(request_key(self.name, messages, None, choices), scores.tolist())
        return scores

    def _append(self, key: str, body: Any) -> None:
        with self._lock:
            append(self._path, _line({"key": key, "body": body}))


class ReplayVLM:
    """Answers from a recording; ``ReplayMissError`` for a request it does not hold (or no longer holds).

    Raises ``ConfigError`` for a file that is no recording, and for a recorded reply that is none when it is its turn.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        if not self._path.exists():
            raise ConfigError(f"there is no recording at {self._path}")
        self._lock = threading.Lock()
        self._replies: defaultdict[str, deque[Any]] = defaultdict(deque)
        with (
            reading(f"{self._path} is not a recording: it", ConfigError),
            open_real(path, _MOST_BYTES, links=True) as file,
        ):
            first, *rows = [json.loads(line) for line in file]
            sealed = (
                isinstance(first, dict) and "digest" in first
            )  # older versions wrote no digests
            self.name, self.capabilities = _name_and_capabilities(_unsealed(first, sealed))
            for row in rows:
                key, body = _key_and_body(_unsealed(row, sealed))
                self._replies[key].append(body)

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """The next recorded reply to this request."""
        body = self._next(request_key(self.name, messages, sampling))
        with reading(f"a reply of the recording {self._path}", ConfigError):
            return Reply.from_dict(body)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """The next recorded scores for this request."""
        body = self._next(request_key(self.name, messages, None, choices))
        with reading(f"scores of the recording {self._path}", ConfigError):
            return scores_of(body, len(choices))

    def _next(self, key: str) -> Any:
        with self._lock:
            if not self._replies[key]:
                raise ReplayMissError(
                    f"{self._path} holds no (further) reply for request {key[:12]}… of {self.name}"
                )
            return self._replies[key].popleft()


def _line(row: dict[str, Any]) -> str:
    return json.dumps({**row, "digest": _digest(row)}) + "\n"


def _digest(row: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:32]


def _unsealed(row: Any, sealed: bool) -> Any:
    """A line without its digest, once this is found right."""
    if sealed and (not isinstance(row, dict) or row.pop("digest", None) != _digest(row)):
        raise ValueError(f"a line is not what was recorded: {row!r:.60}")
    return row


def _key_and_body(row: Any) -> tuple[str, Any]:
    if (
        not isinstance(row, dict)
        or row.keys() != {"key", "body"}
        or not isinstance(row["key"], str)
    ):
        raise ValueError(f"each line holds a key and a body, got {row!r:.60}")
    return row["key"], row["body"]


def _name_and_capabilities(header: Any) -> tuple[str, frozenset[Capability]]:
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError(f"its first line names the format {_FORMAT!r}")
    name, capabilities = header.get("name"), header.get("capabilities")
    known = get_args(Capability)
    if (
        not isinstance(name, str)
        or not isinstance(capabilities, list)
        or not all(c in known for c in capabilities)
    ):
        raise ValueError(
            f"it names its VLM and its capabilities, which are among {', '.join(known)}"
        )
    return name, frozenset(capabilities)
