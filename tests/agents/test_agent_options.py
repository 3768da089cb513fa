"""Options of agents by keyword: split from those of the VLM, taken as their fields say, refused by name."""

import pytest

from atari_vlm.agents import ScriptedAgent
from atari_vlm.agents.vlm_agent import DEFAULT_OPTIONS, VLMAgentOptions, split_options
from atari_vlm.errors import ConfigError, UnknownNameError


def test_keywords_go_to_the_agent_to_its_options_and_to_the_vlm():
    agent, rest = split_options(
        {"prompt_type": "basic", "frames": 4, "answer": "text", "device": "cpu", "examples": ()}
    )
    assert agent["options"] == VLMAgentOptions(frames=4, answer="text")
    assert {name: agent[name] for name in ("prompt_type", "examples")} == {
        "prompt_type": "basic",
        "examples": (),
    }
    assert rest == {"device": "cpu"}


def test_without_options_none_are_made_up():
    assert split_options({"device": "cpu"}) == ({}, {"device": "cpu"})
    assert split_options({}) == ({}, {})


def test_single_options_change_the_given_ones_and_not_the_defaults():
    given = VLMAgentOptions(frames=1, turns=3)
    agent, _ = split_options({"options": given, "frames": 4})
    assert agent["options"] == VLMAgentOptions(frames=4, turns=3)
    assert given.frames == 1 and VLMAgentOptions() == DEFAULT_OPTIONS


def test_a_whole_number_is_taken_where_a_fraction_is_meant():
    agent, _ = split_options({"temperature": 1, "scale": 2})
    options = agent["options"]
    assert (type(options.temperature), type(options.scale)) == (float, float)


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": "four"},
        {"frames": True},
        {"frames": -1},
        {"feedback": "yes"},
        {"temperature": "warm"},
        {"temperature": -0.5},
        {"max_tokens": 0},
        {"decide_every": 0},
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_option(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        split_options(wrong)


@pytest.mark.parametrize(
    ("wrong", "known"),
    [
        ({"answer": "jso"}, "json"),
        ({"fallback": "nop"}, "noop"),
        ({"frame_layout": "gird"}, "grid"),
    ],
)
def test_a_wrong_word_is_answered_with_the_known_ones(wrong, known):
    with pytest.raises(UnknownNameError, match=known):
        ScriptedAgent(**wrong)


def test_what_neither_the_agent_nor_the_vlm_knows_is_refused():
    with pytest.raises(ConfigError, match="framez"):
        ScriptedAgent(framez=3)
