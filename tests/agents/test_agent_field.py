"""Replies as models really give them: thoughts in every family's marks, answers taken back, other scripts and typography.

The rows of ``data/field/replies.json`` come from public reports of people who let VLMs play; the lists here are their neighbours.
"""

import json
import time
from pathlib import Path

import pytest
from agent_fakes import SayingVLM, see
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.agents import VLMAgent
from atari_vlm.agents.parse import Answer, Problem, parse_action
from atari_vlm.agents.plans import parse_plans
from atari_vlm.agents.thoughts import LONGEST_REPLY, split_thinking
from atari_vlm.types import Reply, Source

PONG = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
ALL = (
    "NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "UPLEFT", "DOWNRIGHT", "DOWNLEFT", "UPFIRE", "RIGHTFIRE",
    "LEFTFIRE", "DOWNFIRE", "UPRIGHTFIRE", "UPLEFTFIRE", "DOWNRIGHTFIRE", "DOWNLEFTFIRE",
)  # fmt: skip
FIELD = json.loads(
    (Path(__file__).parents[1] / "data" / "field" / "replies.json").read_text(encoding="utf-8")
)["replies"]


@pytest.mark.parametrize("row", FIELD, ids=lambda row: row["text"][:40])
def test_field_replies_mean_what_they_say(row):
    names = PONG if row["actions"] == "Pong" else ALL
    for finish in row["finish_reason"]:
        decision = VLMAgent(SayingVLM(Reply(row["text"], "m", finish))).act(see(names=names))
        played = names[decision.action] if decision.source is Source.MODEL else None
        assert played in row["right"], (finish, decision.problems)
        assert len(decision.replies) == (1 if played else 2), "what is no answer is asked for again"


