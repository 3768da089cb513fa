"""A VLM around a VLM that records every call of one task, and serves it from the record when the task is done again.

A task is an episode, or a simulation of a search.

It stands outermost, around cache and budget: what the journal serves costs nothing and is not counted again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from atari_vlm.errors import RunError, reading
from atari_vlm.runs.journal_rows import CallRow
from atari_vlm.runs.progress import Listening, Progress, Task
from atari_vlm.runs.record import Record
from atari_vlm.types import Image, Message, Reply
from atari_vlm.vlm.base import VLM, Sampling, request_key
from atari_vlm.vlm.layers.asking import asking
from atari_vlm.vlm.layers.cache import scores_of

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Heard:
    """Who is told what is asked in a task."""

    progress: Listening
    task: Task

    @classmethod
    def by(cls, progress: Progress, task: Task) -> Heard | None:
        """The progress of a run, if it listens."""
        return cls(progress, task) if isinstance(progress, Listening) else None


class JournalVLM:
    """The calls of one task, numbered in the order they are made.

    Whoever plays sets :attr:`step` before each decision. An agent makes its calls one after the other, so that call index
    and request belong together in every run of the task; a request that differs from the recorded one raises
    :class:`RunError` and says where they part. ``heard`` is told of the calls that are not recorded yet.
    """

    def __init__(self, vlm: VLM, journal: Record, task: int, heard: Heard | None = None):
        self._vlm, self._journal, self._task = vlm, journal, task
        self._heard = heard
        self.name, self.capabilities = vlm.name, vlm.capabilities
        self.step = 0
        self.asked = 0
        self._next_call = 0
        self._calls_of_step: list[int] = []
        self._lock = threading.Lock()

    def complete(self, messages: Sequence[Message], *, sampling: Sampling) -> Reply:
        """The recorded reply, else the VLM's own, recorded before it is returned."""
        key = request_key(self.name, messages, sampling)
        with self._lock:
            row = self._begin("complete", key, messages)
            if row.reply is None:
                with asking(self._asker(row)) as call:
                    reply = self._vlm.complete(messages, sampling=sampling).legal()
                self._answered(row, reply.as_dict(), call.cached)
                reply = dataclasses.replace(reply, cached=call.cached)
                self._tell(reply)
                return reply
        return dataclasses.replace(self._read(Reply.from_dict, row.reply), cached=row.cached)

    def score_choices(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """The recorded scores, else the VLM's own, float64 ``(n,)``."""
        key = request_key(self.name, messages, None, choices)
        with self._lock:
            row = self._begin("scores", key, messages)
            if row.reply is None:
                with asking(self._asker(row)) as call:
                    scores = np.asarray(
                        self._vlm.score_choices(messages, choices), dtype=np.float64
                    )
                self._answered(row, {"scores": scores.tolist()}, call.cached)
                self._tell(None)
                return scores
        return self._read(lambda reply: scores_of(reply.get("scores"), len(choices)), row.reply)

    def take_calls(self) -> list[int]:
        """The indices of the calls since the last time this was asked: those of the step just decided."""
        calls, self._calls_of_step = self._calls_of_step, []
        return calls

    def _begin(
        self, kind: Literal["complete", "scores"], key: str, messages: Sequence[Message]
    ) -> CallRow:
        """The recorded call with its reply if it has one, else the newly recorded request."""
        call = self._next_call
        recorded = self._journal.call(self._task, call)
        request, blobs = encode_request(messages)
        if recorded is not None and (recorded.request_key, recorded.kind, recorded.step) != (
            key,
            kind,
            self.step,
        ):
            raise RunError(self._difference(recorded, kind, request))
        self._next_call += 1
        self._calls_of_step.append(call)
        if recorded is not None and recorded.reply is not None:
            return recorded
        row = CallRow(self._task, call, self.step, kind, key, request, None, time.time())
        self._journal.record_request(row, blobs)
        if self._heard is not None:
            self._heard.progress.asked(self._heard.task, messages)
        return row

    def _answered(self, row: CallRow, reply: dict[str, Any], cached: bool) -> None:
        self._journal.record_reply(row.task, row.call, reply, cached=cached)
        self.asked += not cached

    def _tell(self, reply: Reply | None) -> None:
        if self._heard is not None:
            self._heard.progress.answered(self._heard.task, reply)

    def _asker(self, row: CallRow) -> str:
        return f"{self._journal.id} {row.task} {row.call}"

    def _read(self, read: Callable[[Any], Answer], reply: dict[str, Any]) -> Answer:
        """A recorded reply through its schema."""
        with reading(f"a reply in {self._journal.path}", RunError):
            return read(reply)

    def _difference(self, recorded: CallRow, kind: str, request: list[Any]) -> str:
        where = f"{self._journal.path}: task {self._task} diverged from its journal at call {recorded.call}: "
        if recorded.step != self.step:
            return f"{where}recorded at step {recorded.step}, asked now at step {self.step}"
        if recorded.kind != kind:
            return f"{where}recorded was a call of kind {recorded.kind!r}, asked now is {kind!r}"
        return where + _first_difference(self._journal, recorded.request, request)


def encode_request(messages: Sequence[Message]) -> tuple[list[Any], dict[str, bytes]]:
    """A request as the journal holds it: roles with the kinds and digests of their parts, and the bytes of each digest."""
    request: list[Any] = []
    blobs: dict[str, bytes] = {}
    for message in messages:
        parts = []
        for part in message.parts:
            is_image = isinstance(part, Image)
            data = (
                part.png if isinstance(part, Image) else part.text.encode("utf-8", "surrogatepass")
            )
            sha = hashlib.sha256(data).hexdigest()
            blobs[sha] = data
            parts.append(["image" if is_image else "text", sha])
        request.append([message.role, parts])
    return request, blobs


def _first_difference(journal: Record, old: list[Any], new: list[Any]) -> str:
    if len(old) != len(new):
        return f"the request has {len(new)} messages, recorded were {len(old)}"
    for i, ((old_role, old_parts), (new_role, new_parts)) in enumerate(zip(old, new, strict=True)):
        if old_role != new_role or len(old_parts) != len(new_parts):
            return f"message {i} is {new_role} with {len(new_parts)} parts, recorded was {old_role} with {len(old_parts)}"
        for j, (old_part, new_part) in enumerate(zip(old_parts, new_parts, strict=True)):
            if old_part != new_part:
                kind, sha = old_part
                recorded = (
                    repr(journal.blob(sha).decode("utf-8", "replace")[:200])
                    if kind == "text"
                    else sha[:12]
                )
                return f"part {j} of message {i} ({new_role}) is another {new_part[0]}; recorded was the {kind} {recorded}"
    return "the messages are the same; the VLM's name or the sampling (or the choices) differ"
