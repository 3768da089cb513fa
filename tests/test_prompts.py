"""Prompts: constant first, facts last, sound for every game and for games nobody has heard of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm import games, prompts
from atari_vlm.description import Facts, list_actions
from atari_vlm.errors import ConfigError, UnknownNameError

NAMES = ("NOOP", "FIRE", "RIGHT", "LEFT")
styles = pytest.mark.parametrize("style", prompts.PROMPT_STYLES)
answers = pytest.mark.parametrize("answer", prompts.ANSWER_FORMS)


@styles
@answers
def test_every_game_gets_instructions(style, answer):
    for name in games.game_names():
        game, text = games.game(name), prompts.instructions(style, name, NAMES, answer=answer)
        assert game.title in text and game.goal in text
        assert list_actions(NAMES, game.controls) in text
        assert "$" not in text
        assert (game.strategy in text) == (style == "expert" or game.strategy == "")


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("text", "ACTION: <NAME>"),
        ("json", '"action": "<NAME>"'),
        ("choice", "one action name"),
        ("plans", '"plans": [{"actions"'),
    ],
)
@styles
def test_how_to_answer(style, answer, wanted):
    text = prompts.instructions(style, "Pong", NAMES, answer=answer)
    assert wanted in text
    others = {"ACTION: <NAME>", '"action": "<NAME>"', '"plans": [{"actions"'} - {wanted}
    assert not any(other in text for other in others)


@styles
def test_plans_say_how_many_and_how_long(style):
    text = prompts.instructions(style, "Pong", NAMES, answer="plans", num_plans=7, plan_horizon=13)
    assert "7 different plans" in text and "13 actions" in text
    with pytest.raises(ConfigError, match="plan_horizon"):
        prompts.instructions(style, "Pong", NAMES, answer="plans", plan_horizon=0)


@styles
def test_prompt_is_the_constant_part_then_the_facts(style):
    actions = list_actions(NAMES, games.game("Pong").controls)
    first = Facts("Pong", 0)
    later = Facts("Pong", 7, "LEFT", -1.0, -3.0)
    constant = prompts.instructions(style, "Pong", NAMES)
    for facts in (first, later):
        prompt = prompts.render_prompt(style, facts.to_text(), actions)
        assert prompt.startswith(constant)
        assert Facts.from_text(prompt) == facts
        assert len(prompt) - prompt.index(facts.to_text()) < 250


@styles
def test_version_is_a_number(style):
    assert prompts.prompt_version(style) >= 1


@styles
@given(
    game=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    names=st.lists(st.from_regex(r"\S{1,12}", fullmatch=True), min_size=1, max_size=20),
)
def test_somebodys_own_game_gets_a_sound_prompt(style, game, names):
    game = game.replace("\n", " ")
    prompt = prompts.render_prompt(style, Facts(game).to_text(), list_actions(names))
    assert game in prompt and all(f"{i}: {name}" in prompt for i, name in enumerate(names))


@pytest.mark.parametrize("style", ["", "Basic", "chain", None, 3, ["cot"]])
def test_unknown_style_is_refused(style):
    facts, actions = Facts("Pong").to_text(), list_actions(NAMES)
    for ask in (
        lambda: prompts.instructions(style, "Pong", NAMES),
        lambda: prompts.render_prompt(style, facts, actions),
    ):
        with pytest.raises(UnknownNameError, match="basic, cot, expert"):
            ask()
    with pytest.raises(UnknownNameError):
        prompts.prompt_version(style)


def test_unknown_answer_is_refused():
    with pytest.raises(UnknownNameError, match="choice, json, plans, text"):
        prompts.instructions("cot", "Pong", NAMES, answer="xml")


def test_what_is_no_observation_is_refused():
    with pytest.raises(ConfigError, match="has no line"):
        prompts.render_prompt("cot", "no facts here", list_actions(NAMES))
    with pytest.raises(ConfigError, match="numbered list"):
        prompts.render_prompt("cot", Facts("Pong").to_text(), "NOOP, FIRE")
    with pytest.raises(ConfigError):
        prompts.instructions("cot", "Pong", [])
