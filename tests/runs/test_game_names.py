"""Games by name: ALE's in any spelling, the toy, and any gymnasium id with its keywords."""

from __future__ import annotations

import numpy as np
import pytest

from atari_vlm.description import read_actions
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.runs.environments import make_env
from atari_vlm.runs.game_names import CATCH, GameSpec, game_name, is_atari, parse_games


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("pong", "Pong"),
        ("ALE/Ms. Pac-Man-v5", "MsPacman"),
        ("catch", CATCH),
        ("own_games:Lane-v0", "own_games:Lane-v0"),
        ("CartPole-v1", "CartPole-v1"),
        ("AtariVLM/Pong-REM-v5", "AtariVLM/Pong-REM-v5"),
    ],
)
def test_a_game_has_one_name(word, name):
    assert game_name(word) == name
    assert is_atari(name) is (name in ("Pong", "MsPacman"))


def test_keywords_follow_their_game():
    games = parse_games(["Pong, breakout,pong", "own_games:Lane-v0,steps=3"])
    assert games == [
        GameSpec("Pong"),
        GameSpec("Breakout"),
        GameSpec("own_games:Lane-v0", {"steps": 3}),
    ]
    assert parse_games(games[2].text) == games[2:]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["Pung"], "did you mean Pong"),
        (["own_games:Lame-v0"], "Lane-v0"),
        (["own_gmes:Lane-v0"], "own_gmes"),
        (["Pong,frame_skip=4", "pong"], "given twice"),
        (["Pong,frame_skip=4,frame_skip=5"], "given twice"),
        ([3], "a game is a name"),
    ],
    ids=range(6),
)
def test_what_is_no_game_is_said(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_games(words)


def test_a_game_of_ones_own_is_played_as_it_is():
    env = make_env({"game_name": "own_games:Lane-v0", "env": {"steps": 5}, "latency": None})
    observation, _ = env.reset(seed=0)
    assert read_actions(observation["action_space"]) == ("STAY", "GO_LEFT", "GO_RIGHT")
    assert observation["image"].shape == (16, 16, 3) and observation["text"].startswith("Game: ")
    ends = [env.step(0)[2] for _ in range(5)]
    assert ends == [False] * 4 + [True]
    with pytest.raises(ConfigError, match="cannot be made: TypeError"):
        make_env({"game_name": "own_games:Lane-v0", "env": {"steeps": 5}})
    with pytest.raises(UnknownNameError):
        make_env({"game_name": "NoSuchGame-v0"})


def test_a_game_without_pictures_stays_bare():
    env = make_env({"game_name": "own_games:BlindLane-v0"})
    assert isinstance(env.reset(seed=0)[0], np.ndarray)


def test_no_ops_at_the_beginning_are_drawn_from_the_seed_and_are_no_steps():
    settings = {"game_name": "own_games:Lane-v0", "env": {}, "noops": (1, 6)}
    steps = []
    for seed in range(6):
        env = make_env(settings)
        env.reset(seed=seed)
        count = 0
        while not env.step(0)[2]:
            count += 1
        steps.append(count)
    assert len(set(steps)) > 1 and max(steps) <= 10
    with pytest.raises(ConfigError, match="no-ops"):
        make_env({**settings, "noops": (3, 1)})


def test_a_game_over_need_not_end_an_episode():
    env = make_env(
        {"game_name": "own_games:Lane-v0", "env": {"steps": 3}, "through_game_overs": True}
    )
    env.reset(seed=0)
    stepped = [env.step(0) for _ in range(7)]
    assert not any(step[2] for step in stepped)
    assert [step[4]["games"] for step in stepped] == [0, 0, 1, 1, 1, 2, 2]
    env.reset(seed=0)
    assert env.step(0)[4]["games"] == 0
