"""Answers and errors as servers really send them, through the real SDKs and an agent.

The cases of ``data/field/wire.json`` come from public reports; the lists here are their neighbours.
"""

import json
import logging
from pathlib import Path

import pytest
from fake_server import FakeVendorServer, answer_body
from remote_helpers import BACKENDS, SAMPLING, TEST_KEY, VirtualClock, connect, picture, question

from atari_vlm.agents import ClaudeAgent, GeminiAgent, QwenVLAgent
from atari_vlm.description import Facts, list_actions
from atari_vlm.errors import AtariVLMError, AuthenticationError, RequestError, UnavailableError
from atari_vlm.types import Reply, Source
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.remote.options import RemoteOptions

FIELD = Path(__file__).parents[1] / "data" / "field" / "wire.json"
CASES = {case["id"]: case for case in json.loads(FIELD.read_text(encoding="utf-8"))["cases"]}
PONG = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
ANSWER = '{"reasoning": "the ball falls", "action": "RIGHT"}'
SCHEMA = {"type": "object", "properties": {"action": {"type": "string"}}, "required": ["action"]}
SCHEMA_WORDS = ("response_format", "output_config", "responseJsonSchema", "responseMimeType")
AGENTS = {
    "openai": (QwenVLAgent, "own-vl"),
    "anthropic": (ClaudeAgent, None),
    "gemini": (GeminiAgent, None),
}


def observation(step=0):
    return {
        "image": picture(step).pixels,
        "text": Facts("Pong", step=step).to_text(),
        "action_space": list_actions(PONG),
    }


class Served:
    """One case on a server, an agent that asks it, and what came of it."""

    def __init__(self, vendor, when, status, body, headers=None):
        self.when, self.status, self.headers, self.content = (
            when,
            status,
            headers or {},
            json.dumps(body).encode(),
        )
        self.clock = VirtualClock()
        self.server = FakeVendorServer(respond=self.respond)
        kind, model = AGENTS[vendor]
        url = self.server.openai_url if vendor == "openai" else self.server.url
        keywords = {} if model is None else {"model": model}
        key = None if vendor == "openai" else TEST_KEY
        self.agent = kind(api_key=key, base_url=url, clock=self.clock, **keywords)

    def respond(self, request):
        asked = len(self.server.requests)
        text = json.dumps(request.body)
        schema = any(word in text for word in SCHEMA_WORDS)
        hit = {
            "always": True, "schema": schema, "max_tokens": '"max_tokens"' in text, "third request": asked == 3,
            "until 20 s": sum(self.clock.sleeps) < 20,
        }[self.when]  # fmt: skip
        if hit:
            return self.status, self.headers, self.content
        return (
            200,
            {},
            answer_body(request, "ACTION: RIGHT" if self.when == "schema" else ANSWER, None),
        )

    def act(self, times=1):
        with self.server:
            try:
                decisions = [self.agent.act(observation(step)) for step in range(times)]
            finally:
                self.agent.vlm.close()
                self.requests = len(self.server.requests)
        return decisions[-1]

    def fail(self, kind):
        with pytest.raises(kind) as caught:
            self.act()
        return str(caught.value)


def served(case_id):
    case = CASES[case_id]
    return Served(case["vendor"], case["when"], case["status"], case["body"], case["headers"])


def played(decision):
    return PONG[decision.action] if decision.source is Source.MODEL else None


@pytest.mark.parametrize(
    ("case", "requests"),
    [
        ("content null, reasoning_content", 1), ("tool call, arguments text", 1), ("list of plain strings", 1),
        ("a part of thoughts", 1), ("schema refused, loc", 2), ("schema refused, guided decoding", 2),
        ("schema refused, gemini JSON mode", 2), ("schema refused, 500 grammar", 3), ("other name of max_tokens", 2),
    ],
)  # fmt: skip
def test_the_answer_is_found(case, requests):
    run = served(case)
    assert played(run.act()) == "RIGHT" and run.requests == requests


