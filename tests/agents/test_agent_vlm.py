import itertools

import numpy as np
import pytest
from agent_fakes import NAMES, SayingVLM, see

from atari_vlm import prompts
from atari_vlm.agents import VLMAgent
from atari_vlm.agents.base import Agent
from atari_vlm.agents.plan_request import PlanRequest
from atari_vlm.agents.vlm_agent import VLMAgentOptions, answer_schema
from atari_vlm.agents.vlm_planners import VLMPriorMCTSAgent
from atari_vlm.errors import (
    AuthenticationError,
    BudgetExhaustedError,
    ConfigError,
    MismatchError,
    NotSupportedError,
    UnavailableError,
    UnknownNameError,
    VLMError,
)
from atari_vlm.types import Decision, Reply, Source, Transition
from atari_vlm.vlm.base import Sampling
from atari_vlm.world_models import CatchWorldModel

SCORES = [-3.0, -0.5, -2.0, -4.0, -5.0, -6.0, -7.0, -8.0, -9.0]


def agent_of(*replies, capabilities=(), scores=None, prompt_type="cot", **options):
    vlm = SayingVLM(*replies, capabilities=capabilities, scores=scores)
    return VLMAgent(vlm, prompt_type=prompt_type, options=VLMAgentOptions(**options)), vlm


def test_it_is_an_agent():
    assert isinstance(agent_of("UP")[0], Agent)


def test_a_decision_holds_all_that_led_to_it():
    agent, vlm = agent_of("hm", "It falls.\nACTION: LEFT")
    decision = agent.act(see())
    assert (decision.action, decision.source) == (4, Source.MODEL)
    assert [reply.text for reply in decision.replies] == ["hm", "It falls.\nACTION: LEFT"]
    assert decision.problems == (
        "missing: the reply names no action in the form that was asked for",
    )
    assert decision.proposal.reasoning == "It falls."
    assert decision.details == {"answer": "text", "rung": "tag"}
    first, second = vlm.requests
    assert second[0][: len(first[0])] == first[0]
    assert [m.role for m in second[0][len(first[0]) :]] == ["assistant", "user"]
    assert second[0][-2].text == "hm"
    assert "names no action" in second[0][-1].text and ", ".join(NAMES) in second[0][-1].text


@pytest.mark.parametrize("max_reasks", [0, 1, 3])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("what", "missing"),
        ("", "empty"),
        (Reply("no", "m", "refusal"), "refused"),
        (Reply("", "m", "filter"), "refused"),
        (Reply("ACTION: LEFT", "m", "length"), "cut"),
        ("ACTION: JUMP", "illegal"),
    ],
)
def test_the_number_of_reasks_and_the_counted_fallback(max_reasks, reply, kind):
    agent, vlm = agent_of(reply, max_reasks=max_reasks)
    decision = agent.act(see())
    assert len(vlm.requests) == len(decision.replies) == len(decision.problems) == max_reasks + 1
    assert all(problem.startswith(kind) for problem in decision.problems)
    assert (decision.action, decision.source, decision.proposal) == (0, Source.FALLBACK, None)
    for (
        request,
        _,
    ) in vlm.requests:  # vendors refuse empty messages and local templates two user turns in a row
        assert all(m.text for m in request)
        assert all(a.role != b.role for a, b in itertools.pairwise(request))


def test_the_fallbacks():
    for fallback, expected in [("noop", 0), ("repeat", 4)]:
        agent, _ = agent_of("LEFT", "?", fallback=fallback)
        agent.act(see())
        assert agent.act(see(1)).action == expected
    assert agent_of("?", fallback="repeat")[0].act(see()).action == 0
    agent, _ = agent_of("?", fallback="raise")
    with pytest.raises(VLMError, match="no usable answer in 2 replies: missing"):
        agent.act(see())
    without_noop, _ = agent_of("?")
    assert without_noop.act(see(names=("LEFT", "RIGHT"))).action == 0


def test_the_random_fallback_is_seeded_and_uniform_over_the_legal_actions():
    def actions(seed):
        agent, _ = agent_of("?", fallback="random", max_reasks=0)
        agent.reset(seed=seed)
        return [agent.act(see(step)).action for step in range(300)]

    assert actions(3) == actions(3) != actions(4)
    assert set(actions(3)) == set(range(len(NAMES)))


@pytest.mark.parametrize(
    "error", [AuthenticationError("401"), UnavailableError("down"), BudgetExhaustedError("spent")]
)
def test_a_vlm_that_cannot_be_asked_raises(error):
    agent, _ = agent_of(error)
    with pytest.raises(type(error)):
        agent.act(see())