THOUGHTS = [  # (reply, what may be played)
    ("<|begin_of_thought|>ACTION: LEFT<|end_of_thought|>\nACTION: RIGHT", "RIGHT"),
    (
        "<|START_THINKING|>ACTION: LEFT<|END_THINKING|><|START_RESPONSE|>RIGHT<|END_RESPONSE|>",
        "RIGHT",
    ),
    (
        "<|channel|>analysis<|message|>ACTION: LEFT<|end|><|start|>assistant<|channel|>final<|message|>ACTION: RIGHT",
        "RIGHT",
    ),
    ("<|channel|>commentary<|message|>ACTION: LEFT", None),
    ("analysisThe ball is high. ACTION: LEFT\nassistantfinalACTION: RIGHT", "RIGHT"),
    ("analysisThe ball is high.\nACTION: LEFT", None),
    ("<|channel>thought\nACTION: LEFT<channel|>ACTION: RIGHT", "RIGHT"),
    ("<unused94>thought\nACTION: LEFT<unused95>ACTION: RIGHT", "RIGHT"),
    ("<scratchpad>ACTION: LEFT</scratchpad>ACTION: RIGHT", "RIGHT"),
    ("<inner_monologue>ACTION: LEFT", None),
    ("<thinking>ACTION: LEFT</thinking>\nRIGHT", "RIGHT"),
    ('<thinking type="deep">ACTION: LEFT</thinking>\nRIGHT', "RIGHT"),
    ('<reflection>{"action": "LEFT"}</reflection>', None),
    ("<｜begin▁of▁thinking｜>ACTION: LEFT\nhm", None),
    ('<longcat_think>ACTION: LEFT</longcat_think>{"action": "RIGHT"}', "RIGHT"),
    ("<analysis>a <reasoning>b</reasoning> ACTION: LEFT\nand", None),
    ("<think><think>ACTION: LEFT</think>ACTION: RIGHT", "RIGHT"),
    ("ACTION: LEFT</reasoning>ACTION: RIGHT", "RIGHT"),
    ("```thinking\nACTION: LEFT\n```\nACTION: RIGHT", "RIGHT"),
    ('<details type="reasoning"><summary>x</summary>ACTION: LEFT</details>RIGHT', "RIGHT"),
    ("<!-- ACTION: LEFT -->\nRIGHT", "RIGHT"),
    ("<think/>ACTION: RIGHT", "RIGHT"),
    ("[REASONING]ACTION: LEFT[/REASONING]ACTION: RIGHT", "RIGHT"),
]
TAKEN_BACK = [
    "ACTION: LEFT isn't possible",
    "ACTION: LEFT, no, RIGHT",
    "ACTION: LEFT (no, RIGHT)",
    "ACTION: LEFT would miss the ball",
    "ACTION: RIGHT or maybe LEFT",
    "ACTION: LEFT - wait, RIGHT",
    "ACTION: LEFT, but RIGHT is better",
    "FIRE？",
    "ACTION: LEFT?!",
    "ACTION: LEFT\nWait, no.",
    "ACTION: LEFT\nActually, the ball rises.",
    '{"action": "RIGHT is wrong"}',
    '{"action": "not LEFT"}',
    '{"action": "LEFT, then RIGHT"}',
    '[{"action": "LEFT"}, {"action": "RIGHT"}]',
    '{"plan": [{"action": "LEFT"}, {"action": "RIGHT"}',
    "{'plan': [{'action': 'LEFT'}, {'action': 'RIGHT'}]}",
    '{"action": ["LEFT", "RIGHT"]}',
    "ACTION: RIGHT 不对",
    "ACTION: LEFT ist falsch",
    "ACTION: LEFT (wrong)",
    "ACTION: LEFT (not needed)",
    "I will press FIRE? Or not.",
    "ACTION: LEFT, hmm, RIGHT",
]
KEPT = [  # (answer, what it is)
    ("LEFT, the ball falls", None),
    ("ACTION: LEFT, the ball falls", "LEFT"),
    ("ACTION: LEFT (not RIGHT)", "LEFT"),
    ("ACTION: LEFT because RIGHT is blocked", "LEFT"),
    ("ACTION: LEFT instead of RIGHT", "LEFT"),
    ("ACTION: LEFT, not RIGHT", "LEFT"),
    ("ACTION: LEFT is better than RIGHT", "LEFT"),
    ("ACTION: LEFT because the ball is not on the right", "LEFT"),
    ("ACTION: LEFT to avoid a miss", "LEFT"),
    ("ACTION: LEFT. The ball is not far", "LEFT"),
    ("ACTION: LEFT!", "LEFT"),
    ('{"action": "LEFT (not RIGHT)"}', "LEFT"),
    ("no wait\nACTION: RIGHT", "RIGHT"),
    ("ACTION: LEFT\nThe ball falls.", "LEFT"),
]
OTHERWISE = [
    ("アクション：ＬＥＦＴ", "LEFT"),
    ("действие: LEFT", "LEFT"),
    ("ACTION : ‘RIGHT’", "RIGHT"),
    ("ACTION ⇒ RIGHT", "RIGHT"),
    ("ACTION — RIGHT", "RIGHT"),
    ("ACTION => RIGHT", "RIGHT"),
    ("ACTION: 【RIGHT】", "RIGHT"),
    ("ACTION: «RIGHT»", "RIGHT"),
    ("So the answer is \\boxed{\\text{RIGHT}}.", "RIGHT"),
    ("$\\boxed{RIGHT}$", "RIGHT"),
    ("<move>RIGHT</move>\nDone.", "RIGHT"),
    ("<answer>RIGHT</answer>\nThat is all.", "RIGHT"),
    ("ＲＩＧＨＴ", "RIGHT"),
    ("ACTION: RI\u200bGHT", "RIGHT"),
    ("{“reasoning”: “so”, “action”: “RIGHT”}", "RIGHT"),
    ('{"action": "RIGHT",}', "RIGHT"),
    ('{action: "RIGHT"}', "RIGHT"),
    ("{'action': RIGHT}", "RIGHT"),
    ('{"action": {"value": "RIGHT"}}', "RIGHT"),
    ('{"action": [{"name": "RIGHT"}]}', "RIGHT"),
    ('{"action": "Actions.RIGHT"}', "RIGHT"),
    ('{"action": "ACTION_RIGHT"}', "RIGHT"),
    ('{"decision": "RIGHT"}', "RIGHT"),
    ('{"next_action": 2}', "RIGHT"),
    ("ACTION: please press FIRE now", "FIRE"),
    ("ACTION: turn to the left side", "LEFT"),
    ("ACTION: FIRE & LEFT", "LEFTFIRE"),
    ("ACTION: fire&left", "LEFTFIRE"),
    ("ACTION: ⬅️ LEFT", "LEFT"),
    ("ACTION: LEFT ✅", "LEFT"),
    ("LEFT\n---", "LEFT"),
    ("ACTION: **LEFT** 👍", "LEFT"),
]
PLAIN = [  # what models say when they mean LEFT
    "ACTION: LEFT - the ball is moving down, so I need to move the paddle down.",
    "ACTION: LEFT - the ball is not yet close but coming.",
    "ACTION: LEFT (the paddle must go down; there is no time)",
    "ACTION: LEFT. This moves the paddle down towards the ball, which is too low.",
    "ACTION: LEFT, since the ball is below the paddle and the opponent can't reach it.",
    "ACTION: LEFT (index 3)",
    "ACTION: 3 (LEFT)",
    "ACTION: 3 - LEFT",
    "ACTION: LEFT // move down",
    "ACTION: LEFT # down",
    "ACTION: LEFT [down]",
    "**ACTION: LEFT** (moving down to intercept)",
    "ACTION: LEFT\n\nReason: the ball is falling and I don't want to miss it.",
    "ACTION: LEFT\nNo further comment.",
    "ACTION: LEFT\nNote: RIGHT would be wrong.",
    "Final action: LEFT",
    "My action: LEFT",
    "### ACTION: LEFT",
    "> ACTION: LEFT",
    "`ACTION: LEFT`",
    "ACTION: `LEFT`.",
    "Action: Left (move paddle down)",
    "The ball is at (80, 120).\n\nACTION: LEFT",
    '{"reasoning": "The ball is below. Not RIGHT because that moves up.", "action": "LEFT"}',
    '```json\n{\n  "reasoning": "down",\n  "action": "LEFT"\n}\n```',
    '{"reasoning": "is RIGHT better? no", "action": "LEFT"}',
    '{"action": "LEFT", "confidence": 0.8}',
    '{"action": {"name": "LEFT", "index": 3}}',
    '{"actions": ["LEFT"]}',
    '{"response": {"action": "LEFT"}}',
    "The best move is LEFT.",
    "So I'll choose LEFT.",
    "Decision: LEFT",
    "I'll go LEFT.",
    "Let me press LEFT now.",
    "I should move LEFT.",
    "We need to move LEFT.",
    "Therefore, I will move the paddle LEFT.",
    "I will choose the action LEFT.",
    "Based on this, I choose: LEFT",
    "The answer is LEFT.",
    "**LEFT**",
    "LEFT.",
    "Answer: **LEFT**",
    "My choice: LEFT",
    "Action → LEFT",
    "Action to take: LEFT",
    "Next action: LEFT",
    "Recommended action: LEFT",
    "Selected action: LEFT",
    "The action is: LEFT",
    "ACTION:LEFT",
    "ACTION : LEFT",
    "ACTION=LEFT",
    "ACTION: 'LEFT'",
    'ACTION: "LEFT"',
    "ACTION: [LEFT]",
    "[ACTION: LEFT]",
    "<ACTION>LEFT</ACTION>",
    "<action>3</action>",
    "ACTION: move_left",
    "ACTION: Move left",
    "ACTION: move the paddle left",
    "ACTION: press left",
    "ACTION: go left!",
    "ACTION: LEFT arrow",
]
DOUBTED = [
    "ACTION: RIGHT\nHmm, wait. LEFT is better.",
    "ACTION: not RIGHT",
    "ACTION: RIGHT → LEFT",
    "ACTION: RIGHT/LEFT",
    "ACTION: RIGHT | LEFT",
    "ACTION: RIGHT; LEFT",
    "ACTION: either RIGHT or LEFT",
    "ACTION: RIGHT, although LEFT",
    "ACTION: RIGHT but not now",
    "I decide against LEFT.",
    "I move on.",
    "I choose neither LEFT nor RIGHT.",
    "It isn't clear; I choose LEFT maybe.",
    "ACTION: ~~RIGHT~~ LEFT",
    "ACTION: RIGHT~~",
    "ACTION: RIGHT (scratch that) LEFT",
    '{"action": "RIGHT", "action": "LEFT"}',
    '{"action": "RIGHT/LEFT"}',
    "ACTION: no RIGHT",
    "ACTION: avoid RIGHT",
    "ACTION: anything but RIGHT",
]
SENTENCES = [
    ("The ball falls, so I will press FIRE.", "FIRE"),
    ("I choose LEFT.", "LEFT"),
    ("It is near.\nThe best action is RIGHT.", "RIGHT"),
    ("Therefore, move LEFT to meet it.", "LEFT"),
    ("Let's press FIRE!", "FIRE"),
    ("I'll move to the right.", "RIGHT"),
    ("I choose LEFT or RIGHT.", None),
    ("I will not press FIRE.", None),
    ("Should I press FIRE?", None),
    ("I saw LEFT before.", None),
    ("The opponent will move LEFT.", None),
    ("The last action is LEFT.", None),
    ("I would choose LEFT.", None),
    ("I like LEFT.", None),
    ("I choose LEFT. The ball falls.", None),
    ("If it rises, I press FIRE.", None),
    ("I choose the right moment.", None),
    ("- I choose LEFT.", None),
    ("I press UP.", None),
    ("I choose LEFT, since going right is late.", None),
]


