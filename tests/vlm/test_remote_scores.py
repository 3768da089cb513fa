"""Choices scored over HTTP: the same numbers as in this process, and one sentence where a server cannot."""

import json
import math

import numpy as np
import pytest
from fake_server import FakeVendorServer, FaultSchedule
from scoring_server import TrueScores

from atari_vlm.errors import ConfigError, NotSupportedError, RequestError
from atari_vlm.types import Image, Message
from atari_vlm.vlm import load_vlm
from atari_vlm.vlm.layers.budget import Budget, BudgetVLM

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
ASKED = [
    Message.of("system", "You play Pong."),
    Message.of("user", "Which action? Answer with one action name."),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from atari_vlm.vlm.local.tiny import build_tiny

    return build_tiny("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def true_scores(folder):
    return TrueScores(folder)


@pytest.fixture
def ask(true_scores):
    """``ask(scores, changed=..., faults=...)``: scores of ASKED over HTTP."""

    def asked(scores, messages=ASKED, changed=None, respond=None, **server):
        true_scores.changed = changed
        true_scores.bodies.clear()
        with FakeVendorServer(respond=respond or true_scores.respond, **server) as running:
            vlm = load_vlm("text", model="tiny", base_url=running.openai_url, scores=scores)
            with vlm:
                assert "scores" in vlm.capabilities
                return vlm.score_choices(messages, ACTIONS)

    return asked


def in_process(folder, messages=ASKED, family="text"):
    vlm = load_vlm(family, model=str(folder), device="cpu", offline=True)
    try:
        return vlm.score_choices(messages, ACTIONS)
    finally:
        vlm.close()


def test_complete_answers_score_as_in_this_process(ask, folder, true_scores):
    scores = ask("prompt_logprobs")
    np.testing.assert_allclose(scores, in_process(folder), atol=1e-4)
    assert scores.dtype == np.float64 and len(set(scores.round(6))) == len(ACTIONS)
    assert len(true_scores.bodies) == len(ACTIONS) + 1
    talk = [
        ASKED[0],
        Message.of("user", "one"),
        Message.of("assistant", "LEFT"),
        Message.of("user", "two"),
    ]
    np.testing.assert_allclose(ask("prompt_logprobs", talk), in_process(folder, talk), atol=1e-4)


def test_pictures_are_scored_as_in_this_process(tmp_path):
    from atari_vlm.vlm.local.tiny import build_tiny

    folder = build_tiny("llava-next", tmp_path / "llava")
    rng = np.random.default_rng(0)
    shown = [Image(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)) for _ in range(2)]
    asked = [Message.of("user", shown[0], shown[1], "Which action?")]
    with FakeVendorServer(respond=TrueScores(folder, pictures=True).respond) as server:
        told = {"model": "tiny", "base_url": server.openai_url}
        with load_vlm("llava", scores="prompt_logprobs", **told) as vlm:
            scores = vlm.score_choices(asked, ACTIONS)
            other = vlm.score_choices([Message.of("user", shown[1], shown[0], "Which action?")], ACTIONS)  # fmt: skip
        with load_vlm("llava", scores="systemone", **told) as vlm:
            chances = np.exp(vlm.score_choices(asked, ACTIONS))
            with pytest.raises(RequestError, match="4 pictures at most, and the question has 5"):
                vlm.score_choices([Message.of("user", *shown, *shown, shown[0], "?")], ACTIONS)
    np.testing.assert_allclose(scores, in_process(folder, asked, "llava"), atol=1e-3)
    assert np.abs(scores - other).max() > 1e-3  # the pictures were looked at, in their order
    assert chances.sum() == pytest.approx(1, abs=1e-6)


def test_typed_decisions_are_the_letters_of_a_list(ask, true_scores):
    import torch

    scores = ask("systemone")
    letters = "ABCDEF"
    listed = "\n".join(f"{letter}. {name}" for letter, name in zip(letters, ACTIONS, strict=True))
    told = f"You play Pong.\n\nWhich action? Answer with one action name.\n\n{listed}\n"
    told += "Answer with the letter of the option that fits best (A to F) only."
    ids = true_scores.tokenizer.apply_chat_template(
        [{"role": "user", "content": told}], add_generation_prompt=True, return_tensors="pt"
    )
    ids = ids if isinstance(ids, torch.Tensor) else ids["input_ids"]
    with torch.inference_mode():
        logits = true_scores.model(ids).logits[0, -1].double()
    places = [true_scores.tokenizer.encode(letter, add_special_tokens=False)[0] for letter in letters]  # fmt: skip
    expected = logits[places].log_softmax(-1).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-6)


