import time

import pytest
from agent_fakes import NAMES, SayingVLM, see
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atari_vlm import prompts
from atari_vlm.agents import VLMAgent
from atari_vlm.agents.parse import Answer, Problem, parse_action, parse_reply, without_echo
from atari_vlm.agents.thoughts import split_thinking
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.types import Reply, Source

LADDER = [
    # rung 1: JSON
    ('{"reasoning": "ball", "action": "LEFT"}', "LEFT", "json"),
    ('{"action": "left"}', "LEFT", "json"),
    ('{"Action": 3}', "RIGHT", "json"),
    ('{"action": "3"}', "RIGHT", "json"),
    ('{"action": 3.0}', "RIGHT", "json"),
    (
        'Sure!\n```json\n{"reasoning": "go", "action": "UPRIGHTFIRE"}\n```\nGood luck!',
        "UPRIGHTFIRE",
        "json",
    ),
    ('I think {so}. {"action": "UP"} is it', "UP", "json"),
    ('{"answer": {"action": "UP"}}', "UP", "json"),
    ('[{"action": "UP"}]', "UP", "json"),
    ('{"action": "LEFT", "others": [{"action": "RIGHT"}]}', "LEFT", "json"),
    ('{"action": "LEFT"} no: {"action": "DOWN"}', "DOWN", "json"),
    ('{"action": "LEFT"}\nACTION: RIGHT', "LEFT", "json"),
    ("{'reasoning': 'python dict', 'action': 'LEFT'}", "LEFT", "json"),
    ('{"reasoning": "two\nlines", "action": "LEFT"', "LEFT", "json"),
    ('{"reasoning": "say \\"action\\": \\"UP\\" now", "action": "LEFT"}', "LEFT", "json"),
    ('{"reasoning": "<short>", "action": "<NAME>"}\nACTION: LEFT', "LEFT", "tag"),
    # rung 2: the tag
    ("ACTION: LEFT", "LEFT", "tag"),
    ("1. Observe: 3 balls\n2. Decide\nACTION: LEFT", "LEFT", "tag"),
    ("ACTION: LEFT\nno wait\nACTION: RIGHT", "RIGHT", "tag"),
    ("ACTION: LEFT ACTION: UP", "UP", "tag"),
    ("**Action:** up right fire.", "UPRIGHTFIRE", "tag"),
    ("**ACTION: `UPRIGHT`**", "UPRIGHT", "tag"),
    ("- Final action = DOWN", "DOWN", "tag"),
    ("ACTION: 4", "LEFT", "tag"),
    ("ACTION: 4: LEFT", "LEFT", "tag"),
    ("ACTION: LEFT (4)", "LEFT", "tag"),
    ("ACTION: 4: LEFT (move the paddle down)", "LEFT", "tag"),
    ("<answer>ACTION: LEFT</answer>", "LEFT", "tag"),
    ("ACTION: <LEFT>", "LEFT", "tag"),
    ("ACTION:\n\nLEFT", "LEFT", "tag"),
    ("ACTION: LEFT because the right wall is far", "LEFT", "tag"),
    ("ACTION: UPRIGHTFIRE, now", "UPRIGHTFIRE", "tag"),
    ("ACTION: fire and right", "RIGHTFIRE", "tag"),
    ("ACTION: move left", "LEFT", "tag"),
    ("ACTION: do nothing", "NOOP", "tag"),
    ("ACTION: no-op", "NOOP", "tag"),
    ("<think>ACTION: UP</think>\nACTION: LEFT", "LEFT", "tag"),
    ("the prompt opened it ACTION: UP</think>ACTION: LEFT", "LEFT", "tag"),
    # rung 3: the name alone
    ("LEFT", "LEFT", "name"),
    ("The ball falls.\nLEFT.", "LEFT", "name"),
    ("UPRIGHTFIRE", "UPRIGHTFIRE", "name"),
    ("up-right", "UPRIGHT", "name"),
    ("4. Decide: LEFT", "LEFT", "name"),
    ("Answer: 4", "LEFT", "name"),
    ("<answer>LEFT</answer>", "LEFT", "name"),
    ("<|begin_of_box|>LEFT<|end_of_box|>", "LEFT", "name"),
    ("4: LEFT", "LEFT", "name"),
    ("```\nLEFT\n```", "LEFT", "name"),
    ("LEFT (move the paddle down)", "LEFT", "name"),
    # rung 4: the whole reply is an index
    ("4", "LEFT", "index"),
    (" 0\n", "NOOP", "index"),
]

