"""A local server that speaks the wire dialects of OpenAI, Anthropic and Google, and fails on schedule.

::

    with FakeVendorServer(latency_s=0.2, answer=lambda text, images: "ACTION: UP") as server:
        vlm = OpenAIVLM("gpt-4o", base_url=server.openai_url, api_key="test-key")

``answer(text, images)`` gets all text of a request and its images as PNG bytes, and returns the model's text. ``faults`` says
what happens to the n-th request that arrives (see :class:`FaultSchedule`).
"""

from __future__ import annotations

import base64
import email.utils
import json
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STATUS_FAULTS: dict[str, tuple[int, dict[str, str]]] = {
    "429": (429, {}),
    "429_seconds": (429, {"retry-after": "2"}),
    "429_ms": (429, {"retry-after-ms": "1500"}),
    "429_date": (429, {"retry-after": "DATE+3", "date": "DATE"}),
    "429_garbage": (429, {"retry-after": "soon, perhaps"}),
    "429_huge": (429, {"retry-after": "86400"}),
    "500": (500, {}),
    "502_html": (502, {}),
    "503": (503, {"retry-after": "1"}),
    "504": (504, {}),
    "529": (529, {}),
    "408": (408, {}),
    "409": (409, {}),
}
TRANSPORT_FAULTS = (
    "hang",
    "slow_loris",
    "slow_headers",
    "reset",
    "reset_mid_headers",
    "reset_mid_body",
    "closed",
    "truncated",
)
BROKEN_FAULTS = (
    "malformed_json",
    "cut_json",
    "html",
    "empty_body",
    "json_list",
    "json_null",
    "wrong_form",
    "error_in_200",
)
BLANK_FAULTS = ("empty_content", "null_content", "no_choices", "refusal", "filter")
HARMLESS_FAULTS = ("unknown_finish", "extra_fields", "nan_usage")
PASSING_FAULTS = (
    *STATUS_FAULTS,
    *TRANSPORT_FAULTS,
    *BROKEN_FAULTS,
)  # each must be retried and leave no trace
PERMANENT_FAULTS = ("400", "401", "403", "404", "413", "422")
ALL_RETRIABLE_FAULTS = (*PASSING_FAULTS, *BLANK_FAULTS, *HARMLESS_FAULTS)


class FaultSchedule:
    """Which fault the n-th request (0, 1, ...) meets, if any."""

    def __init__(self, at: Mapping[int, str] | None = None, *, always: str | None = None):
        self._at, self._always = dict(at or {}), always

    @classmethod
    def seeded(
        cls, seed: int, requests: int, faults: int, kinds: tuple[str, ...] = PASSING_FAULTS
    ) -> FaultSchedule:
        """``faults`` of the first ``requests`` requests fail, every kind equally often, in a random order."""
        rng = random.Random(seed)
        dealt = [kinds[index % len(kinds)] for index in range(faults)]
        rng.shuffle(dealt)
        return cls(dict(zip(rng.sample(range(requests), faults), dealt, strict=True)))

    def kind(self, index: int) -> str | None:
        return self._at.get(index, self._always)


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    dialect: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    text: str
    images: tuple[bytes, ...] = field(repr=False)
    fault: str | None = None


