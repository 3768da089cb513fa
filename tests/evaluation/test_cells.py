"""The lay-out of an evaluation: who plays which seeds, under which numbers, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.evaluation.cells import (
    EvaluateConfig,
    agent_options,
    cells,
    check,
    conditions_of,
    settings_of,
)

GAMES = st.lists(
    st.sampled_from(["Pong", "Breakout", "Boxing"]), min_size=1, max_size=3, unique=True
)
SEEDS = st.lists(st.integers(0, 100), min_size=1, max_size=4, unique=True)
AGENTS = st.lists(st.sampled_from(["random", "noop", "gpt-4o"]), max_size=3, unique=True)


def config(**changes):
    return EvaluateConfig(**{"games": ["Pong"], "agents": [], "seeds": [0], **changes})


@settings(max_examples=40, deadline=None)
@given(GAMES, AGENTS, SEEDS, st.integers(1, 3))
def test_every_agent_gets_the_same_seeds_and_every_episode_its_own_number(
    games, agents, seeds, episodes
):
    study = config(games=games, agents=agents, seeds=seeds, episodes=episodes)
    laid_out = list(cells(study))
    numbers = [spec.episode for cell in laid_out for spec in cell.specs]
    assert numbers == list(range(len(games) * len(study.all_agents) * len(seeds) * episodes))
    played = {tuple(spec.seed for spec in cell.specs) for cell in laid_out}
    assert len(played) == 1 and len(set(*played)) == len(seeds) * episodes


@settings(max_examples=40, deadline=None)
@given(GAMES, GAMES, SEEDS, SEEDS)
def test_an_extended_study_keeps_the_numbers_of_its_episodes(games, more_games, seeds, more_seeds):
    def numbered(study, earlier=()):
        return {
            (cell.game, cell.agent, spec.seed): spec.episode
            for cell in cells(study, earlier)
            for spec in cell.specs
        }

    before = {"games": games, "seeds": seeds}
    union = config(
        games=list(dict.fromkeys([*games, *more_games])),
        seeds=list(dict.fromkeys([*seeds, *more_seeds])),
    )
    first, extended = numbered(config(**before)), numbered(union, [before])
    assert first.items() <= extended.items()
    assert sorted(extended.values()) == list(range(len(extended)))


def test_names_may_stand_in_one_word_and_count_once():
    study = config(games=["Pong, ALE/Pong-v5", "breakout"], agents=["noop,random", "noop"])
    assert study.game_names == ["Pong", "Breakout"]
    assert study.all_agents == ["random", "scripted", "noop"] and study.paid_agents == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"games": []}, "at least one game and one seed"),
        ({"seeds": []}, "at least one game and one seed"),
        ({"seeds": [1, 1]}, "different numbers from 0 to 100000"),
        ({"seeds": [-1]}, "different numbers from 0 to 100000"),
        ({"seeds": [100_001]}, "different numbers from 0 to 100000"),
        ({"episodes": 0}, "episodes"),
        ({"episodes": 10**6}, "episodes must be at most"),
        ({"agents": ["gpt-4o", "claude"], "model": "x"}, "--model belongs to one agent, but 2"),
        ({"agents": ["noop"], "base_url": "http://x"}, "--base-url belongs to one agent, but 0"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check(config(**changes))


def test_a_name_that_is_nearly_an_agent_is_offered():
    with pytest.raises(UnknownNameError, match="gpt-4o"):
        check(config(agents=["gpt-4oo"]))


def test_settings_hold_what_results_depend_on_and_no_defaults():
    plain = settings_of(config())
    assert plain["games"] == ["Pong"] and plain["agents"] == ["random", "scripted"]
    assert plain["program"] == "evaluate" and "temperature" not in plain
    assert settings_of(config(temperature=0.25))["temperature"] == 0.25
    assert settings_of(config(save_dir="elsewhere")) == plain


def test_options_of_agents_are_those_of_the_command():
    options = agent_options(config(temperature=0.5, reply_tokens=77))
    assert options.temperature == 0.5 and options.max_tokens == 77
    with pytest.raises(ConfigError, match="agent-option"):
        agent_options(config(agent_option=["nothing=1"]))


def test_conditions_name_seeds_limits_and_the_prompt():
    conditions = dict(conditions_of(config(seeds=[3, 1], max_steps=1500)))
    assert conditions["seeds"] == "3, 1" and "cut after 1,500 steps" in conditions["episodes"]
    assert "sha256" in conditions["prompt"]
    assert "the environment's own 10,000" in dict(conditions_of(config()))["episodes"]
