"""The HTTP piece that the vendors share: one client on one event loop, and bodies that are read within limits.

The SDKs' asynchronous clients run on an event loop in a thread of their own, because only a cancelled coroutine ends a
request for certain: the time-outs of an HTTP library restart with every byte, so that a server which trickles would hold a
call for ever.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple, TypeVar

from atari_vlm.errors import UnavailableError
from atari_vlm.vlm.remote.failures import failure_of_status
from atari_vlm.vlm.remote.forking import renew_after_fork
from atari_vlm.vlm.remote.outcomes import Failure
from atari_vlm.vlm.remote.text import clip

T = TypeVar("T")
MAX_BODY_BYTES = 16 * 2**20  # no answer to a question about an action is longer
_BLOCK = 2**16
_TRANSPORT_MODULES = {
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "h11",
    "h2",
    "aiohttp",
    "anyio",
    "ssl",
    "socket",
}
_CLOSED = "the VLM was closed while a request was in flight"
_OF_THE_PARENT: list[
    Any
] = []  # kept for ever: to let go of a parent's loop would close what the parent still uses


class _Running(NamedTuple):
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    client: Any


class Channel:
    """An SDK client on its own event loop and daemon thread; both start with the first call and end with :meth:`close`.

    After a fork the child starts its own with its first call; the parent's goes on.
    """

    def __init__(
        self, open_client: Callable[[], Any], close_client: Callable[[Any], Awaitable[None]]
    ):
        self._open, self._close = open_client, close_client
        self._begin()
        renew_after_fork(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._thread: threading.Thread | None = None
        self._in_flight: set[Future[Any]] = set()

    def after_fork(self) -> None:
        """See :class:`~atari_vlm.vlm.remote.forking.Renewable`."""
        _OF_THE_PARENT.append((self._running, self._thread, self._in_flight))
        self._begin()

    def run(self, work: Callable[[Any], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """Run ``work(client)`` and return its result; cancelled with ``TimeoutError`` after ``timeout_s`` seconds."""
        running = self._started()

        async def bounded() -> T:
            async with asyncio.timeout(timeout_s):
                return await work(running.client)

        with self._lock:
            if self._running is not running:
                raise UnavailableError(_CLOSED)
            future = asyncio.run_coroutine_threadsafe(bounded(), running.loop)
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
            running.loop.call_soon_threadsafe(running.stop.set)
            if thread is not threading.current_thread():
                thread.join()
                for future in list(self._in_flight):
                    future.cancel()

    def _started(self) -> _Running:
        with self._lock:
            if self._running is None:
                ready: Future[_Running] = Future()
                self._thread = threading.Thread(
                    target=asyncio.run, args=(self._main(ready),), name="vlm", daemon=True
                )
                self._thread.start()
                self._running = ready.result()
            return self._running

    async def _main(self, ready: Future[_Running]) -> None:
        stop = asyncio.Event()
        try:
            client = self._open()
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(_Running(asyncio.get_running_loop(), stop, client))
        await stop.wait()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._close(client)


class StatusError(Exception):
    """A response that is no answer, as it came. Internal: it becomes a :class:`Failure`."""

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes):
        super().__init__(f"HTTP {status}")
        self.status, self.headers, self.content = status, headers, content


class BodyError(Exception):
    """A body that is too long, or coded in a way that was not asked for. Internal: it becomes a :class:`Failure`."""


def http_client(kind: Callable[..., Any], timeout_s: float) -> Any:
    """An asynchronous client of class ``kind`` (an httpx ``AsyncClient``): no redirects, no body above ``MAX_BODY_BYTES``.

    Every response passes :func:`_read_whole` before an SDK sees it, so that no SDK reads, unpacks or parses an endless one.
    """
    return kind(
        follow_redirects=False,
        timeout=timeout_s,
        headers={"accept-encoding": "identity"},
        event_hooks={"response": [_read_whole]},
    )


async def _read_whole(response: Any) -> None:
    """Read a response's body within the limit; ``StatusError`` for every status that is no success."""
    coding = response.headers.get("content-encoding", "")
    content = bytearray()
    try:
        async for piece in _decoded(response.stream, coding):
            content += piece
            if len(content) > MAX_BODY_BYTES:
                raise BodyError(
                    f"the server sent more than {MAX_BODY_BYTES >> 20} MiB where an answer was expected"
                )
    finally:
        await response.stream.aclose()
    if not 200 <= response.status_code < 300:
        raise StatusError(response.status_code, dict(response.headers), bytes(content))
    if coding:
        del response.headers["content-encoding"]
    httpx = sys.modules[type(response).__module__.partition(".")[0]]
    response.stream = httpx.ByteStream(bytes(content))


async def _decoded(stream: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    """The body's bytes, unpacked a block at a time."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        async for piece in stream:
            yield piece
        return
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise BodyError(
            f"the server's answer is coded as {clip(coding, 40)!r}, which was not asked for"
        )
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    async for piece in stream:
        while piece:
            try:
                yield unpack.decompress(piece, _BLOCK)
            except zlib.error as error:
                raise BodyError(f"the server's answer cannot be unpacked: {error}") from None
            piece = unpack.unconsumed_tail
    yield unpack.flush()


def parse_body(content: bytes) -> dict[str, Any] | Failure:
    """The JSON object in a 200-response, or a passing failure: a body that is cut, not JSON or no object was not an answer."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return Failure(
            f"the server's answer is not JSON: {clip(content[:200].decode('utf-8', 'replace'))!r}"
        )
    if not isinstance(body, dict):
        return Failure(f"the server's answer is no JSON object but {type(body).__name__}")
    return body


def failure_of_error(error: Exception, now: float) -> Failure | None:
    """What an SDK's exception means; ``None`` for one that no server or network caused. ``now`` is seconds since 1970."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, StatusError):
            return failure_of_status(cause.status, _error_body(cause.content), cause.headers, now)
        if isinstance(cause, BodyError):
            return Failure(str(cause))
    if any(_is_transport(cause) for cause in causes):
        return Failure(f"the connection failed: {_root(error)}")
    return None


def _error_body(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content[:20_000].decode("utf-8", "replace")


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
