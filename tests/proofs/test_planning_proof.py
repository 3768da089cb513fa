"""The proof of planning in small: what is kept, what is played again, what the page says of it."""

from __future__ import annotations

import dataclasses
import json

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Discrete

from atari_vlm.proofs import planning
from atari_vlm.proofs.planning import (
    AGENTS,
    PlanningProofConfig,
    RandomStart,
    collect,
    estimate,
    main,
    settings_of,
    to_markdown,
)


@pytest.fixture
def config(tmp_path):
    return PlanningProofConfig(
        games=["Pong"], seeds=[0, 1, 2], steps=5, folder=tmp_path / "kept", out=tmp_path / "out"
    )


@pytest.fixture
def played(monkeypatch):
    """Episodes that are not really played: an agent earns its place in AGENTS, plus a bit for the seed."""
    calls = []

    def play(game, agent, seed, steps):
        calls.append((game, agent, seed, steps))
        return {"return": AGENTS.index(agent) + seed / 10, "length": steps, "seconds": 0.5}

    monkeypatch.setattr(planning, "play", play)
    return calls


def test_every_episode_is_played_once_and_kept(config, played):
    first = collect(config, lambda line: None)
    assert len(played) == len(AGENTS) * 3 and set(first) == {("Pong", name) for name in AGENTS}
    again = collect(config, lambda line: None)
    assert again == first and len(played) == len(AGENTS) * 3


def test_a_kept_result_of_other_settings_is_played_again(config, played, monkeypatch):
    collect(config, lambda line: None)
    played.clear()
    monkeypatch.setitem(planning.LIFE, "Pong", 7.0)
    collect(config, lambda line: None)
    assert {agent for _, agent, _, _ in played} == {"mcts", "plans", "plans judged"}


def test_without_play_only_what_is_kept_is_there(config, played):
    some = dataclasses.replace(config, seeds=[0])
    collect(some, lambda line: None)
    played.clear()
    scores = collect(dataclasses.replace(config, play=False), lambda line: None)
    assert played == [] and {tuple(seeds) for seeds in scores.values()} == {(0,)}


def test_each_episode_is_said(config, played):
    lines = []
    collect(dataclasses.replace(config, seeds=[2]), lines.append)
    assert lines[0] == "Pong seed 2 random: 0.2 in 0.5 s" and len(lines) == len(AGENTS)


def test_settings_name_what_an_episode_depends_on():
    assert settings_of("random", "Pong") == "random"
    assert settings_of("mcts", "Pong") != settings_of("mcts", "Freeway")
    assert "life 100" in settings_of("plans", "MsPacman")
    assert "UP" in settings_of("mcts", "Freeway")


def test_the_page_says_who_is_better_and_for_how_many_seeds(config, played):
    page = to_markdown(config, collect(config, lambda line: None))
    (differences,) = [line for line in page.splitlines() if "better" in line]
    assert differences.count("better (3 of 3 seeds)") == 3 and "not better" not in page


def test_a_lost_comparison_is_bold_and_ends_with_3(config, played, monkeypatch, capsys):
    monkeypatch.setattr(planning, "COMPARED", (("random", "mcts"),))
    arguments = ["--games", "Pong", "--seeds", "0", "1", "--folder", str(config.folder)]
    assert main([*arguments, "--out", str(config.out)]) == 3
    page = (config.out / "planning_ale.md").read_text()
    assert "**not better** (0 of 2 seeds)" in page and page in capsys.readouterr().out


def test_what_was_not_played_is_said_and_ends_with_3(config, capsys):
    arguments = ["--no-play", "--games", "Pong", "--folder", str(config.folder)]
    assert main([*arguments, "--out", str(config.out)]) == 3
    assert capsys.readouterr().out.count("not played") == len(AGENTS) + 3


def test_a_kept_file_of_another_agent_is_no_result(config, played):
    config.folder.mkdir()
    file = config.folder / "Pong-0-random-5.json"
    file.write_text(json.dumps({"settings": "another", "return": 99.0}))
    scores = collect(config, lambda line: None)
    assert scores["Pong", "random"][0]["return"] == 0.0
    assert json.loads(file.read_text())["settings"] == "random"


def test_one_seed_has_a_mean_and_no_interval():
    assert estimate([2.0]).value == 2.0 and not estimate([2.0]).has_interval
    three = estimate([1.0, 2.0, 6.0])
    assert three.low < three.value == 3.0 < three.high


class Counter(gymnasium.Env):
    """Shows its actions so far."""

    action_space = Discrete(6)

    def reset(self, *, seed=None, options=None):
        self.actions = []
        return (), {}

    def step(self, action):
        self.actions.append(action)
        return tuple(self.actions), 5.0, False, False, {"n": len(self.actions)}


def test_an_episode_begins_with_random_actions_as_its_seed_says():
    env = RandomStart(Counter())
    starts = [env.reset(seed=seed) for seed in (0, 0, *range(1, 20))]
    assert starts[0] == starts[1] != starts[2]
    lengths = [len(observation) for observation, _ in starts]
    assert min(lengths) >= 10 and max(lengths) <= 40 and len(set(lengths)) > 5
    assert all(info["n"] == n for (_, info), n in zip(starts, lengths, strict=True))
    assert {type(action) for action in starts[0][0]} == {int}
    assert np.unique([a for observation, _ in starts for a in observation]).tolist() == list(
        range(6)
    )