def test_prose_in_a_reasoning_field_is_no_answer_and_the_problem_names_the_field():
    decision = served("prose in reasoning_content").act()
    assert (
        decision.source is Source.FALLBACK
        and "put the text into reasoning_content" in decision.problems[-1]
    )


def test_what_was_found_out_about_a_server_is_kept():
    run = served("schema refused, guided decoding")
    run.act(times=3)
    assert [
        any(word in json.dumps(r.body) for word in SCHEMA_WORDS) for r in run.server.requests
    ] == [
        True,
        False,
        False,
        False,
    ]
    run = served("other name of max_tokens")
    run.act(times=3)
    assert ["max_completion_tokens" in request.body for request in run.server.requests] == [
        False,
        True,
        True,
        True,
    ]


def test_reasons_are_shown_wherever_they_stand():
    message = served("reason in metadata.raw").fail(RequestError)
    assert "only 1 image per prompt is taken by this model" in message and "--frames 1" in message
    assert "body.reasoning_effort" in served("parameter in loc").fail(RequestError)
    assert ".." not in message and ". ." not in message


def test_a_slip_of_the_model_is_a_reply():
    run = served("model's JSON failed the schema")
    assert played(run.act(times=4)) == "RIGHT"
    assert run.requests == 4


def test_errors_that_never_pass_end_at_once_with_their_advice():
    run = served("no vision projector")
    message = run.fail(RequestError)
    assert (
        run.requests <= 3
        and "takes images" in message
        and "run the same command again" not in message
    )
    run = served("quota of the day")
    assert "quota of a day" in run.fail(UnavailableError) and run.requests <= 3
    run = served("usage limit of the account")
    message = run.fail(UnavailableError)
    assert "credit or quota" in message and ".." not in message and run.requests == 1


def test_a_flagged_prompt_is_a_refused_reply():
    decision = served("prompt flagged").act()
    assert decision.source is Source.FALLBACK and {
        reply.finish_reason for reply in decision.replies
    } == {"filter"}


def test_an_empty_body_that_was_paid_counts():
    run = served("choices null, paid")
    decision = run.act()
    reply = decision.replies[0]
    assert (reply.text, reply.finish_reason, reply.usage.output_tokens, reply.attempts) == (
        "",
        "length",
        512,
        1,
    )
    assert run.requests == 2, "asked again once by the agent"


def test_a_wait_in_words_is_kept():
    run = served("wait in words")
    assert played(run.act()) == "RIGHT"
    assert run.requests <= 3 and 20 <= run.clock.sleeps[0] <= 22


def message(**fields):
    return {
        "model": "m",
        "choices": [
            {"message": {"role": "assistant", "content": None, **fields}, "finish_reason": "stop"}
        ],
    }


def call(arguments):
    return {"function": {"name": "answer", "arguments": arguments}}


BESIDE = [  # (message, what the reply's text is)
    (message(reasoning=ANSWER), ANSWER), (message(content=" \n", reasoning_content=ANSWER), ANSWER),
    (message(tool_calls=[call({"action": "RIGHT"})]), '{"action": "RIGHT"}'),
    (message(function_call={"arguments": ANSWER}), ANSWER),
    (message(parsed={"action": "RIGHT"}), '{"action": "RIGHT"}'), (message(content={"action": "RIGHT"}), '{"action": "RIGHT"}'),
    (message(reasoning_content=f"```json\n{ANSWER}\n```"), ANSWER), (message(content="LEFT", reasoning_content=ANSWER), "LEFT"),
    (message(reasoning_content=f"Perhaps {ANSWER}"), ""), (message(reasoning_content='{"move": "RIGHT"}'), ""),
    (message(content=["A", {"type": "output_text", "text": "B"}, {"type": "reasoning", "text": "C"}]), "AB"),
    (message(content=[{"type": "thinking", "text": "A"}, {"type": "tool", "text": "B"}, {"text": "C"}]), "C"),
    (message(reasoning_content="RIGHT"), ""), (message(tool_calls=[None, 3], parsed=[1]), ""),
]  # fmt: skip


