"""A run made up for the report's tests, and a headless Chromium that opens it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import tab  # noqa: F401  a fixture
from hub_fixture import hub  # noqa: F401  a fixture

from atari_vlm.reporting.page.run_data import ReplayNotes, Show
from atari_vlm.runs.journal import CallRow, EpisodeRow, Journal, StepRow
from atari_vlm.types import Image, Reply, Usage

sys.path.insert(0, str(Path(__file__).parents[1] / "vlm"))  # the vendors' fake server

NAMES = ("NOOP", "FIRE", "UP", "DOWN")
PALETTE = np.array([[20, 60, 40], [230, 230, 230], [210, 110, 60], [90, 170, 220]], dtype=np.uint8)


def drawn(step: int, size: int = 84) -> Image:
    """A small Pong-like picture that differs from step to step."""
    indices = np.zeros((size, size), dtype=np.uint8)
    indices[4:6, :] = indices[-6:-4, :] = 1
    indices[20 + step % 40 : 34 + step % 40, 6:9] = 2
    indices[25 + (3 * step) % 35 : 39 + (3 * step) % 35, -9:-6] = 3
    ball = 10 + (5 * step) % (size - 20)
    indices[ball : ball + 3, ball : ball + 3] = 1
    return Image(PALETTE[indices], indices=indices, palette=PALETTE)


def replay(row: EpisodeRow, steps: Sequence[StepRow], show: Show) -> ReplayNotes:
    for at in range(len(steps) + 1):
        show(at, lambda at=at: drawn(at).png)  # type: ignore[misc]
    return ReplayNotes(NAMES)


def write_episode(
    journal: Journal,
    episode: int,
    replies: Sequence[str],
    phase: str = "train",
    slower: float = 0.0,
) -> None:
    """One finished episode whose replies are given; replies without an action line become fallbacks."""
    journal.begin_episode(episode, phase, 100 + episode)
    rewards, fallbacks = [], 0
    for step, text in enumerate(replies):
        words = [
            ("system", "You play Pong. Answer with a last line ACTION: <NAME>."),
            ("user", f"Step: {step}\nReturn: {sum(rewards)}"),
        ]
        picture = drawn(step).png
        blobs = {
            hashlib.sha256(raw).hexdigest(): raw
            for raw in [picture, *(text.encode() for _, text in words)]
        }
        shas = list(blobs)
        request = [
            ["system", [["text", shas[1]]]],
            ["user", [["image", shas[0]], ["text", shas[2]]]],
        ]
        reply = Reply(
            text, "tiny-1", usage=Usage(900 + step, 20), latency_s=0.4 + slower, cost_usd=0.0015
        )
        call = CallRow(
            episode, step, step, "complete", f"{episode}-{step}", request, None, 1e9 + slower
        )
        journal.record_request(call, blobs)
        journal.record_reply(episode, step, reply.as_dict())
        understood = re.search(r"ACTION: (\w+)\s*$", text)
        fallbacks += understood is None
        rewards.append({7: 1.0, 3: -1.0}.get(step % 10, 0.0))
        decision = {
            "reasoning": text.split("ACTION")[0].strip(),
            "problems": [] if understood else [f"no action in {text[:200]!r}"],
            "details": {
                "plans": [
                    {"actions": ["UP", "UP"], "score": 1.5},
                    {"actions": ["DOWN"], "score": float("nan")},
                ],
                "chosen": 0,
            }
            if step % 5 == 0
            else {},
            "latency_s": reply.latency_s,
            "cost_usd": reply.cost_usd,
            "calls": [step],
        }
        action = NAMES.index(understood[1]) if understood else 0
        source = "model" if understood else "fallback"
        last = step + 1 == len(replies)
        info = {"episode_step": step + 1}
        journal.record_step(
            StepRow(episode, step, action, source, rewards[-1], last, False, info, decision)
        )
    journal.finish_episode(
        EpisodeRow(
            episode,
            phase,
            100 + episode,
            "done",
            sum(rewards),
            len(replies),
            fallbacks / len(replies),
            0.0015 * len(replies),
        )  # type: ignore[arg-type]
    )


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal(tmp_path / "journal.sqlite")


def embedded(page: str, name: str) -> dict[str, Any]:
    """The JSON that the page carries under an id."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])
