"""A headless Chromium that opens pages; tests that use ``tab`` are skipped where there is none."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.client

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --disable-dev-shm-usage --hide-scrollbars --remote-debugging-port=0"
).split()


class Tab:
    """One page in headless Chromium, driven through the DevTools protocol; ``events`` collects all that the page reports."""

    def __init__(self, address: str):
        self.socket = websockets.sync.client.connect(address, max_size=None)
        self.events: list[dict[str, Any]] = []
        self.number = 0
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv(timeout=30))
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path, anchor: str = "") -> None:
        self.call("Page.navigate", url=page.as_uri() + anchor)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not self.evaluate(condition):
            assert time.monotonic() < deadline, f"{condition} did not become true"
            time.sleep(0.02)

    def key(self, name: str, code: int) -> None:
        """Press and let go of a key that produces no text."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, windowsVirtualKeyCode=code)

    def faults(self) -> list[dict[str, Any]]:
        """Console errors and warnings, exceptions, dialogs, blocked sources, and any request but for the page itself."""
        self.evaluate("new Promise((done) => setTimeout(() => done(true), 50))")
        found = []
        for event in self.events:
            kind, body = event["method"], event["params"]
            if kind in (
                "Runtime.exceptionThrown",
                "Page.javascriptDialogOpening",
                "Runtime.consoleAPICalled",
                "Log.entryAdded",
            ):
                found.append(event)
            if kind == "Network.requestWillBeSent" and not re.match(
                r"data:|file:.*report[^/]*html", body["request"]["url"]
            ):
                found.append(event)
        return found


@pytest.fixture(scope="session")
def tab(tmp_path_factory) -> Iterator[Tab]:
    """A tab in headless Chromium; skips where there is no Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; .ci/run installs it")
    profile = tmp_path_factory.mktemp("chromium")
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}"], stderr=subprocess.DEVNULL
    )
    try:
        port_file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 30
        while not port_file.is_file() or len(port_file.read_text().split()) < 2:
            assert process.poll() is None and time.monotonic() < deadline, "Chromium did not start"
            time.sleep(0.05)
        port = port_file.read_text().split()[0]
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        found = Tab(address)
        yield found
        found.socket.close()
    finally:
        process.terminate()
        process.wait(timeout=20)