NO_ANSWER = [
    ("", "empty"),
    (" \n\t", "empty"),
    ("<think>ACTION: LEFT", "empty"),
    ("3 lives left", "missing"),
    ("1. Observe ... action 3", "missing"),
    ("I go LEFT or RIGHT", "missing"),
    ("Do not press LEFT", "missing"),
    ("I see the ball.\n3", "missing"),
    ("3.", "missing"),
    ("The options:\n- LEFT\n- RIGHT", "missing"),
    ("0: NOOP\n1: FIRE", "missing"),
    ("Game: Pong\nStep: 3\nLast action: LEFT", "missing"),
    ("ACTION: <NAME>", "missing"),
    ('{"reasoning": "<one short sentence>", "action": "<NAME>"}', "missing"),
    ('{"action": "LE', "missing"),
    ("SUPER LEFTOVER", "missing"),
    ("ACTION: JUMP", "illegal"),
    ("ACTION: 9", "illegal"),
    ("ACTION: -1", "illegal"),
    ("ACTION: LEFT or RIGHT", "illegal"),
    ("ACTION: LEFT, RIGHT", "illegal"),
    ("ACTION: DOWN FIRE", "illegal"),
    ("ACTION: 4 (UP)", "illegal"),
    ("ACTION: UP (4)", "illegal"),
    ("ACTION: JUMP (LEFT)", "illegal"),
    ("Actions:\n3: RIGHT (move up)\n4: LEFT (move down)", "missing"),
    ("ACTION: 3 steps to the left", "illegal"),
    ("ACTION: LEFTOVER", "illegal"),
    ("ACTION: LEFT\nACTION: JUMP", "illegal"),
    ('{"action": "JUMP"}', "illegal"),
    ('{"action": "JUMP"}\nACTION: LEFT', "illegal"),
    ('{"action": true}', "illegal"),
    ('{"action": null}', "illegal"),
    ('{"action": NaN}', "illegal"),
    ('{"action": 1e999}', "illegal"),
    ('{"action": 3.5}', "illegal"),
    ('{"action": ["LEFT", "RIGHT"]}', "illegal"),
    ('{"action": ' + "[" * 400 + "]" * 400 + "}", "illegal"),
]


@pytest.mark.parametrize(("text", "name", "rung"), LADDER)
def test_the_ladder_reads(text, name, rung):
    found = parse_action(text, NAMES)
    assert isinstance(found, Answer), found
    assert (NAMES[found.action], found.rung) == (name, rung)


@pytest.mark.parametrize(("text", "kind"), NO_ANSWER)
def test_the_ladder_refuses(text, kind):
    found = parse_action(text, NAMES)
    assert isinstance(found, Problem), found
    assert found.kind == kind


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_read_in_every_form(name):
    for text in (
        name,
        name.lower(),
        f"ACTION: {name}",
        f'{{"action": "{name}"}}',
        f"so\n**{name}**!",
    ):
        found = parse_action(text, NAMES)
        assert isinstance(found, Answer) and NAMES[found.action] == name, text


def test_directions_are_not_guessed():
    pong = (
        "NOOP",
        "FIRE",
        "RIGHT",
        "LEFT",
        "RIGHTFIRE",
        "LEFTFIRE",
    )  # here RIGHT moves the paddle up
    assert isinstance(parse_action("ACTION: move up", pong), Problem)
    assert parse_action("ACTION: fire left", pong).action == 5


def test_names_of_other_environments():
    names = ("turn_left", "turn_right", "1", "go")
    assert parse_action("ACTION: turn left", names).action == 0
    assert parse_action("ACTION: 1", names).action == 2  # a name comes before an index
    assert isinstance(parse_action("ACTION: a b", ("a_b", "ab")), Problem)  # fits two names


def test_reasoning_is_what_came_before_the_answer():
    assert parse_action("The ball falls.\nACTION: LEFT", NAMES).reasoning == "The ball falls."
    assert parse_action('{"reasoning": "falls", "action": "LEFT"}', NAMES).reasoning == "falls"
    assert parse_action("<think>it falls</think>ACTION: LEFT", NAMES).reasoning == "it falls"


def test_thinking_is_taken_out():
    assert split_thinking("a<think>b</think>c") == ("b", "ac")
    assert split_thinking("a</think>c") == ("a", "c")
    assert split_thinking("a<think>b") == ("b", "a")
    assert split_thinking("◁think▷b◁/think▷c[THINK]d[/THINK]") == ("bd", "c")
    assert split_thinking("<THINKING>b</THINKING>c") == ("b", "c")


@pytest.mark.parametrize("style", prompts.PROMPT_STYLES)
@pytest.mark.parametrize("form", ["text", "json", "choice"])
def test_the_prompts_echo_is_no_answer(style, form):
    facts = see(3)["text"]
    prompt = prompts.instructions(style, "Pong", NAMES, answer=form) + "\n" + facts
    assert isinstance(parse_action(prompt, NAMES, prompt=prompt), Problem)
    for lines in range(1, len(prompt.splitlines())):
        start = "\n".join(prompt.splitlines()[:lines])
        assert isinstance(parse_action(start, NAMES, prompt=prompt), Problem), start
    echoed = parse_action(prompt + "\nThe ball falls.\nACTION: LEFT", NAMES, prompt=prompt)
    assert (NAMES[echoed.action], echoed.reasoning) == ("LEFT", "The ball falls.")


def test_a_long_line_of_the_prompt_alone_is_an_echo():
    line = "For example, end with ACTION: LEFT"
    assert parse_action(line, NAMES).action == 4
    assert parse_action(line, NAMES, prompt=f"Play.\n{line}").kind == "empty"
    agent = VLMAgent(SayingVLM(line, "ACTION: UP"))
    assert agent.select_action(see(), prompt=f"Play.\n{line}") == 2