def played(text, names=PONG, **more):
    answer = parse_action(text, names, **more)
    return names[answer.action] if isinstance(answer, Answer) else None


@pytest.mark.parametrize(("text", "name"), THOUGHTS)
@pytest.mark.parametrize("cut", [False, True])
def test_no_action_is_taken_from_a_thought(text, name, cut):
    assert played(text, cut=cut) in ((name,) if not cut else (name, None))
    assert (
        parse_plans(text.replace('"action": "LEFT"', '"plans": [["LEFT"]]'), PONG, 1, 1).plans == ()
    )


@pytest.mark.parametrize("text", [*TAKEN_BACK, *DOUBTED])
def test_what_is_taken_back_is_asked_for_again(text):
    assert isinstance(parse_action(text, PONG), Problem)


@pytest.mark.parametrize("text", PLAIN)
def test_what_works_goes_on_to_work(text):
    assert played(text) == "LEFT"


@pytest.mark.parametrize(("text", "name"), [*KEPT, *OTHERWISE, *SENTENCES])
def test_answers_and_no_answers(text, name):
    assert played(text) == name


def test_a_decision_in_a_sentence_of_a_cut_reply_is_not_trusted():
    assert played("Well.\nI choose LEFT.\nBut", cut=True) is None


def test_the_reasoning_of_a_sentence_is_what_stands_before_it():
    answer = parse_action("The ball falls. So I press FIRE.", PONG)
    assert (answer.rung, answer.reasoning) == ("sentence", "The ball falls.")