@pytest.mark.parametrize(
    ("capabilities", "mode"),
    [
        ((), "text"),
        (("schema",), "json"),
        (("choices",), "choice"),
        (("choices", "scores"), "scores"),
        (("scores",), "scores"),
        (("schema", "scores"), "json"),
    ],
)
def test_auto_takes_the_best_constraint(capabilities, mode):
    assert agent_of("UP", capabilities=capabilities, scores=SCORES)[0].answer == mode


@pytest.mark.parametrize("style", prompts.PROMPT_STYLES)
def test_each_mode_asks_for_its_form_and_constrains_it(style):
    for mode, form in [("text", "text"), ("json", "json"), ("choice", "choice")]:
        agent, vlm = agent_of("UP", prompt_type=style, answer=mode, max_tokens=99)
        assert agent.act(see()).action == 2
        messages, sampling = vlm.requests[0]
        assert messages[0].text == prompts.instructions(style, "Pong", NAMES, answer=form)
        assert sampling == Sampling(
            max_tokens=99,
            schema=answer_schema(NAMES) if mode == "json" else None,
            choices=NAMES if mode == "choice" else None,
        )


def test_scores_give_probabilities_and_the_best_action():
    agent, vlm = agent_of("", capabilities=["scores"], scores=SCORES)
    decision = agent.act(see())
    assert (decision.action, decision.source, decision.proposal.actions) == (1, Source.MODEL, (1,))
    expected = np.exp(SCORES) / np.exp(SCORES).sum()
    assert list(decision.details["probabilities"]) == list(NAMES)
    np.testing.assert_allclose(
        list(decision.details["probabilities"].values()), expected, atol=1e-6
    )
    assert vlm.requests[0][0][0].text == prompts.instructions("cot", "Pong", NAMES, answer="choice")


def test_a_thought_is_written_and_the_answers_behind_it_are_scored():
    said = "The ball falls.\nIt is left of me.\nACTION: DOWN and more"
    options = {"answer": "thoughts", "turns": 1, "max_tokens": 9}
    agent, vlm = agent_of(said, capabilities=["scores"], scores=SCORES, **options)
    decision = agent.act(see())
    thought = "The ball falls.\nIt is left of me."
    assert (decision.action, decision.source) == (1, Source.MODEL)
    assert decision.proposal.reasoning == thought and decision.proposal.reply.text == said
    assert decision.replies == (decision.proposal.reply,)
    assert decision.details["answer"] == "thoughts" and len(decision.details["probabilities"]) == 9
    (asked, sampling), (scored, _) = vlm.requests
    assert asked == scored and sampling.max_tokens == 9
    assert asked[0].text == prompts.instructions("cot", "Pong", NAMES, answer="text")
    assert vlm.choices == tuple(f"{thought}\nACTION: {name}" for name in NAMES)
    agent.act(see(1))
    assert vlm.requests[2][0][2].text == f"{thought}\nACTION: {NAMES[1]}"  # the turn before


def test_a_thought_that_is_refused_is_a_fallback_and_one_that_is_empty_is_none():
    refused = Reply("no", "saying", "refusal")
    agent, vlm = agent_of(
        refused, "ACTION: UP", capabilities=["scores"], scores=SCORES, answer="thoughts"
    )
    assert agent.act(see()).source is Source.FALLBACK
    assert agent.act(see(1)).proposal.reasoning == ""
    assert vlm.choices[0] == "ACTION: NOOP"
    with pytest.raises(NotSupportedError, match="cannot score"):
        agent_of("UP", answer="thoughts")


def test_a_model_that_was_trained_to_think_plays_so_and_plans_nothing():
    able = {"capabilities": ["scores", "only thoughts"], "scores": SCORES}
    agent, vlm = agent_of("hm", **able)
    assert agent.answer == "thoughts"
    for other in ("scores", "json", "choice", "text"):
        with pytest.raises(NotSupportedError, match=f"can be thoughts, not {other}"):
            agent_of("hm", **able, answer=other)
    with pytest.raises(NotSupportedError, match="plans"):
        PlanRequest(vlm, 2, 3, VLMAgentOptions())
    with pytest.raises(NotSupportedError, match="prior"):
        VLMPriorMCTSAgent(vlm, CatchWorldModel())


