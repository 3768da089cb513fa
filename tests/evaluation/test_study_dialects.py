"""One study through the three vendors' wire dialects, each with its real SDK against a local server: equal play, equal tables.

``python -m pytest -m slow -n 0 -s tests/evaluation/test_study_dialects.py``: the suite ``quick``, three seeds, 60 steps each.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import own_players
import PIL.Image
import pytest
from fake_server import ANSWERS, FakeVendorServer

from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.pil_images import to_image
from atari_vlm.types import Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.load import load_vlm

ACTIONS = ("STAY", "GO_LEFT", "GO_RIGHT")


def steer(text, images):
    picture = np.array(PIL.Image.open(io.BytesIO(images[-1])).convert("RGB"))
    return f"ACTION: {ACTIONS[own_players.direction(picture)]}"


def test_a_study_is_the_same_through_every_dialect(tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "key-for-tests-only")
    with FakeVendorServer(answer=steer) as server:
        places = {
            "gpt-4o": server.openai_url,
            "claude": server.anthropic_url,
            "gemini": server.google_url,
        }
        agents = [
            f"{name},base_url={url},frames=1,answer=text,decide_every=2"
            for name, url in places.items()
        ]
        agents.append("here=own_players:LightVLM,frames=1,decide_every=2")
        config = EvaluateConfig(
            ["own_games:Lane-v0"], agents, [0, 1], save_dir=tmp_path, run_name="run"
        )
        folder, _ = evaluate(config)
        assert {request.dialect for request in server.requests} == {"openai", "anthropic", "google"}
        assert len(server.requests) == 3 * 2 * 6
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    by_agent = {}
    for row in rows:
        played = (row["seed"], row["score"], row["steps"], row["calls"], row["fallback_rate"])
        by_agent.setdefault(row["agent"], []).append(played)
    own = by_agent.pop("here")
    assert all(by_agent[name] == own for name in places)
    served = {row["agent"]: row["model_served"] for row in rows}
    assert all(served[name] for name in places)
    assert {row["base_url"] for row in rows if row["agent"] == "claude"} == {places["claude"]}


ROLES = {"model": "assistant"}
IMITATOR = "nearest-example,answer=text"
TAUGHT = IMITATOR + ",use_icl=true,demonstrations={},num_episodes=2"
BUNDLED = {
    "scripted": "scripted,answer=text",
    "imitator": IMITATOR,
    "taught": TAUGHT.format("scripted"),
}
LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]


def messages_of(body: Mapping[str, Any]) -> Iterator[Message]:
    """The messages of a request in any dialect, as the package had them."""
    system = body.get("system") or body.get("systemInstruction")
    if system is not None:
        yield message_of("system", system)
    for one in (*body.get("messages", ()), *body.get("contents", ())):
        yield message_of(ROLES.get(one["role"], one["role"]), one)


def message_of(role: str, one: Any) -> Message:
    content = one.get("content", one.get("parts")) if isinstance(one, dict) else one
    parts = [content] if isinstance(content, str) else content
    return Message.of(role, *(part_of(part) for part in parts))


def part_of(part: Any) -> Any:
    if isinstance(part, str) or "text" in part:
        return part if isinstance(part, str) else part["text"]
    if "image_url" in part:
        data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    elif "source" in part:
        data = base64.b64decode(part["source"]["data"])
    else:
        data = base64.urlsafe_b64decode(part["inlineData"]["data"])
    return to_image(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def bundled(request):
    """Answers as the bundled VLM that the request's model is named after."""
    asked = request.body.get("model") or request.path.rsplit("/", 1)[-1].split(":")[0]
    vlm = load_vlm(asked)
    reply = vlm.complete(list(messages_of(request.body)), sampling=Sampling())
    body = ANSWERS[request.dialect](request, reply.text, None)
    return 200, {}, json.dumps(body).encode()


@pytest.mark.parametrize(
    ("who", "games", "seeds", "steps"),
    [
        ({"imitator": IMITATOR, "taught": TAUGHT.format("random")}, ["own_games:Lane-v0"], [0], 6),
        pytest.param(BUNDLED, None, [0, 1, 2], 60, marks=LONG),
    ],
)
def test_the_bundled_players_behind_a_vendors_wire_play_as_they_do_here(
    tmp_path, monkeypatch, who, games, seeds, steps
):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "key-for-tests-only")
    began = time.monotonic()
    with FakeVendorServer(respond=bundled, keep_bodies=False) as server:
        places = {
            "gpt-4o": server.openai_url,
            "claude": server.anthropic_url,
            "gemini": server.google_url,
        }
        wired = [
            f"{vendor}-{label}={word.replace(name, vendor, 1)},model={name},base_url={url}"
            for vendor, url in places.items()
            for label, word in who.items()
            for name in [word.split(",")[0]]
        ]
        here = [f"here-{label}={word}" for label, word in who.items()]
        more = {"games": games} if games else {"suite": "quick"}
        config = EvaluateConfig(
            agents=[*here, *wired],
            **more,
            protocol="quick",
            seeds=seeds,
            max_steps=steps,
            save_dir=tmp_path,
            run_name="run",
        )
        folder, results = evaluate(config)
        asked = len(server.requests)
        assert {request.dialect for request in server.requests} == {"openai", "anthropic", "google"}
    assert asked == 3 * len(who) * len(results.games) * len(seeds) * steps
    for label in who:
        for game in results.games:
            mine = [(run.seed, run.returns, run.steps) for run in results.of(game, f"here-{label}")]
            for vendor in places:
                theirs = results.of(game, f"{vendor}-{label}")
                assert [(run.seed, run.returns, run.steps) for run in theirs] == mine
                assert all(run.model_served.startswith(run.model) for run in theirs)
    by_agent: dict[str, list[list[Any]]] = {}
    with (folder / "episodes.csv").open() as file:
        for row in csv.reader(file):
            by_agent.setdefault(row[1], []).append([row[0], *row[2:]])
    for label in who:
        assert all(by_agent[f"{v}-{label}"] == by_agent[f"here-{label}"] for v in places)
    print(f"{asked} requests, {time.monotonic() - began:.0f} s")
    print((folder / "results.md").read_text() if steps > 6 else "")
