"""The live page of a program: what it looks like, its JSON, and how a program has one.

A program writes ``with live_page(config) as page`` and hands ``page.beside(its own progress)`` to whatever plays; without
``--serve`` that is its own progress, and nothing else happens.
"""

from __future__ import annotations

import json
import secrets
import string
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any, Protocol

from atari_vlm.reporting.live.server import Answer, PageServer
from atari_vlm.reporting.live.state import Expected, LiveState
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.progress import Progress, Task
from atari_vlm.types import Message, Reply, Transition

_LOOKS_S = 3.0  # whoever asked within so many seconds is still looking
_LAST_LOOK_S = 1.2  # that the end of a program waits for a last look
_SHARE = 0.02  # of the time that making the state may take, however often and by how many it is looked at
_STALE_S = 10.0  # that a state is given out at most


class Serving(Protocol):
    """The options that are read."""

    @property
    def program(self) -> str: ...  # noqa: D102

    @property
    def serve(self) -> int | None: ...  # noqa: D102


class LivePage:
    """What a program tells its page. ``state`` is ``None`` where nobody asked for one: then nothing is kept."""

    def __init__(self, state: LiveState | None):
        self.state = state

    def beside(self, progress: Progress) -> Progress:
        """The program's own progress, and the page's beside it."""
        return progress if self.state is None else Both(progress, self.state)

    def expect(self, expected: Expected) -> None:
        """What is about to be done."""
        if self.state is not None:
            self.state.expect(expected)

    def measured(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch is over."""
        if self.state is not None:
            self.state.measured(epoch, metrics)

    def add_row(self, row: Mapping[str, Any]) -> None:
        """A row of a table that is not added up from episodes."""
        if self.state is not None:
            self.state.add_row(row)

    def finish(self) -> None:
        """Everything is done; call it while the run is still open."""
        if self.state is not None:
            self.state.finish()


class Both:
    """Two progresses as one; the second listens."""

    def __init__(self, first: Progress, second: LiveState):
        self._first, self._second = first, second

    def began(self, task: Task, recorded: int = 0) -> None:
        """Tell both."""
        self._first.began(task, recorded)
        self._second.began(task, recorded)

    def advanced(self, task: Task, step: Transition | None = None, calls: int = 0) -> None:
        """Tell both."""
        self._first.advanced(task, step, calls)
        self._second.advanced(task, step, calls)

    def ended(self, task: Task, result: EpisodeRow | None = None) -> None:
        """Tell both."""
        self._first.ended(task, result)
        self._second.ended(task, result)

    def say(self, message: str) -> None:
        """Tell both."""
        self._first.say(message)
        self._second.say(message)

    def asked(self, task: Task, messages: Sequence[Message]) -> None:
        """Tell the second."""
        self._second.asked(task, messages)

    def answered(self, task: Task, reply: Reply | None) -> None:
        """Tell the second."""
        self._second.answered(task, reply)


@contextmanager
def live_page(options: Serving, *, here: bool = True) -> Iterator[LivePage]:
    """Within the block the page is served, if the options say so; its address is the first thing that is printed.

    Of several processes one does it ``here``. ``ConfigError`` for a port that cannot be opened.
    """
    if options.serve is None or not here:
        yield LivePage(None)
        return
    state = LiveState(options.program)
    seldom = Seldom(state)
    server = PageServer(options.serve, {"/": page, "/state.json": seldom.answer})
    server.start()
    try:
        print(f"live page: {server.address}", file=sys.stderr, flush=True)
        yield LivePage(state)
        seldom.wait_for_a_last_look()
    finally:
        server.stop()


class Seldom:
    """The state as JSON, made so seldom that making it takes :data:`_SHARE` of the time at most."""

    def __init__(self, state: LiveState):
        self._state, self._lock = state, threading.Lock()
        self._body, self._good_until = b"", 0.0
        self._asked_at = -_LOOKS_S
        self._shown_end = threading.Event()

    def answer(self) -> Answer:
        """The state of now, or of a moment ago."""
        is_end = self._state.finished
        with self._lock:
            self._asked_at = time.monotonic()
            if self._asked_at >= self._good_until or (is_end and not self._shown_end.is_set()):
                text = json.dumps(self._state.as_dict(), allow_nan=False, separators=(",", ":"))
                self._body = text.encode("ascii")
                now = time.monotonic()
                self._good_until = now + min(_STALE_S, (now - self._asked_at) / _SHARE)
            if is_end:
                self._shown_end.set()
            return Answer(self._body, "application/json; charset=utf-8")

    def wait_for_a_last_look(self) -> None:
        """Let whoever is looking see a finished program finished; a moment at most."""
        if self._state.finished and time.monotonic() - self._asked_at < _LOOKS_S:
            self._shown_end.wait(_LAST_LOOK_S)


def page() -> Answer:
    """The page itself: style and script stand in it under a nonce of this one answer, and nothing else may be loaded or run."""
    nonce = secrets.token_urlsafe(16)
    mine, reports = (resources.files(f"atari_vlm.reporting.{name}") for name in ("live", "page"))
    template = string.Template((mine / "live.html").read_text(encoding="utf-8"))
    style = [(reports / "report.css"), (mine / "live.css")]
    script = [(reports / "report_dom.js"), (mine / "live.js")]
    html = template.substitute(
        nonce=nonce,
        style="\n".join(part.read_text(encoding="utf-8") for part in style),
        script="\n".join(part.read_text(encoding="utf-8") for part in script),
    )
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    headers = {"Content-Security-Policy": policy}
    return Answer(html.encode("utf-8"), "text/html; charset=utf-8", headers)
