"""One study through the three vendors' wire dialects, each with its real SDK against a local server: equal play, equal tables."""

from __future__ import annotations

import csv
import io

import numpy as np
import own_players
import PIL.Image
from fake_server import FakeVendorServer

from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig

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