def test_plans_with_typographic_quotes_and_objects():
    assert parse_plans("{“plans”: [[“LEFT”, {“action”: “FIRE”}]]}", PONG, 1, 2).plans == ((3, 1),)
    assert "'FIRE?'" in parse_plans('{"plans": [["LEFT", "FIRE?"]]}', PONG, 1, 2).problems[0]


@pytest.mark.parametrize(
    "piece",
    ["a</think>", "<think>a</think>", "<|channel|>x", "<a", "[THINK]", "```thinking\n", "<!--x-->"],
)
def test_long_replies_are_read_in_linear_time_and_too_long_ones_not_at_all(piece):
    before = time.process_time()
    short, long = piece * (LONGEST_REPLY // len(piece) - 9), piece * 1_600_000
    assert isinstance(parse_action(short + "\nACTION: x", PONG), Problem)
    assert parse_action(long + "\nACTION: LEFT", PONG).text.startswith("the reply is far too long")
    assert split_thinking(long)[1] == "" and parse_plans(long, PONG, 1, 1).plans == ()
    assert time.process_time() - before < 5.0


NAMED = st.sampled_from(
    [
        "think",
        "thinking",
        "thought",
        "reasoning",
        "analysis",
        "reflection",
        "scratchpad",
        "inner_thoughts",
        "x:think",
    ]
)
SHAPES = st.sampled_from(
    [
        ("<{}>", "</{}>"),
        ("<|{}|>", "<|/{}|>"),
        ("<|begin_of_{}|>", "<|end_of_{}|>"),
        ("[{}]", "[/{}]"),
        ("◁{}▷", "◁/{}▷"),
    ]
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(name=NAMED, shape=SHAPES, closed=st.booleans(), cut=st.booleans(), upper=st.booleans())
def test_thoughts_in_any_mark_are_thoughts(name, shape, closed, cut, upper):
    name = name.upper() if upper else name
    opening, closing = (mark.format(name) for mark in shape)
    inside = f'{opening}\nACTION: LEFT\n{{"action": "LEFT"}} or so\n'
    assert played(inside + (f"{closing}\nACTION: RIGHT\nDone." if closed else ""), cut=cut) == (
        "RIGHT" if closed else None
    )
