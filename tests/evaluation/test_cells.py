"""The lay-out of an evaluation: who plays which seeds, under which numbers, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.agents.specs import AgentSpec
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.evaluation.cells import cells
from atari_vlm.evaluation.study import Study, agent_options, check, conditions_of, settings_of
from atari_vlm.evaluation.study_options import EvaluateConfig, reaches_outside
from atari_vlm.runs.command_line import parse

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
    study = Study(config(games=games, agents=agents, seeds=seeds, episodes=episodes))
    laid_out = list(cells(study))
    numbers = [spec.episode for cell in laid_out for spec in cell.specs]
    assert numbers == list(range(len(games) * len(study.agents) * len(seeds) * episodes))
    played = {tuple(spec.seed for spec in cell.specs) for cell in laid_out}
    assert len(played) == 1 and len(set(*played)) == len(seeds) * episodes


@settings(max_examples=40, deadline=None)
@given(GAMES, GAMES, SEEDS, SEEDS)
def test_an_extended_study_keeps_the_numbers_of_its_episodes(games, more_games, seeds, more_seeds):
    def numbered(study, earlier=()):
        return {
            (cell.game.name, cell.agent, spec.seed): spec.episode
            for cell in cells(Study(study), None, earlier)
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


def test_names_may_stand_in_one_word():
    study = Study(config(games=["Pong, ALE/Pong-v5", "breakout"], agents=["noop,random"]))
    assert [game.name for game in study.games] == ["Pong", "Breakout"]
    assert [agent.label for agent in study.agents] == ["random", "scripted", "noop"]
    assert study.paid_agents == []


def test_a_baseline_with_options_stands_for_the_baseline():
    study = Study(config(agents=["scripted,frames=1", "rnd=random"]))
    assert [agent.text for agent in study.agents] == ["scripted,frames=1", "rnd=random"]
    with pytest.raises(ConfigError, match="'random' is a baseline"):
        _ = Study(config(agents=["random=noop"])).agents


def test_the_bundled_player_joins_only_games_that_it_knows():
    study = Study(config(games=["Pong", "own_games:Lane-v0"], agents=["noop"]))
    played = [(cell.game.name, cell.agent) for cell in cells(study)]
    assert ("Pong", "scripted") in played and ("own_games:Lane-v0", "random") in played
    assert ("own_games:Lane-v0", "scripted") not in played


def test_a_study_in_a_file_equals_the_command(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        "suite: quick\nmax-steps: 9\nseeds: [0, 1]\nablate: frames, turns\nagents:\n"
        "  - noop\n  - {label: gpt, agent: nearest-example, options: {frames: 4, use-icl: true}}\n"
    )
    words = [
        "--suite",
        "quick",
        "--max-steps",
        "9",
        "--seeds",
        "0",
        "1",
        "--ablate",
        "frames,turns",
    ]
    words += ["--agents", "noop", "gpt=nearest-example,frames=4,use_icl=true"]
    ours = check(parse(EvaluateConfig, words, ""))
    theirs = check(parse(EvaluateConfig, ["--study", str(file)], ""))
    assert settings_of(ours) == settings_of(theirs)
    assert [str(cell) for cell in cells(ours)] == [str(cell) for cell in cells(theirs)]
    below = check(parse(EvaluateConfig, ["--study", str(file), "--max-steps", "5"], ""))
    assert below.protocol.max_steps == 5


def test_the_studies_among_the_examples_are_those_of_the_docs():
    root = Path(__file__).parents[2]
    line = (root / "docs/studies.md").read_text().split("```\n")[1].splitlines()[0]
    words = shlex.split(line)[3:]
    ours = check(parse(EvaluateConfig, words, ""))
    example = root / "examples" / "studies" / "quick.yaml"
    theirs = check(parse(EvaluateConfig, ["--study", str(example)], ""))
    assert settings_of(ours) == settings_of(theirs)


@pytest.mark.parametrize(
    ("words", "outside"),
    [
        (["scripted,frames=4", "mcts@emulator", "gpt-4o,model=gpt-5-mini"], False),
        (["my_agents:Mine"], True),
        (["qwen-vl,base_url=http://127.0.0.1:1/v1"], True),
        (["qwen-vl,model=some/folder"], True),
        (["policy@runs/checkpoint"], True),
        (["mcts@emulator,vlm=my_vlms:Mine"], True),
        (["noop", "nearest-example,use_icl=true,demonstrations=atari/pong-v0"], True),
    ],
    ids=range(7),
)
def test_agents_that_reach_outside_are_typed_only(words, outside):
    assert reaches_outside(words) is outside


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
    with pytest.raises(UnknownNameError, match="did you mean quick"):
        check(config(games=None, suite="quik"))
    with pytest.raises(UnknownNameError, match="did you mean atari-gpt"):
        check(config(protocol="atari_gpt"))
    with pytest.raises(UnknownNameError, match="did you mean frames"):
        check(config(ablate=["frame"]))
    with pytest.raises(ConfigError, match="there is none"):
        check(config(ablate=["frames"], agents=["noop"]))
    with pytest.raises(ConfigError, match="called 'noop'"):
        check(config(agents=["noop", "noop"]))


def test_settings_hold_what_results_depend_on_and_no_defaults():
    plain = settings_of(Study(config()))
    assert plain["games"] == ["Pong"] and plain["agents"] == ["random", "scripted"]
    assert plain["program"] == "evaluate" and "asking" not in plain
    assert settings_of(Study(config(temperature=0.25)))["asking"] == {"temperature": 0.25}
    assert settings_of(Study(config(save_dir="elsewhere"))) == plain


def test_options_of_agents_are_those_of_the_command():
    options = agent_options(Study(config(temperature=0.5, reply_tokens=77)))
    assert options.temperature == 0.5 and options.max_tokens == 77
    with pytest.raises(ConfigError, match="agent-option"):
        agent_options(Study(config(agent_option=["nothing=1"])))


def test_conditions_name_seeds_limits_and_the_prompt():
    conditions = dict(conditions_of(Study(config(seeds=[3, 1], max_steps=1500))))
    assert conditions["seeds"] == "3, 1" and "cut after 1,500 steps" in conditions["episodes"]
    assert conditions["protocol"].startswith("standard, max_steps=1500, seeds=3 1, version 1")
    assert "sha256" in conditions["prompt"]
    assert "the environment's own 10,000" in dict(conditions_of(Study(config())))["episodes"]


def test_an_ablation_varies_the_agents_that_were_asked_for_one_option_at_a_time():
    study = Study(config(agents=["a=nearest-example,frames=3", "noop"], ablate=["frames", "icl"]))
    variants = [v for agent in study.agents for v in study.variants(agent) if v.factor]
    assert [(v.agent.label, v.factor, v.condition) for v in variants] == [
        ("a", "frames", 1),
        ("a", "frames", 2),
        ("a", "frames", 4),
        ("a", "icl", True),
    ]
    assert variants[0].agent == AgentSpec("a", "nearest-example", {"frames": 1})
