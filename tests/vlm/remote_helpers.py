"""What the tests of the remote VLMs share: the three backends against one fake server, and a clock that never waits."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np
from fake_server import FakeVendorServer

from atari_vlm.types import Image, Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.remote.anthropic import AnthropicVLM
from atari_vlm.vlm.remote.client import RemoteVLM
from atari_vlm.vlm.remote.google import GoogleVLM
from atari_vlm.vlm.remote.openai import OpenAIVLM
from atari_vlm.vlm.remote.options import RemoteOptions

BACKENDS = {"openai": OpenAIVLM, "anthropic": AnthropicVLM, "google": GoogleVLM}
TEST_KEY = "test-key-0123456789"
SAMPLING = Sampling(max_tokens=64)


@dataclass
class VirtualClock:
    """Sleeping takes no time but counts; every thread has its own, as threads that sleep side by side would."""

    sleeps: list[float] = field(default_factory=list)
    _slept: threading.local = field(default_factory=threading.local)

    def monotonic(self) -> float:
        return time.monotonic() + getattr(self._slept, "total", 0.0)

    def time(self) -> float:
        return time.time() + getattr(self._slept, "total", 0.0)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.sleeps.append(seconds)
        self._slept.total = getattr(self._slept, "total", 0.0) + seconds


def connect(
    dialect: str, server: FakeVendorServer, *, timeout_s: float = 5.0, **options: object
) -> RemoteVLM:
    """The real backend of a dialect, talking to the fake server; waits take no time unless a clock is given."""
    url = {
        "openai": server.openai_url,
        "anthropic": server.anthropic_url,
        "google": server.google_url,
    }[dialect]
    chosen = RemoteOptions(**{"clock": VirtualClock(), **options})
    return BACKENDS[dialect](
        "test-model", api_key=TEST_KEY, base_url=url, timeout_s=timeout_s, options=chosen
    )


def picture(value: int = 0) -> Image:
    """A small picture that differs with ``value``."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[value % 24, :, value % 3] = 200
    return Image(pixels)


def question(number: int = 0) -> list[Message]:
    """A request as an agent makes it: instructions, one example, then picture and facts."""
    return [
        Message.of("system", "Answer with a last line ACTION: <NAME>."),
        Message.of("user", picture(1), "Example: a ball comes from the left."),
        Message.of("assistant", "It falls.\nACTION: LEFT"),
        Message.of("user", picture(number), f"Question {number}"),
    ]
