"""A journal as the plain data that the report page shows, within a size limit.

Texts, pictures and messages are stored once each and named by number. Everything that is a clock (latencies, attempts) is kept
apart, so that two runs of the same decisions give the same data. When an episode would be too large for its share of the page,
only every second, fourth, eighth ... step keeps its picture and words; the actions, their sources and the rewards all stay.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atari_vlm.runs.journal import CallRow, EpisodeRow, Journal, StepRow

_LONGEST_TEXT = 65_536  # characters of one text on the page
_COARSEST = 4096  # the largest distance between steps that keep their picture and words
_BYTES_PER_STEP = 40  # of the columns that every step has
_SOURCES = {"model": "m", "buffer": "b", "policy": "p", "fallback": "f"}


@dataclass(frozen=True)
class ReplayNotes:
    """What a replay returns: the names of the actions, and in ``note`` why pictures are missing."""

    names: Sequence[str] = ()
    note: str = ""


# Takes the number of a step (the number of steps: after the last one) and how to get its picture, as PNG bytes.
Show = Callable[[int, Callable[[], bytes]], None]
# Plays a recorded episode again and shows its pictures in order.
Replay = Callable[[EpisodeRow, Sequence[StepRow], Show], ReplayNotes]


def plain(value: Any) -> Any:
    """JSON data without NaN and infinities (they become words), which JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


class Pool:
    """What the page holds once however often it is used. ``size`` is roughly its bytes on the page."""

    def __init__(self, journal: Journal):
        self.journal = journal
        self.size = 0
        self.texts: list[str] = []
        self.images: list[str] = []
        self.messages: list[Any] = []
        self.cut: dict[int, int] = {}
        self._known: dict[tuple[str, str], int] = {}

    def text(self, text: str) -> int:
        """The number of a text; its end is left out (and counted in ``cut``) when it is very long."""
        sha = _sha(text.encode("utf-8", "surrogatepass"))
        if ("text", sha) not in self._known:
            self._known["text", sha] = len(self.texts)
            if len(text) > _LONGEST_TEXT:
                self.cut[len(self.texts)] = len(text) - _LONGEST_TEXT
            self.texts.append(text[:_LONGEST_TEXT])
            self.size += len(json.dumps(self.texts[-1])) + 1
        return self._known["text", sha]

    def image(self, sha: str, png: bytes) -> int:
        """The number of a picture."""
        if ("image", sha) not in self._known:
            self._known["image", sha] = len(self.images)
            self.images.append(base64.b64encode(png).decode())
            self.size += len(self.images[-1]) + 3
        return self._known["image", sha]

    def message(self, role: str, parts: Sequence[Sequence[str]]) -> int:
        """The number of a message, given as the journal stores it: its role, and kind and SHA-256 of every part."""
        key = json.dumps([role, parts])
        if ("message", key) not in self._known:
            numbered = []
            for kind, sha in parts:
                blob = self.journal.blob(sha)
                text = kind == "text"
                numbered.append(
                    [
                        kind,
                        self.text(blob.decode("utf-8", "surrogatepass"))
                        if text
                        else self.image(sha, blob),
                    ]
                )
            self._known["message", key] = len(self.messages)
            self.messages.append([role, numbered])
            self.size += len(json.dumps(self.messages[-1]))
        return self._known["message", key]

    def holds(self, sha: str) -> bool:
        """Whether the blob is here already."""
        return ("image", sha) in self._known or ("text", sha) in self._known


@dataclass(frozen=True)
class Moment:
    """One step with its picture (PNG) and calls; ``step`` is ``None`` for the picture after the last step."""

    png: bytes | None
    step: StepRow | None = None
    calls: Sequence[CallRow] = ()


