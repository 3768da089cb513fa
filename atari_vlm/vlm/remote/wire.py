"""The HTTP piece that the vendors share: one client on one event loop, and what went wrong when something did.

The SDKs' asynchronous clients run on an event loop in a thread of their own, because only a cancelled coroutine ends a
request for certain: the time-outs of an HTTP library restart with every byte, so that a server which trickles would hold a
call for ever.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from atari_vlm.errors import AuthenticationError, RequestError, UnavailableError, VLMError
from atari_vlm.vlm.remote.retry import Failure, retry_after_s

T = TypeVar("T")
MAX_BODY_BYTES = 16 * 2**20  # no answer to a question about an action is longer
_TRANSPORT_MODULES = {"httpx", "httpx2", "httpcore", "httpcore2", "h11", "h2", "aiohttp", "anyio", "ssl", "socket"}
_RETRIED = {408, 409, 429}
_NO_CREDIT = ("insufficient_quota", "credit balance is too low")
_FILTER_CODES = ("content_filter", "content_policy_violation")
_CLOSED = "the VLM was closed while a request was in flight"


class Channel:
    """An SDK client on its own event loop and daemon thread; both start with the first call and end with :meth:`close`."""

    def __init__(self, open_client: Callable[[], Any], close_client: Callable[[Any], Awaitable[None]]):
        self._open, self._close = open_client, close_client
        self._lock = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Event, Any] | None = None
        self._thread: threading.Thread | None = None
        self._in_flight: set[Future[Any]] = set()

    def run(self, work: Callable[[Any], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """Run ``work(client)`` and return its result; cancelled with ``TimeoutError`` after ``timeout_s`` seconds."""
        loop, _, client = self._started()

        async def bounded() -> T:
            async with asyncio.timeout(timeout_s):
                return await work(client)

        with self._lock:
            if self._running is None or self._running[0] is not loop:
                raise UnavailableError(_CLOSED)
            future = asyncio.run_coroutine_threadsafe(bounded(), loop)
            self._in_flight.add(future)
        try:
            return future.result()
        except CancelledError:
            raise UnavailableError(_CLOSED) from None
        finally:
            future.cancel()
            self._in_flight.discard(future)

    def close(self) -> None:
        """Cancel what is in flight, close the client, end the thread. A later call starts anew."""
        with self._lock:
            running, thread = self._running, self._thread
            self._running = self._thread = None
        if running is not None and thread is not None:
            loop, stop, _ = running
            loop.call_soon_threadsafe(stop.set)
            if thread is not threading.current_thread():
                thread.join()
                for future in list(self._in_flight):
                    future.cancel()

    def _started(self) -> tuple[asyncio.AbstractEventLoop, asyncio.Event, Any]:
        with self._lock:
            if self._running is None:
                ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Any]] = Future()
                self._thread = threading.Thread(target=asyncio.run, args=(self._main(ready),), name="vlm", daemon=True)
                self._thread.start()
                self._running = ready.result()
            return self._running

    async def _main(self, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, Any]]) -> None:
        stop = asyncio.Event()
        try:
            client = self._open()
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result((asyncio.get_running_loop(), stop, client))
        await stop.wait()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._close(client)


def parse_body(content: bytes) -> dict[str, Any] | Failure:
    """The JSON object in a 200-response, or a passing failure: a body that is cut, not JSON or no object was not an answer."""
    if len(content) > MAX_BODY_BYTES:
        return Failure(f"the server sent {len(content) >> 20} MiB where an answer was expected")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return Failure(f"the server's answer is not JSON: {clip(content[:200].decode('utf-8', 'replace'))!r}")
    if not isinstance(body, dict):
        return Failure(f"the server's answer is no JSON object but {type(body).__name__}")
    return body


def failure_of_error(error: Exception, now: float) -> Failure | None:
    """What an SDK's exception means; ``None`` for one that no server or network caused. ``now`` is seconds since 1970."""
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    response = getattr(error, "response", None)
    if isinstance(status, int) and response is not None and status != 200:
        body = getattr(error, "body", None) or getattr(error, "details", None)
        return failure_of_status(status, body, getattr(response, "headers", None) or {}, now)
    if any(_is_transport(cause) for cause in _causes(error)):
        return Failure(f"the connection failed: {_root(error)}")
    return None


def failure_of_status(status: int | None, body: object, headers: Mapping[str, str], now: float) -> Failure:
    """What an HTTP status and the error body beside it mean, in every vendor's dialect."""
    said = error_text(body)
    message = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    wait = retry_after_s(headers, now)
    if wait is None:
        wait = _google_retry_delay(body)
    filtered = status == 400 and any(code in str(body) for code in _FILTER_CODES)
    return Failure(message, status, wait, _permanent(status, str(body)), filtered)


def _permanent(status: int | None, body: str) -> type[VLMError] | None:
    """The error to raise at once, or ``None`` for a passing failure."""
    if status in (401, 403) or (status == 400 and "API_KEY_INVALID" in body):  # Gemini answers a wrong key with 400
        return AuthenticationError
    if status == 402 or (
        status in (400, 429) and any(words in body for words in _NO_CREDIT)
    ):  # waiting brings no money
        return UnavailableError
    if status is None or status in _RETRIED or status >= 500:
        return None
    return RequestError


def error_text(body: object) -> str:
    """The human-readable part of an error body, one clean line of at most 300 characters."""
    while isinstance(body, Mapping | list):
        if isinstance(body, list):
            body = body[0] if body else ""
        else:
            body = next((body[name] for name in ("error", "message", "detail", "msg") if body.get(name)), "")
    return clip(str(body or ""))


def clip(text: str, length: int = 300) -> str:
    """``text`` as one printable line: tags of an HTML page, control and escape characters removed, cut to ``length``."""
    plain = re.sub(r"<[^<>]{0,1000}>", " ", text[:20_000])
    line = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def clean_text(text: str) -> str:
    """``text`` without lone surrogates, which no file and no request could hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_transport(error: BaseException) -> bool:
    if isinstance(error, OSError | json.JSONDecodeError):  # TimeoutError is an OSError
        return True
    names = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    return bool(names & _TRANSPORT_MODULES)


def _root(error: BaseException) -> str:
    """The innermost cause in words."""
    *_, root = _causes(error)
    while root.__context__ is not None and not str(root):
        root = root.__context__
    return f"{type(root).__name__}: {clip(str(root))}" if str(root) else type(root).__name__


def _google_retry_delay(body: object) -> float | None:
    """Seconds in the ``RetryInfo`` that Google puts into the error body instead of a header."""
    details = body.get("error", body) if isinstance(body, Mapping) else None
    rows = details.get("details") if isinstance(details, Mapping) else None
    for row in rows if isinstance(rows, list) else []:
        delay = row.get("retryDelay") if isinstance(row, Mapping) else None
        if isinstance(delay, str) and re.fullmatch(r"\d{1,6}(\.\d{1,9})?s", delay):
            return float(delay[:-1])
    return None