def test_an_answer_that_agrees_with_an_example_is_no_echo():
    prompt = "Choose.\nACTION: LEFT"
    assert without_echo("I agree.\nACTION: LEFT", prompt) == "I agree.\nACTION: LEFT"
    assert parse_action("ACTION: LEFT", NAMES, prompt=prompt).action == 4


def test_refused_and_cut_replies():
    assert parse_reply(Reply("ACTION: LEFT", "m", "refusal"), NAMES).kind == "refused"
    assert parse_reply(Reply("ACTION: LEFT", "m", "filter"), NAMES).kind == "refused"
    assert (
        parse_reply(Reply("so\nACTION: RIGHT", "m", "length"), NAMES).kind == "cut"
    )  # was to be RIGHTFIRE, perhaps
    assert parse_reply(Reply('{"action": 1', "m", "length"), NAMES).kind == "cut"
    assert parse_reply(Reply('{"action": "LEFT"} and so', "m", "length"), NAMES).action == 4
    assert parse_reply(Reply("ACTION: LEFT\nbecause", "m", "length"), NAMES).action == 4


NONSENSE = [
    "{",
    '{"a":',
    "<think>",
    "</think>",
    "ACTION: ",
    "ACTION:\n",
    "ACTION: <",
    "\n",
    " ",
    "\\",
    '"action": "',
    "[",
    "*",
    "(3",
]


@pytest.mark.parametrize("start", ["", "ACTION: 3 a", '{"action": "1 a'])
@pytest.mark.parametrize("piece", [*NONSENSE, '{"action":1}', "a ", "- "])
def test_long_nonsense_is_read_quickly(start, piece):
    text = start + piece * (100_000 // len(piece)) + "!b"
    before = time.process_time()
    for prompt in ("", text):
        parse_action(text, NAMES, prompt=prompt)
    assert time.process_time() - before < 2.0


PIECES = """ACTION: action Action= {"action": " ' { } [ ] : , <think> </think> ```json ** <NAME> LEFT upright FIRE or JUMP 3 99
-1 1e999 null true Answer: ( ) ◁think▷ plans \ud800"""
FRAGMENTS = st.sampled_from([" ", "\n", *PIECES.split()])
WILD = st.one_of(
    st.text(max_size=80),
    st.lists(FRAGMENTS, max_size=14).map("".join),
    st.lists(FRAGMENTS, max_size=9).map(" ".join),
)
REPLIES = st.builds(
    Reply, WILD, st.just("saying"), st.sampled_from(["stop", "stop", "length", "refusal", "filter"])
)
FUZZ = settings(
    max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@FUZZ
@given(first=REPLIES, second=REPLIES, fallback=st.sampled_from(["noop", "repeat", "random"]))
def test_any_reply_becomes_a_legal_action(first, second, fallback):
    decision = VLMAgent(SayingVLM(first, second), options=VLMAgentOptions(fallback=fallback)).act(
        see()
    )
    assert 0 <= decision.action < len(NAMES)
    assert decision.replies == (first, second)[: len(decision.replies)]
    if decision.source is Source.MODEL:
        assert decision.proposal.actions == (decision.action,)
        assert decision.proposal.reply is decision.replies[-1]
        assert decision.proposal.reply.finish_reason in ("stop", "length")
        assert len(decision.problems) == len(decision.replies) - 1
    else:
        assert decision.source is Source.FALLBACK
        assert decision.proposal is None
        assert len(decision.problems) == len(decision.replies) == 2


PROSE = st.text("abcdefghij klmno.,0123456789\n", max_size=60).map(
    lambda text: "so " + text + " it is"
)
FORMS = st.sampled_from(  # (the end of a reply, whether it is an answer)
    [
        ("ACTION: {}", True),
        ("**Action:** {}.", True),
        ('{{"reasoning": "r", "action": "{}"}}', True),
        ("```json\n{{'action': '{}'}}\n```", True),
        ("{}", True),
        ("I like {}, 3 times", False),
        ("ACTION: {}LY", False),
        ("ACTION: <NAME>", False),
        ('{{"action": "NOT {}"}}', False),
        ("- {}", False),
        ("ACTION: {} or NOOP LEFT", False),
    ]
)
HIDDEN = st.sampled_from(
    ["", "<think>ACTION: FIRE</think>\n", "hmm ACTION: FIRE</think>\n", "Last action: FIRE\n"]
)


@FUZZ
@given(hidden=HIDDEN, prose=PROSE, form=FORMS, name=st.sampled_from(NAMES))
def test_a_reply_of_known_meaning_gets_that_meaning(hidden, prose, form, name):
    end, is_answer = form
    decision = VLMAgent(SayingVLM(f"{hidden}{prose}\n{end.format(name)}")).act(see())
    if is_answer:
        assert (NAMES[decision.action], decision.source, decision.problems) == (
            name,
            Source.MODEL,
            (),
        )
    else:
        assert (decision.action, decision.source, len(decision.problems)) == (0, Source.FALLBACK, 2)