class FakeVendorServer:
    """The server; a context manager. ``requests`` lists what arrived, ``faults_served`` counts the faults by kind.

    ``keep_bodies=False`` drops texts and pictures from the list, for long runs. ``hang_s`` bounds a hang when the client does
    not go away. ``raw(request)`` may replace a 200-body by any bytes, ``respond(request)`` a whole response (status, headers,
    body; ``None``: as usual); ``redirect_to`` answers everything with a redirect there.
    """

    def __init__(
        self,
        *,
        latency_s: float = 0.0,
        answer: Callable[[str, list[bytes]], str] | None = None,
        faults: FaultSchedule | None = None,
        keep_bodies: bool = True,
        hang_s: float = 30.0,
        raw: Callable[[Request], bytes] | None = None,
        respond: Callable[[Request], tuple[int, Mapping[str, str], bytes] | None] | None = None,
        redirect_to: str | None = None,
    ):
        self.latency_s, self.hang_s, self.keep_bodies = latency_s, hang_s, keep_bodies
        self.raw, self.respond, self.redirect_to = raw, respond, redirect_to
        self.answer = answer or (lambda text, images: "ACTION: NOOP")
        self.faults = FaultSchedule() if faults is None else faults
        self.requests: list[Request] = []
        self.error_text = "injected fault"  # what error bodies say
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def openai_url(self) -> str:
        return self.url + "/v1"

    @property
    def anthropic_url(self) -> str:
        return self.url

    @property
    def google_url(self) -> str:
        return self.url

    @property
    def faults_served(self) -> dict[str, int]:
        served: dict[str, int] = {}
        for request in list(self.requests):
            if request.fault is not None:
                served[request.fault] = served.get(request.fault, 0) + 1
        return served

    def clear(self) -> None:
        """Forget the requests so far; the schedule starts anew."""
        with self._lock:
            self.requests.clear()

    def arrived(
        self, dialect: str, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> Request:
        text, images = "\n".join(_texts(body)), tuple(_images(body))
        with self._lock:
            fault = self.faults.kind(len(self.requests))
            request = Request(dialect, path, headers, body, text, images, fault)
            self.requests.append(
                request if self.keep_bodies else Request(dialect, path, {}, {}, "", (), fault)
            )
        return request

    def __enter__(self) -> FakeVendorServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: FakeVendorServer

    def __init__(self, *args: Any):
        self.stopping = threading.Event()
        super().__init__(*args)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what the faults are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = owner.arrived(_dialect(self.path), self.path, headers, body)
        if owner.latency_s:
            self.server.stopping.wait(owner.latency_s)
        fault = request.fault
        if owner.redirect_to is not None:
            self._send(307, {"location": owner.redirect_to + self.path}, b"")
        elif fault in STATUS_FAULTS or fault in PERMANENT_FAULTS:
            self._send_status(request)
        elif fault in TRANSPORT_FAULTS:
            self._break_transport(request)
        elif owner.respond is not None and (response := owner.respond(request)) is not None:
            self._send(*response)
        elif owner.raw is not None:
            self._send(200, {}, owner.raw(request))
        else:
            answer = owner.answer(request.text, list(request.images))
            self._send(200, {}, answer_body(request, answer, fault), html=fault == "html")

    def _send(
        self, status: int, headers: Mapping[str, str], body: bytes, *, html: bool = False
    ) -> None:
        self.connection.sendall(_head(status, headers, len(body), html=html) + body)

    def _send_status(self, request: Request) -> None:
        assert request.fault is not None
        status, headers = STATUS_FAULTS.get(request.fault) or (int(request.fault), {})
        if request.fault == "502_html":
            self._send(
                status,
                headers,
                b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
                html=True,
            )
        else:
            self._send(
                status,
                _dated(headers),
                _error_body(request.dialect, status, self.server.owner.error_text),
            )

    def _break_transport(self, request: Request) -> None:
        self.close_connection = True
        body = answer_body(request, "ACTION: TRUNCATED", None)
        head = _head(200, {}, len(body))
        match request.fault:
            case "hang":
                self._wait_for_client()
            case "slow_headers":
                self._trickle(head)
            case "slow_loris":
                self.connection.sendall(head)
                self._trickle(body)
            case "reset":
                self._reset()
            case "reset_mid_headers":
                self.connection.sendall(head[: len(head) // 2])
                self._reset()
            case "reset_mid_body":
                self.connection.sendall(head + body[: len(body) // 2])
                self._reset()
            case "truncated":
                self.connection.sendall(head + body[: len(body) // 2])

    def _wait_for_client(self) -> None:
        """Say nothing until the client goes away."""
        until = time.monotonic() + self.server.owner.hang_s
        while time.monotonic() < until and not self.server.stopping.is_set():
            if select.select([self.connection], [], [], 0.05)[0]:
                return

    def _trickle(self, content: bytes) -> None:
        """One byte every 50 ms, so that no single read ever times out."""
        until = time.monotonic() + self.server.owner.hang_s
        for position in range(len(content)):
            if (
                time.monotonic() > until
                or self.server.stopping.is_set()
                or select.select([self.connection], [], [], 0.05)[0]
            ):
                return
            self.connection.sendall(content[position : position + 1])

    def _reset(self) -> None:
        """Close with RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _dialect(path: str) -> str:
    if path.endswith("/chat/completions"):
        return "openai"
    return "google" if ":generateContent" in path else "anthropic"


def _head(status: int, headers: Mapping[str, str], length: int, *, html: bool = False) -> bytes:
    kind = "text/html; charset=utf-8" if html else "application/json"
    lines = [f"HTTP/1.1 {status} Status", f"content-type: {kind}", f"content-length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _dated(headers: Mapping[str, str]) -> dict[str, str]:
    """``DATE`` stands for a server clock that is an hour slow: only the difference of two dates may count."""
    slow = time.time() - 3600

    def filled(value: str) -> str:
        if not value.startswith("DATE"):
            return value
        return email.utils.formatdate(slow + float(value.removeprefix("DATE") or 0), usegmt=True)

    return {name: filled(value) for name, value in headers.items()}


def _error_body(dialect: str, status: int, text: str) -> bytes:
    error: dict[str, Any] = {"message": text, "type": "injected", "code": status}
    if dialect == "google":
        error = {"code": status, "message": text, "status": "INJECTED", "details": []}
    body = {"type": "error", "error": error} if dialect == "anthropic" else {"error": error}
    return json.dumps(body).encode()


def answer_body(request: Request, text: str, fault: str | None) -> bytes:
    """The body of a 200-answer, broken or unusual as ``fault`` says."""
    match fault:
        case "html":
            return b"<!doctype html><html><body>Sign in to the hotel's network</body></html>"
        case "empty_body":
            return b""
        case "json_list":
            return b"[]"
        case "json_null":
            return b"null"
        case "wrong_form":
            return b'{"status": "ok"}'
        case "error_in_200":
            return b'{"error": {"message": "the server behind this one failed", "code": 502}}'
    body = ANSWERS[request.dialect](request, text, fault)
    if fault == "extra_fields":
        body |= {"unheard_of": {"deep": [1, {"deeper": None}]}, "object": 7}
    content = json.dumps(body).encode()
    if fault == "malformed_json":
        return content.replace(b":", b"=", 3)
    return content[: len(content) // 2] if fault == "cut_json" else content


def _said(text: str, fault: str | None) -> str | None:
    return {
        "empty_content": "",
        "null_content": None,
        "refusal": None,
        "filter": None,
        "length": text[: len(text) // 2],
    }.get(fault or "", text)


def _openai_answer(request: Request, text: str, fault: str | None) -> dict[str, Any]:
    finish = {"length": "length", "filter": "content_filter", "unknown_finish": "eureka"}.get(
        fault or "", "stop"
    )
    message = {"role": "assistant", "content": _said(text, fault)}
    if fault == "refusal":
        message["refusal"] = "I cannot help with that."
    count = float("nan") if fault == "nan_usage" else 100
    usage = {
        "prompt_tokens": count, "completion_tokens": 7, "total_tokens": 107,
        "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 2},
    }  # fmt: skip
    choices = [{"index": 0, "finish_reason": finish, "message": message}]
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": f"{request.body['model']}-2024-11-20",
        "choices": [] if fault == "no_choices" else choices, "usage": usage,
    }  # fmt: skip


def _anthropic_answer(request: Request, text: str, fault: str | None) -> dict[str, Any]:
    finish = {
        "length": "max_tokens",
        "filter": "refusal",
        "refusal": "refusal",
        "unknown_finish": "eureka",
    }
    said = _said(text, fault)
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": said},
    ]
    count = float("nan") if fault == "nan_usage" else 50
    usage = {
        "input_tokens": count, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 10, "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 2},
    }  # fmt: skip
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": f"{request.body['model']}-20241022",
        "content": [] if fault == "no_choices" or said is None else content,
        "stop_reason": finish.get(fault or "", "end_turn"), "stop_sequence": None, "usage": usage,
    }  # fmt: skip


def _google_answer(request: Request, text: str, fault: str | None) -> dict[str, Any]:
    finish = {
        "length": "MAX_TOKENS",
        "filter": "SAFETY",
        "refusal": "PROHIBITED_CONTENT",
        "unknown_finish": "EUREKA",
    }
    said = _said(text, fault)
    content = {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": said}]}
    candidate = {"finishReason": finish.get(fault or "", "STOP"), "index": 0} | (
        {} if said is None else {"content": content}
    )
    count = float("nan") if fault == "nan_usage" else 100
    usage = {
        "promptTokenCount": count, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "cachedContentTokenCount": 40,
        "totalTokenCount": 107,
    }  # fmt: skip
    model = request.path.rsplit("/", 1)[-1].split(":")[0]
    body = {"usageMetadata": usage, "modelVersion": f"{model}-001"}
    return body if fault == "no_choices" else body | {"candidates": [candidate]}


ANSWERS: dict[str, Callable[[Request, str, str | None], dict[str, Any]]] = {
    "openai": _openai_answer,
    "anthropic": _anthropic_answer,
    "google": _google_answer,
}


def _messages(body: dict[str, Any]) -> list[Any]:
    return [
        body.get("system"),
        body.get("systemInstruction"),
        *body.get("messages", []),
        *body.get("contents", []),
    ]


def _parts(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for message in _messages(body):
        content = (
            message.get("content", message.get("parts")) if isinstance(message, dict) else message
        )
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, str):
                yield {"text": part}
            elif isinstance(part, dict):
                yield part


def _texts(body: dict[str, Any]) -> Iterator[str]:
    return (part["text"] for part in _parts(body) if isinstance(part.get("text"), str))


def _images(body: dict[str, Any]) -> Iterator[bytes]:
    for part in _parts(body):
        if "image_url" in part:
            yield base64.b64decode(part["image_url"]["url"].partition(",")[2])
        elif "source" in part:
            yield base64.b64decode(part["source"]["data"])
        elif "inlineData" in part:
            yield base64.urlsafe_b64decode(part["inlineData"]["data"])