def test_failures_on_the_way_change_no_score(ask, folder):
    faults = FaultSchedule({0: "500", 2: "cut_json", 4: "reset"})
    fast = ask("prompt_logprobs", faults=faults)
    np.testing.assert_allclose(fast, in_process(folder), atol=1e-4)


def without(key):
    return lambda body: {name: value for name, value in body.items() if name != key}


def torn(body):
    """Another template, which begins an answer with a thought."""
    return body | {"prompt_logprobs": [None, *body["prompt_logprobs"][2:]]}


def several(body):
    second = {**body["prompt_logprobs"][1], "7": {"logprob": -1.0, "decoded_token": "x"}}
    return body | {"prompt_logprobs": [None, second, *body["prompt_logprobs"][2:]]}


def impossible(body):
    entries = body["prompt_logprobs"]
    return body | {"prompt_logprobs": [None, {"5": {"logprob": 3.0}}, *entries[2:]]}


def endless(body):
    """A number so long that Python does not read it."""
    entries = body["prompt_logprobs"]
    return body | {"prompt_logprobs": [None, {"9" * 5000: {"logprob": -1.0}}, *entries[2:]]}


def nameless(body):
    """A server that does not decode tokens: nothing says where an answer ends."""
    bare = [
        e and {k: {"logprob": v["logprob"]} for k, v in e.items()} for e in body["prompt_logprobs"]
    ]
    return body | {"prompt_logprobs": bare}


@pytest.mark.parametrize(
    "changed, said",
    [
        (without("prompt_logprobs"), "does not say how probable a prompt's tokens are"),
        (several, "are not one log-probability for each token"),
        (impossible, "are not one log-probability for each token"),
        (endless, "are not one log-probability for each token"),
        (nameless, "does not hold 'NOOP' and an end as tokens of their own"),
    ],
)
def test_a_server_that_cannot_is_refused_in_one_sentence(ask, changed, said):
    with pytest.raises(NotSupportedError, match=said):
        ask("prompt_logprobs", changed=changed)


def test_an_answer_that_begins_elsewhere_is_refused(ask):
    first = iter([True])
    with pytest.raises(NotSupportedError, match="does not put an answer where it begins one"):
        ask("prompt_logprobs", changed=lambda body: torn(body) if next(first, False) else body)


def test_no_systemone_there_and_probabilities_that_are_none(ask, monkeypatch):
    gone = (404, {}, b'{"detail": "Not Found"}')
    with pytest.raises(NotSupportedError, match="has no /v1/systemone"):
        ask("systemone", respond=lambda request: gone)
    chances = dict.fromkeys(ACTIONS, 1.0)
    body = {"answers": {"action": {"probabilities": chances}}}
    right = {"answers": {"action": {"probabilities": dict.fromkeys(ACTIONS, 1 / 6)}}}
    waiting = iter([body, right])
    scores = ask("systemone", respond=lambda request: (200, {}, json.dumps(next(waiting)).encode()))
    assert scores == pytest.approx(math.log(1 / 6))  # asked again after the first


def test_where_scores_cannot_be_is_said_before_anything_is_asked():
    with pytest.raises(ConfigError, match="needs a server of your own"):
        load_vlm("gpt-4o", api_key="k", scores="prompt_logprobs")
    with pytest.raises(ConfigError, match="scores must be none for anthropic"):
        load_vlm("claude", api_key="k", base_url="http://127.0.0.1:1", scores="systemone")
    with pytest.raises(ConfigError, match="none, prompt_logprobs, systemone"):
        load_vlm("qwen-vl", base_url="http://127.0.0.1:1/v1", scores="yes")
    with load_vlm("qwen-vl", base_url="http://127.0.0.1:1/v1") as vlm:
        assert "scores" not in vlm.capabilities
        with pytest.raises(NotSupportedError, match="cannot score choices"):
            vlm.score_choices(ASKED, ACTIONS)


def test_a_budget_in_dollars_is_refused_where_scores_have_no_price():
    paid = load_vlm("gpt-4o", api_key="k", base_url="http://127.0.0.1:1/v1", scores="systemone")
    with paid, pytest.raises(ConfigError, match=r"the price of .* is unknown"):
        Budget(usd=1.0).refuse_unpriced(paid)
    near = load_vlm("qwen-vl", base_url="http://127.0.0.1:1/v1", scores="systemone")
    with near:
        Budget(usd=1.0).refuse_unpriced(near)
        assert BudgetVLM(near, Budget()).capabilities == near.capabilities
