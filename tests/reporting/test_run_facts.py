"""What the head of a report says of a run."""

from __future__ import annotations

import pytest

from atari_vlm.errors import ConfigError
from atari_vlm.prompts import prompt_version
from atari_vlm.reporting.page.run_report import run_facts, write_report
from atari_vlm.runs.journal import EpisodeRow

SETTINGS = {
    "game_name": "Pong-v5",
    "vlm_type": "gpt-4o",
    "model": None,
    "prompt_type": "cot",
    "use_in_context_learning": True,
    "in_context": {"strategy": "recent", "max_examples": 3},
    "seed": 0,
    "parallel": 2,
}


def facts(rows=(), answered=None, **settings):
    config = {"settings": {**SETTINGS, **settings}, "atari_vlm": "1.2", "versions": {"numpy": "2"}}
    return run_facts("run-1", config, rows, answered)


def row(episode, phase, seed):
    return EpisodeRow(episode, phase, seed, "done", 0.0, 1, 0.0, 0.0)


def test_conditions_are_in_words_and_without_what_is_not_set():
    conditions = dict(facts().conditions)
    assert conditions["game name"] == "Pong-v5" and conditions["vlm type"] == "gpt-4o"
    assert conditions["use in context learning"] == "yes"
    assert conditions["in context: strategy"] == "recent"
    assert "model" not in conditions
    assert conditions["versions"] == "atari-vlm 1.2, numpy 2"
    assert conditions["prompt version"].startswith(f"{prompt_version('cot')}, sha256 ")


def test_seeds_are_listed_once_or_by_their_ends():
    few = dict(facts([row(0, "train", 3), row(1, "train", 1), row(2, "eval", 9)]).conditions)
    assert few["train episodes"] == "2, seeds 1, 3" and few["eval episodes"] == "1, seeds 9"
    many = dict(facts([row(i, "eval", 100 + i) for i in range(13)]).conditions)
    assert many["eval episodes"] == "13, seeds 100 to 112" and "train episodes" not in many


def test_the_subtitle_names_games_players_and_ways():
    assert facts().subtitle == "Pong-v5 · gpt-4o · cot prompt · in-context learning"
    several = facts(
        games=["Pong", "Alien"], agents=["random"], prompt_type=None, use_in_context_learning=False
    )
    assert several.subtitle == "Pong, Alien · random"


def test_of_what_answered_only_models_are_conditions():
    conditions = dict(facts(answered={"model (gpt-4o)": "gpt-4o-2024", "region": "x"}).conditions)
    assert conditions["model (gpt-4o)"] == "gpt-4o-2024" and "region" not in conditions


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=str(tmp_path)):
        write_report(tmp_path)