def test_scores_are_drawn_from_with_a_temperature():
    def draw(seed, temperature):
        agent, _ = agent_of("", capabilities=["scores"], scores=SCORES, temperature=temperature)
        agent.reset(seed=seed)
        return [agent.act(see(step)).action for step in range(1500)]

    assert draw(1, 2.0) == draw(1, 2.0) != draw(2, 2.0)
    chances = np.exp(np.array(SCORES) / 2)
    share = np.bincount(draw(1, 2.0), minlength=9) / 1500
    np.testing.assert_allclose(share, chances / chances.sum(), atol=0.04)
    assert set(draw(1, 0.0)) == {1}


@pytest.mark.parametrize("scores", [[np.nan] * 9, [-np.inf] * 9, [0.0], [[0.0] * 9]])
def test_scores_that_are_none_fall_back(scores):
    decision = agent_of("", capabilities=["scores"], scores=scores)[0].act(see())
    assert (decision.action, decision.source) == (0, Source.FALLBACK)
    assert "not a score for each action" in decision.problems[0]


def test_an_action_that_is_impossible_is_never_drawn():
    scores = [-np.inf] * 8 + [-1.0]
    agent, _ = agent_of("", capabilities=["scores"], scores=scores, temperature=1.0)
    assert agent.act(see()).action == 8


def test_select_action_sends_the_prompt_instead_of_the_instructions():
    agent, vlm = agent_of("ACTION: LEFT")
    assert agent.select_action(see()) == 4
    assert agent.select_action(see(1), "Press anything.") == 4
    assert [m.role for m in vlm.requests[1][0]] == ["system", "user"]
    assert vlm.requests[1][0][0].text == "Press anything."
    assert vlm.requests[1][0][-1].text == see(1)["text"]


def test_same_replies_same_decisions_and_same_requests():
    def play():
        replies = [
            "ACTION: LEFT",
            "?",
            "?",
            "<think>x</think>UP",
            '{"action": "FIRE"}',
            "??",
            "RIGHT",
        ]
        agent, vlm = agent_of(*replies, turns=2, turn_images=1, fallback="random")
        agent.reset(seed=5)
        return [agent.act(see(step, stack=4)) for step in range(5)], vlm.keys

    assert play() == play()


def test_reset_forgets_the_episode():
    agent, vlm = agent_of("UP", turns=3, frames=3, decide_every=2)
    agent.reset(seed=0)
    first = [agent.act(see(step)) for step in range(3)]
    agent.reset(seed=0)
    assert [agent.act(see(step)) for step in range(3)] == first
    assert vlm.keys[:2] == vlm.keys[2:]


def test_it_asks_at_every_third_step_whatever_came_of_it():
    agent, vlm = agent_of("LEFT", "?", "?", "UP", decide_every=3)
    sources = [agent.act(see(step)) for step in range(7)]
    assert [d.action for d in sources] == [4, 4, 4, 0, 0, 0, 2]
    assert "".join(d.source[0] for d in sources) == "mbbfffm"
    assert [int(image.pixels[0, 0, 0]) for image in vlm.requests[-1][0][-1].images] == [5, 6]
    assert all(decision.problems for decision in sources[3:6])


def test_observe_notes_another_action():
    agent, _ = agent_of("LEFT", "?", fallback="repeat", decide_every=2)
    agent.act(see())
    agent.observe(Transition(see(), Decision(7, Source.POLICY), 0.0, see(1), False, False))
    assert (agent.act(see(1)).action) == 7


@pytest.mark.parametrize("grey", [False, True])
def test_any_dict_with_image_text_and_actions_will_do(grey):
    agent, vlm = agent_of("go", "go")
    observation = see(3, grey=grey, names=("stay", "go"), stack=4, game="Maze")
    observation["text"] = "A maze."
    assert agent.act(observation).action == 1
    assert vlm.requests[0][0][-1].images[0].pixels.shape == (12, 16, 3)


@pytest.mark.parametrize("key", ["image", "text", "action_space"])
def test_an_observation_without_what_is_needed_is_refused(key):
    observation = see()
    del observation[key]
    with pytest.raises(MismatchError, match=key):
        agent_of("UP")[0].act(observation)
    with pytest.raises(MismatchError, match="image"):
        agent_of("UP")[0].act(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer": "yaml"},
        {"max_reasks": -1},
        {"fallback": "fire"},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"max_tokens": 0},
        {"decide_every": 0},
        {"decide_every": 1.5},
    ],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError):
        VLMAgentOptions(**wrong)


def test_wrong_construction_is_refused():
    with pytest.raises(UnknownNameError, match="basic, cot, expert"):
        VLMAgent(SayingVLM("UP"), prompt_type="zen")
    with pytest.raises(ConfigError, match="score_choices"):
        VLMAgent("gpt-4o")
    with pytest.raises(NotSupportedError, match="cannot score"):
        agent_of("UP", answer="scores")