class ThinnedEpisode:
    """The moments of one episode, thinned while they arrive so that the episode takes about ``share`` bytes."""

    def __init__(self, pool: Pool, episode: int, share: float):
        self.pool, self.stride = pool, 1
        self.steps = pool.journal.steps(episode)
        self.calls: dict[int, list[CallRow]] = {}
        for call in pool.journal.calls(episode):
            self.calls.setdefault(call.step, []).append(call)
        self.limit = share - _BYTES_PER_STEP * len(self.steps)
        self.kept: dict[int, Moment] = {}
        self._next = 0
        self._seen: set[str] = set()
        self._size = 0

    def add(self, at: int, picture: Callable[[], bytes] | None) -> None:
        """Take the moment of step ``at``, or pass over it (its picture is not made) when it lies between the strides."""
        self._next = at + 1
        if at % self.stride:
            return
        step = self.steps[at] if at < len(self.steps) else None
        self.kept[at] = Moment(picture() if picture else None, step, self.calls.get(at, ()))
        self._weigh(self.kept[at])
        while self._size > self.limit and self.stride < _COARSEST:
            self.stride *= 2
            self.kept = {step: kept for step, kept in self.kept.items() if step % self.stride == 0}
            self._seen, self._size = set(), 0
            for kept in self.kept.values():
                self._weigh(kept)

    def add_the_rest(self) -> None:
        """Take the steps of which no picture came."""
        for at in range(self._next, len(self.steps)):
            self.add(at, None)

    def _weigh(self, moment: Moment) -> None:
        if moment.png is not None:
            self._count(_sha(moment.png), len(moment.png) * 4 // 3)
        if moment.step is not None:
            self._size += len(json.dumps(moment.step.decision)) + 80
        for call in moment.calls:
            self._size += len(json.dumps(call.reply)) + 8 * len(call.request)
            for _, parts in call.request:
                for kind, sha in parts:
                    if sha not in self._seen and not self.pool.holds(sha):
                        size = len(self.pool.journal.blob(sha))
                        self._count(sha, size * 4 // 3 if kind == "image" else size * 11 // 10)

    def _count(self, sha: str, size: int) -> None:
        if sha not in self._seen and not self.pool.holds(sha):
            self._seen.add(sha)
            self._size += size


@dataclass
class EpisodeData:
    """What the page holds about one episode: ``page`` for the data, ``clocks`` for the clocks."""

    page: dict[str, Any]
    clocks: dict[str, Any]
    stride: int


def summary(row: EpisodeRow, left_out: str = "") -> dict[str, Any]:
    """The row of the episode table."""
    return {
        "episode": row.episode,
        "phase": row.phase,
        "seed": row.seed,
        "status": row.status,
        "return": plain(row.episode_return),
        "length": row.length,
        "fallback_rate": row.fallback_rate,
        "cost_usd": plain(row.cost_usd),
        "detail": None,
        "left_out": left_out,
    }


def collect_episode(pool: Pool, row: EpisodeRow, replay: Replay, share: float) -> EpisodeData:
    """One episode step by step, using about ``share`` bytes of the page."""
    moments = ThinnedEpisode(pool, row.episode, share)
    steps = moments.steps
    replayed = replay(row, steps, moments.add)
    moments.add_the_rest()
    shown = {
        at: pool.image(_sha(kept.png), kept.png)
        for at, kept in moments.kept.items()
        if kept.png is not None
    }
    kept_calls = {at: kept.calls for at, kept in moments.kept.items()}
    detail = {
        "stride": moments.stride,
        "names": list(replayed.names),
        "action": [step.action for step in steps],
        "source": "".join(_SOURCES.get(step.source, "m") for step in steps),
        "reward": [plain(step.reward) for step in steps],
        "cost": [plain(step.decision.get("cost_usd")) for step in steps],
        "end": _end(steps),
        "frames": [shown.get(at, -1) for at in range(len(steps) + 1)] if shown else [],
        "frame_note": replayed.note,
        "steps": [
            _words(pool, step, kept_calls[step.step]) if step.step in kept_calls else None
            for step in steps
        ],
    }
    clocks = {
        "latency": [plain(step.decision.get("latency_s")) for step in steps],
        "calls": [[_clocks(call) for call in kept_calls.get(step.step, ())] for step in steps],
    }
    return EpisodeData({**summary(row), "detail": detail}, clocks, moments.stride)


def _end(steps: Sequence[StepRow]) -> str:
    if not steps or not (steps[-1].terminated or steps[-1].truncated):
        return ""
    return "terminated" if steps[-1].terminated else "truncated"


def _words(pool: Pool, step: StepRow, calls: Sequence[CallRow]) -> dict[str, Any]:
    decision = step.decision
    return {
        "reasoning": pool.text(decision.get("reasoning") or ""),
        "problems": [pool.text(problem) for problem in decision.get("problems", ())],
        "details": plain(decision.get("details", {})),
        "calls": [_call(pool, call) for call in calls],
    }


def _call(pool: Pool, call: CallRow) -> dict[str, Any]:
    reply = call.reply or {}
    return {
        "kind": call.kind,
        "messages": [pool.message(role, parts) for role, parts in call.request],
        "reply": pool.text(reply["text"]) if "text" in reply else None,
        "scores": plain(reply.get("scores")),
        "model": reply.get("model"),
        "finish": reply.get("finish_reason"),
        "usage": reply.get("usage"),
        "cost": plain(reply.get("cost_usd")),
    }


def _clocks(call: CallRow) -> dict[str, Any]:
    reply = call.reply or {}
    return {"latency": plain(reply.get("latency_s")), "attempts": reply.get("attempts", 1)}


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