def ask(dialect, body, *, status=200, headers=None, sampling=None, **options):
    """One request to a server that always gives this response, and how many it got."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with FakeVendorServer(respond=lambda request: (status, headers or {}, content)) as server:
        with connect(dialect, server, timeout_s=30.0, **options) as vlm:
            try:
                outcome = vlm.complete(
                    question(), sampling=sampling or Sampling(max_tokens=64, schema=SCHEMA)
                )
            except AtariVLMError as error:
                outcome = error
            return outcome, len(server.requests)


@pytest.mark.parametrize(("body", "text"), BESIDE)
def test_answers_in_other_fields(body, text):
    reply, requests = ask("openai", body)
    assert (reply.text, requests) == (text, 1)


def test_a_cut_reply_takes_nothing_from_other_fields():
    body = message(reasoning_content=ANSWER)
    body["choices"][0]["finish_reason"] = "length"
    reply, _ = ask("openai", body)
    assert (reply.text, reply.finish_reason) == ("", "length") and "reasoning_content" in reply.note


def test_a_bare_choice_in_another_field():
    sampling = Sampling(max_tokens=64, choices=("RIGHT", "LEFT"))
    reply, _ = ask(
        "openai", message(reasoning_content="RIGHT"), sampling=sampling, structured="choice"
    )
    assert reply.text == "RIGHT"


def test_other_vendors_tools_and_thoughts():
    body = {
        "content": [{"type": "tool_use", "input": {"action": "RIGHT"}}],
        "usage": {"output_tokens": 3},
    }
    assert ask("anthropic", body)[0].text == '{"action": "RIGHT"}'
    body = {"content": [{"type": "thinking", "thinking": "LEFT is near"}]}
    assert "thinking" in ask("anthropic", body)[0].note
    body = {
        "candidates": [{"content": {"parts": [{"functionCall": {"args": {"action": "RIGHT"}}}]}}]
    }
    assert ask("google", body)[0].text == '{"action": "RIGHT"}'
    body = {"candidates": [{"content": {"parts": [{"thought": True, "text": "LEFT"}]}}]}
    assert ask("google", body)[0].text == ""


def test_paid_and_empty_in_every_dialect():
    usage = {"prompt_tokens": 9, "completion_tokens": 4}
    for body in (
        {"choices": [{}], "usage": usage},
        {"usage": usage},
        {"choices": [None], "usage": usage},
    ):
        reply, requests = ask("openai", body)
        assert (reply.text, reply.finish_reason, reply.usage.output_tokens, requests) == (
            "",
            "stop",
            4,
            1,
        )
    reply, requests = ask(
        "anthropic", {"content": None, "usage": {"input_tokens": 9, "output_tokens": 64}}
    )
    assert (reply.finish_reason, requests) == ("length", 1)


ERRORS = [  # (dialect, status, body, error, words of the message)
    ("openai", 400, {"error": "Incorrect API key provided"}, AuthenticationError, "Check the key"),
    ("anthropic", 400, {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}, RequestError, "--frames 1"),
    ("openai", 400, {"error": {"message": "Billing hard limit has been reached"}}, UnavailableError, "credit"),
    ("openai", 402, {"error": {"message": "no"}}, UnavailableError, "credit"),
    ("openai", 429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, UnavailableError, "credit"),
    ("openai", 429, {"error": {"message": "Request too large for m on tokens per min (TPM): Limit 3000, Requested 4500."}},
     RequestError, "--frames 1"),
    ("openai", 429, {"error": {"message": "Tokens per day (TPD): Limit 100, Used 99, Requested 9. Try again in 14m2s"}},
     UnavailableError, "quota of a day"),
    ("openai", 429, {"error": {"message": "Rate limit exceeded: free-models-per-day"}}, UnavailableError, "quota of a day"),
    ("google", 429, {"error": {"message": "Quota exceeded, limit: 0, model: x"}}, RequestError, "limit is 0"),
    ("openai", 429, {"error": {"message": "Please try again in 7m12s."}}, UnavailableError, "7 min"),
    ("openai", 500, {"error": "This model does not support image input"}, RequestError, "takes images"),
    ("openai", 404, {"error": {"message": "No endpoints found that support image input"}}, RequestError, "takes images"),
    ("openai", 500, {"error": {"message": "the request exceeds the available context size"}}, RequestError, "--frames 1"),
    ("openai", 413, {"error": {"message": "Payload Too Large"}}, RequestError, "--frames 1"),
    ("openai", 403, {"error": {"message": "no access"}}, AuthenticationError, "--api-key-env NAME"),
    ("google", 400, {"error": {"details": [{"reason": "API_KEY_INVALID"}]}}, AuthenticationError, "key"),
    ("openai", 400, {"detail": [{"loc": ["body", "messages", 0], "msg": "field required"}]}, RequestError, r"body.messages.0"),
    ("openai", 400, {"error": {"message": '{"error": {"message": "inner words"}}'}}, RequestError, "inner words"),
    ("openai", 400, {"message": "outer.", "metadata": {"raw": {"error": "deep words."}}}, RequestError, "outer.: deep words. It"),
    ("openai", 422, [{"msg": "first"}, {"msg": "second"}], RequestError, "first"),
    ("anthropic", 400, b"<html><b>Bad</b> gateway words</html>", RequestError, "Bad gateway words"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "status", "body", "kind", "words"), ERRORS)
def test_errors_by_their_whole_body(dialect, status, body, kind, words):
    error, requests = ask(dialect, body, status=status, sampling=SAMPLING)
    assert type(error) is kind and words in str(error), error
    assert requests == 1 and ".." not in str(error)


REPLIES = [  # (dialect, status, body, (text, finish))
    ("openai", 403, {"error": {"code": "content_policy_violation", "message": "no"}}, ("", "filter")),
    ("openai", 400, {"error": {"code": "data_inspection_failed", "message": "no"}}, ("", "filter")),
    ("openai", 403, {"error": {"message": "no", "metadata": {"reasons": ["hate"]}}}, ("", "filter")),
    ("openai", 400, {"error": {"code": "tool_use_failed", "failed_generation": "ACTION: RIGHT"}}, ("ACTION: RIGHT", "stop")),
    ("openai", 400, {"error": {"message": "Could not finish the message because max_tokens or model output limit was reached."}},
     ("", "length")),
    ("openai", 400, {"error": {"message": "The text could not be finished, output limit (max_tokens) reached"}}, ("", "length")),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "status", "body", "said"), REPLIES)
def test_errors_that_are_answers_in_truth(dialect, status, body, said):
    reply, requests = ask(dialect, body, status=status)
    assert isinstance(reply, Reply) and (reply.text, reply.finish_reason, requests) == (*said, 1)
    assert (said[1] == "length") == ("--reply-tokens" in reply.note)


REFUSALS = [
    (400, {"error": {"message": "unsupported feature"}}), (422, {"detail": "no such parameter"}), (400, {"error": "nope"}),
    (501, {"error": "not implemented"}), (500, {"error": {"message": "failed to compile"}}), (415, {"error": "?"}),
]  # fmt: skip


@pytest.mark.parametrize("dialect", BACKENDS)
@pytest.mark.parametrize(("status", "body"), REFUSALS)
def test_a_schema_is_found_to_be_the_reason_by_leaving_it_out(dialect, status, body, caplog):
    def respond(request):
        refused = any(word in json.dumps(request.body) for word in SCHEMA_WORDS)
        return (status, {}, json.dumps(body).encode()) if refused else None

    with (
        FakeVendorServer(respond=respond) as server,
        connect(dialect, server) as vlm,
        caplog.at_level(logging.WARNING),
    ):
        for _ in range(3):
            reply = vlm.complete(question(), sampling=Sampling(schema=SCHEMA))
            assert reply.text == "ACTION: NOOP"
        tries = 2 if status < 500 else 3
        assert len(server.requests) == tries + 2
    assert (
        len(
            [
                record
                for record in caplog.records
                if "--vlm-option structured=none" in record.getMessage()
            ]
        )
        == 1
    )


def test_a_refusal_that_repeats_the_key_is_logged_without_it(caplog):
    def respond(request):
        return (
            (400, {}, json.dumps({"error": f"no schema for {TEST_KEY}"}).encode())
            if "response_format" in request.body
            else None
        )

    with (
        FakeVendorServer(respond=respond) as server,
        connect("openai", server, timeout_s=30.0) as vlm,
    ):
        vlm.complete(question(), sampling=Sampling(schema=SCHEMA))
    assert "no schema for [key]" in caplog.text and TEST_KEY not in caplog.text


def test_words_of_another_error_are_no_wait():
    answers = [
        (500, {}, b'{"error": "connection reset after 600 s"}'),
        (503, {}, b'{"error": "loading, try again in 3s"}'),
        None,
    ]
    clock = VirtualClock()
    with (
        FakeVendorServer(respond=lambda request: answers.pop(0)) as server,
        connect("openai", server, clock=clock) as vlm,
    ):
        assert vlm.complete(question(), sampling=SAMPLING).attempts == 3
    assert clock.sleeps[0] <= 0.5 and 3 <= clock.sleeps[1] <= 3.3


def test_a_schema_that_has_worked_is_not_doubted_and_a_failure_without_it_too_shows_the_first_reason():
    error, requests = ask("openai", {"error": {"message": "unfathomable"}}, status=400)
    assert type(error) is RequestError and requests == 2 and "unfathomable" in str(error)
    for status in (401, 402, 403, 404, 413):
        assert ask("openai", {"error": {"message": "unfathomable"}}, status=status)[1] == 1
    answers = [None, (400, {}, b'{"error": {"message": "unfathomable"}}')]
    with (
        FakeVendorServer(respond=lambda request: answers.pop(0)) as server,
        connect("openai", server) as vlm,
    ):
        vlm.complete(question(), sampling=Sampling(schema=SCHEMA))
        with pytest.raises(RequestError, match="unfathomable"):
            vlm.complete(question(), sampling=Sampling(schema=SCHEMA))
        assert len(server.requests) == 2


def test_both_the_schema_and_the_name_of_the_limit_may_be_refused():
    def respond(request):
        if "max_tokens" in request.body:
            return 400, {}, b'{"error": {"message": "Unsupported parameter: max_tokens"}}'
        return (
            (400, {}, b'{"error": {"message": "what?"}}')
            if "response_format" in request.body
            else None
        )

    with FakeVendorServer(respond=respond) as server, connect("openai", server) as vlm:
        assert vlm.complete(question(), sampling=Sampling(schema=SCHEMA)).attempts == 3
        assert vlm.complete(question(), sampling=Sampling(schema=SCHEMA)).attempts == 1


def test_a_name_of_the_limit_that_was_asked_for_is_not_changed():
    body = {"error": {"message": "max_tokens is unsupported here, use max_completion_tokens"}}
    error, requests = ask(
        "openai", body, status=400, token_parameter="max_tokens", sampling=SAMPLING
    )
    assert requests == 1 and "--vlm-option token_parameter=max_completion_tokens" in str(error)


def test_variables_of_the_environment_are_named(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/certificates.pem")
    with BACKENDS["openai"](
        "m", base_url="https://127.0.0.1:9/v1", options=RemoteOptions(clock=VirtualClock())
    ) as vlm:
        with pytest.raises(UnavailableError, match="SSL_CERT_FILE names /nonexistent"):
            vlm.complete(question(), sampling=SAMPLING)
    monkeypatch.delenv("SSL_CERT_FILE")
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with FakeVendorServer(respond=lambda request: (502, {}, b"<html>no such host</html>")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url.replace("//", "//user:secret@"))
        with BACKENDS["openai"](
            "m", base_url="http://10.9.8.7:5/v1", options=RemoteOptions(clock=VirtualClock())
        ) as vlm:
            with pytest.raises(
                UnavailableError,
                match=r"through the proxy 127.0.0.1:\d+ \(HTTP_PROXY\).*NO_PROXY=10.9.8.7",
            ) as caught:
                vlm.complete(question(), sampling=SAMPLING)
    assert "secret" not in str(caught.value)
