"""Suites and protocols are what they say: games exist, human-optimal ones follow from scores, names tell changes."""

from __future__ import annotations

import statistics

import pytest

from atari_vlm.errors import UnknownNameError
from atari_vlm.evaluation import protocols
from atari_vlm.games import game_names
from atari_vlm.scores.published import published

SEVEN = ("REM", "IRIS", "DIAMOND", "TWM", "DreamerV3", "M3_Simulus", "EfficientZero")


@pytest.mark.parametrize("name", protocols.names("suite"))
def test_every_suite_names_games_and_a_protocol(name):
    suite = protocols.suite(name)
    assert set(suite.games) <= set(game_names()) and len(set(suite.games)) == len(suite.games)
    assert protocols.protocol(suite.protocol).version >= 1


def test_the_human_optimal_games_are_those_where_the_median_method_is_below_human():
    games = protocols.suite("atari26").games
    assert len(games) == 26
    scores = {name: published(name).normalised(games) for name in SEVEN}
    below = [
        game
        for game in games
        if statistics.median(float(scores[name][game].mean()) for name in SEVEN) < 1
    ]
    assert list(protocols.suite("human-optimal").games) == below and len(below) == 14


def test_a_protocol_tells_the_environment_only_what_is_not_its_default():
    assert protocols.protocol("standard").environment("Pong") == {"env": {}, "latency": None}
    gpt = protocols.protocol("atari-gpt")
    assert gpt.environment("Pong")["env"]["repeat_action_probability"] == 0.0
    assert "repeat_action_probability" not in gpt.environment("Alien")["env"]
    assert gpt.environment("CartPole-v1") == {
        "env": {},
        "latency": None,
        "through_game_overs": True,
    }
    long = protocols.protocol("atari100k").environment("Alien")
    assert long["env"]["max_episode_steps"] == 27_000 and long["noops"] == [1, 30]


def test_what_is_changed_stands_in_the_name_and_what_is_not_does_not():
    quick = protocols.protocol("quick")
    assert protocols.changed(quick, {"max_steps": 200, "seeds": (0, 1, 2)}).name == "quick"
    cut = protocols.changed(quick, {"max_steps": 50})
    assert cut.name == "quick, max_steps=50"
    first, second = (protocols.conditions_of_protocol(p.as_dict()) for p in (quick, cut))
    assert first != second
    other_seeds = protocols.changed(quick, {"seeds": (7,)}).as_dict()
    assert protocols.conditions_of_protocol(other_seeds) == first
    with pytest.raises(UnknownNameError, match="did you mean atari26"):
        protocols.suite("atari-26")
