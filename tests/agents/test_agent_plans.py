import pytest
from agent_fakes import NAMES
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.agents.plans import Plans, parse_plans, plans_of, repair_plans
from atari_vlm.types import Reply

GOOD = '{"reasoning": "r", "plans": [{"actions": ["LEFT", "FIRE"]}, {"actions": ["UP", 0]}]}'


def test_good_plans():
    assert parse_plans(GOOD, NAMES, 2, 2) == Plans(((4, 1), (2, 0)), "r", ())
    assert parse_plans(f"<think>{{}}</think>Here:\n```json\n{GOOD}\n```", NAMES, 2, 2).plans == (
        (4, 1),
        (2, 0),
    )
    assert parse_plans('{"plans": [["left", "up right fire"]]}', NAMES, 1, 2).plans == ((4, 8),)


@pytest.mark.parametrize(
    ("text", "plans", "problem"),
    [
        ("ACTION: LEFT", (), "no JSON object"),
        ('{"plans": "LEFT"}', (), "not a list"),
        ('{"plans": []}', (), "2 plans were asked for, not 0"),
        ('{"plans": [["LEFT", "UP"]]}', ((4, 2),), "2 plans were asked for, not 1"),
        ('{"plans": [["LEFT"], ["UP", "UP"]]}', ((4,), (2, 2)), "plan 1 has 1 actions, not 2"),
        (
            '{"plans": [["UP", "UP"], ["UP", "UP", "UP"]]}',
            ((2, 2), (2, 2, 2)),
            "plan 2 has 3 actions, not 2",
        ),
        (
            '{"plans": [["UP", "JUMP"], ["UP", "UP"]]}',
            ((2,), (2, 2)),
            "plan 1: 'JUMP' is not one of the legal actions",
        ),
        ('{"plans": [{"moves": []}, ["UP", "UP"]]}', ((), (2, 2)), "plan 1 has no list of actions"),
        (
            '{"plans": [[{}, 1], ["UP", "UP"]]}',
            ((), (2, 2)),
            "plan 1: a dict is not one of the legal actions",
        ),
    ],
)
def test_problems_are_told(text, plans, problem):
    found = parse_plans(text, NAMES, 2, 2)
    assert found.plans == plans
    assert problem in " ".join(found.problems)


def test_refused_and_empty_replies_hold_no_plans_and_say_why():
    for finish in ("refusal", "filter"):
        assert plans_of(Reply(GOOD, "m", finish), NAMES, 2, 2) == Plans(
            (), "", ("the request was refused",)
        )
    note = "the server put the text into reasoning_content"
    assert note in plans_of(Reply("", "m", note=note), NAMES, 2, 2).problems
    assert plans_of(Reply(GOOD, "m", "length"), NAMES, 2, 2).problems == ()


def test_repair_cuts_fills_and_drops_but_invents_nothing():
    plans = Plans(((4,), (2, 2, 2), (), (4, 0), (3, 3)))
    assert repair_plans(plans, 3, 2) == ((4, 0), (2, 2), (3, 3))
    assert repair_plans(plans, 2, 3, fill=1) == ((4, 1, 1), (2, 2, 2))
    assert repair_plans(Plans(()), 3, 2) == ()


LEAF = st.one_of(
    st.sampled_from([*NAMES, "JUMP"]),
    st.integers(-2, 20),
    st.none(),
    st.floats(),
    st.text(max_size=5),
)
JSONISH = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["actions", "plans"]), inner)
    ),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(content=JSONISH, cut=st.integers(0, 200))
def test_never_an_exception_and_repaired_plans_are_whole(content, cut):
    import json

    text = json.dumps({"reasoning": 1, "plans": content})
    for reply in (text, text[:cut]):
        found = parse_plans(reply, NAMES, 2, 3)
        whole = repair_plans(found, 2, 3)
        assert all(len(plan) == 3 and set(plan) <= set(range(len(NAMES))) for plan in whole)
        assert found.problems or (found.plans and all(len(plan) == 3 for plan in found.plans))
