"""What a study will take, told before: within a tenth of what it then took, for one paid request an agent."""

from __future__ import annotations

import csv
import json
from collections import defaultdict

import own_players
import pytest
from fake_server import FakeVendorServer

from atari_vlm import evaluate as program
from atari_vlm.evaluation.estimate import COLUMNS

LANE = "own_games:Lane-v0"


def totals(folder, names=("calls", "input_tokens", "output_tokens")):
    found = defaultdict(lambda: dict.fromkeys(names, 0))
    with (folder / "results.csv").open() as file:
        for row in csv.DictReader(file):
            for name in names:
                found[row["agent"]][name] += int(row[name] or 0)
    return found


def test_an_estimate_is_within_a_tenth_of_what_the_study_takes(tmp_path, capsys):
    """Three agents: one that decides at every second step, one with a history, one that learns from episodes of its own."""
    agents = [
        "every=own_players:LightVLM,frames=2,decide_every=2",
        "turns=own_players:LightVLM,frames=1,turns=3",
        "taught=own_players:LightVLM,frames=1,use_icl=true,num_episodes=2",
    ]
    flags = ["--games", f"{LANE},steps=30", "--seeds", "0", "1", "--save-dir", str(tmp_path)]
    flags += ["--run-name", "run", "--agents", *agents]
    own_players.LightVLM.calls = 0
    assert program.main([*flags, "--estimate"]) == 0
    assert own_players.LightVLM.calls == 3
    said = json.loads((tmp_path / "run" / "estimate.json").read_text())["agents"]
    assert [tuple(row) for row in said] == [COLUMNS] * 4
    assert program.main([*flags, "--estimate"]) == 0
    assert own_players.LightVLM.calls == 3  # the answers are known
    assert program.main(flags) == 0
    took = totals(tmp_path / "run")
    by_agent = {row["agent"]: row for row in said}
    for agent in ("every", "turns", "taught"):
        for name, real in took[agent].items():
            assert by_agent[agent][name] == pytest.approx(real, rel=0.1), (agent, name)
        assert by_agent[agent]["cost_usd"] == pytest.approx(0.001 * took[agent]["calls"], rel=0.1)
        assert by_agent[agent]["hours"] > 0
    assert by_agent["random"]["calls"] == 0 and by_agent["random"]["cost_usd"] == 0.0


def test_a_long_study_is_counted_from_a_part_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("atari_vlm.evaluation.estimate.MOST_STEPS", 90)
    with FakeVendorServer() as server:
        agent = f"a=gpt-4o,base_url={server.openai_url},frames=1,decide_every=4"
        flags = ["--games", "Pong", "--seeds", "0", "1", "2", "--max-steps", "300", "--estimate"]
        flags += ["--save-dir", str(tmp_path), "--run-name", "run", "--agents", agent]
        assert program.main([*flags, "--parallel", "2"]) == 0
        assert len(server.requests) == 1
    row = json.loads((tmp_path / "run" / "estimate.json").read_text())["agents"][-1]
    assert row["calls"] == pytest.approx(3 * 75, rel=0.1)
    assert row["input_tokens"] == pytest.approx(100 * row["calls"], rel=0.1)
