"""The facts and the list of actions read back exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.description import Facts, list_actions, read_actions
from atari_vlm.errors import ConfigError

line = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=40)
word = st.from_regex(r"\S{1,20}", fullmatch=True)
number = st.floats(allow_nan=False)


@given(
    line,
    st.integers(0, 10**9),
    st.none() | word.filter(lambda name: name != "none"),
    number,
    number,
)
def test_facts_read_back_exactly(game, step, last_action, reward, episode_return):
    facts = Facts(game, step, last_action, reward, episode_return)
    assert Facts.from_text(facts.to_text()) == facts
    assert Facts.from_text(f"Something before.\n{facts.to_text()}\nBall: x 3, y 4") == facts


def test_facts_are_easy_to_read():
    text = Facts("Pong", 12, "RIGHT", -1.0, 0.1).to_text()
    assert text == "Game: Pong\nStep: 12\nLast action: RIGHT\nLast reward: -1\nReturn: 0.1"


@given(st.lists(word, min_size=1, max_size=30), st.dictionaries(word, line.filter(bool)))
def test_actions_read_back_exactly(names, words):
    assert read_actions(list_actions(names, words)) == tuple(names)


def test_actions_are_numbered_with_plain_words():
    assert (
        list_actions(["NOOP", "RIGHT"], {"RIGHT": "move the paddle up"})
        == "0: NOOP\n1: RIGHT (move the paddle up)"
    )


@pytest.mark.parametrize(
    "facts",
    [{"game": "a\nStep: 9"}, {"last_action": "none"}, {"last_action": ""}, {"last_action": "A B"}],
)
def test_facts_that_could_not_be_read_back_are_refused(facts):
    with pytest.raises(ConfigError):
        Facts(**{"game": "Pong", **facts})


@pytest.mark.parametrize(
    "text", ["", "Game: Pong", Facts("Pong").to_text().replace("Return", "Score")]
)
def test_missing_facts_are_named(text):
    with pytest.raises(ConfigError, match="has no line"):
        Facts.from_text(text)


@pytest.mark.parametrize("text", ["", "NOOP", "1: NOOP", "0: NOOP\n2: FIRE"])
def test_not_a_list_of_actions(text):
    with pytest.raises(ConfigError, match="numbered list"):
        read_actions(text)


def test_an_action_name_is_one_word():
    with pytest.raises(ConfigError, match="one word"):
        list_actions(["NOOP", "FIRE TWICE"])
