"""Agents as words: what a word means, that it reads back as itself, and what is refused with which sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.agents.specs import AgentSpec, parse_agents, split_outside
from atari_vlm.errors import ConfigError, UnknownNameError


def test_a_word_is_a_label_a_name_and_options():
    (spec,) = parse_agents(["gpt=gpt-4o,model=gpt-5-mini,frames=4,decide-every=4"])
    assert (spec.label, spec.name, spec.kind) == ("gpt", "gpt-4o", "vlm")
    assert spec.options == {"model": "gpt-5-mini", "frames": 4, "decide_every": 4}


def test_without_a_label_the_name_is_it():
    specs = parse_agents(
        ["qwen-vl,base_url=http://127.0.0.1:8000/v1,use_icl=true", "mcts@emulator"]
    )
    assert [spec.label for spec in specs] == ["qwen-vl", "mcts@emulator"]
    assert specs[0].options == {"base_url": "http://127.0.0.1:8000/v1", "use_icl": True}
    assert specs[1].planner == ("mcts", "emulator") and specs[1].kind == "planner"


def test_a_file_says_the_same_as_a_word():
    entry = {"label": "gpt", "agent": "gpt-4o", "options": {"frames": 4, "use-icl": True}}
    assert parse_agents([entry]) == parse_agents(["gpt=gpt-4o,frames=4,use_icl=true"])


def test_several_agents_may_stand_in_one_word():
    specs = parse_agents("noop, scripted,frames=1,policy@c")
    assert [spec.label for spec in specs] == ["noop", "scripted", "policy@c"]
    assert specs[1].options == {"frames": 1}
    assert parse_agents("policy@runs/a=1")[0].name == "policy@runs/a=1"


def test_commas_in_quotes_and_brackets_end_nothing():
    assert split_outside('a,b="x,y",c=[1, 2],d={e: 1, f: 2}') == [
        "a",
        'b="x,y"',
        "c=[1, 2]",
        "d={e: 1, f: 2}",
    ]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(
        st.characters(
            min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f\x80\x85\xa0\xad"
        ),
        max_size=12,
    ).filter(lambda text: text.isprintable()),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True), VALUES, max_size=4))
def test_a_spec_reads_back_from_its_word(options):
    options.pop("api_key", None)
    spec = AgentSpec("my agent", "claude", options)
    again = parse_agents([spec.text])
    assert again == [spec]
    assert [type(v) for v in again[0].options.values()] == [type(v) for v in options.values()]


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (["scriptd"], UnknownNameError, "did you mean scripted"),
        (["gpt-5-mini"], UnknownNameError, "gpt-4o,model=gpt-5-mini"),
        (["mtcs@emulator"], UnknownNameError, "mcts"),
        (["mcts@"], ConfigError, "names no model"),
        (["a=noop", "a=random"], ConfigError, "two agents are called 'a'"),
        (["noop", "noop"], ConfigError, "two agents are called 'noop'"),
        (["gpt-4o,frames=1,frames=2"], ConfigError, "given twice"),
        (["gpt-4o,api_key=abc"], ConfigError, "api_key_env"),
        (["gpt-4o,model=sk-canary-0123456789abcdef"], ConfigError, "key"),
        ([{"agnt": "noop"}], UnknownNameError, "agent"),
        ([{"label": "x"}], ConfigError, "agent: NAME"),
        ([{"agent": "noop", "options": [1]}], ConfigError, "mapping"),
        ([3], ConfigError, "LABEL=NAME"),
        (["claude,extra_body={a: [}"], ConfigError, "extra_body"),
    ],
    ids=range(14),
)
def test_what_names_no_agent_is_refused(words, error, sentence):
    with pytest.raises(error, match=sentence) as refused:
        parse_agents(words)
    assert "canary-0123456789" not in str(refused.value)
