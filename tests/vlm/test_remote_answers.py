"""The reply mapper is total: any body of a 200-answer is a legal reply or a typed failure, never anything else."""

import json

import pytest
from fake_server import ANSWERS, FakeVendorServer, FaultSchedule, Request
from hypothesis import given, settings
from hypothesis import strategies as st
from remote_helpers import BACKENDS, SAMPLING, connect, question

from atari_vlm.errors import AuthenticationError, UnavailableError, VLMError
from atari_vlm.types import Reply
from atari_vlm.vlm.remote import anthropic as anthropic_vlm
from atari_vlm.vlm.remote import google as google_vlm
from atari_vlm.vlm.remote import openai as openai_vlm
from atari_vlm.vlm.remote.answers import count, dollars, priced, read_answer, to_reply
from atari_vlm.vlm.remote.outcomes import Failure
from atari_vlm.vlm.remote.retry import RetryPolicy

READERS = {"openai": openai_vlm.read, "anthropic": anthropic_vlm.read, "google": google_vlm.read}
REQUEST = Request("", "/v1/models/m:generateContent", {}, {"model": "m"}, "", ())
# hypothesis sees the shared `random` move while it draws: threads of vendor SDKs that earlier tests started use it
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
each_backend = pytest.mark.parametrize("dialect", BACKENDS)

numbers = st.one_of(st.integers(), st.integers(-3, 700), st.floats(), st.just(10**400))
leaves = st.one_of(st.none(), st.booleans(), numbers, st.text(st.characters(), max_size=20))
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def paths_of(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from paths_of(inner, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def valid_body(dialect, text="ACTION: UP"):
    return ANSWERS[dialect](REQUEST, text, None)


def assert_total(dialect, content):
    raw = read_answer(content, READERS[dialect])
    if isinstance(raw, Failure):
        assert raw.message and (raw.error is None or issubclass(raw.error, VLMError))
        return
    reply = to_reply(raw, "asked-model", latency_s=0.0, attempts=1)
    assert isinstance(reply.text, str) and isinstance(reply.model, str) and reply.model
    assert reply.finish_reason in ("stop", "length", "refusal", "filter")
    assert reply.cost_usd is None or reply.cost_usd >= 0
    for tokens in vars(reply.usage).values():
        assert tokens is None or (type(tokens) is int and tokens >= 0)
    line = json.dumps(reply.as_dict(), allow_nan=False, ensure_ascii=False)  # it can be stored
    line.encode("utf-8")
    assert Reply.from_dict(json.loads(line)) == reply


@each_backend
@settings(max_examples=350, deadline=None)
@given(data=st.data())
def test_bodies_with_anything_at_any_place(dialect, data):
    body = valid_body(dialect)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(paths_of(body), key=repr)))
        body = replaced(body, path, data.draw(anything))
    assert_total(dialect, json.dumps(body).encode())


@each_backend
@settings(max_examples=250, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=200), anything.map(lambda value: json.dumps(value).encode())
    )
)
def test_bodies_of_any_bytes(dialect, content):
    assert_total(dialect, content)


@each_backend
@settings(max_examples=70, deadline=None)
@given(data=st.data())
def test_cut_bodies_are_never_taken_for_answers(dialect, data):
    content = json.dumps(valid_body(dialect)).encode()
    assert isinstance(
        read_answer(content[: data.draw(st.integers(0, len(content) - 1))], READERS[dialect]),
        Failure,
    )


BROKEN_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"3",
    b'"UP"',
    b"{}",
    b"<html>",
    b"\xff\xfe\xfd",
    b"[" * 100_000,
    b'{"a": ' + b"9" * 5000 + b"}",
]


@each_backend
def test_broken_bodies_are_asked_for_again_through_the_real_sdk(dialect):
    with (
        FakeVendorServer() as server,
        connect(dialect, server, retry=RetryPolicy(max_attempts=2)) as vlm,
    ):
        for content in (*BROKEN_BODIES, b" " * (17 * 2**20)):
            server.clear()
            server.raw = lambda request, content=content: content
            with pytest.raises(UnavailableError, match="2 attempts failed"):
                vlm.complete(question(), sampling=SAMPLING)
            assert len(server.requests) == 2, content[:20]


LEGAL = {
    "openai": [
        ({"choices": []}, ("", "stop")),
        ({"choices": [{"message": {}}]}, ("", "stop")),
        (
            {
                "choices": [
                    {
                        "message": {
                            "content": [
                                {"type": "text", "text": "A"},
                                {"type": "text", "text": "B"},
                            ]
                        }
                    }
                ]
            },
            ("AB", "stop"),
        ),
        ({"choices": [{"message": {"content": "A"}, "finish_reason": None}]}, ("A", "stop")),
        (
            {"choices": [{"message": {"content": "A"}, "finish_reason": "tool_calls"}]},
            ("A", "stop"),
        ),
        (
            {"choices": [{"message": {"content": "", "refusal": "no"}, "finish_reason": "stop"}]},
            ("no", "refusal"),
        ),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}, ("", "length")),
    ],
    "anthropic": [
        ({"content": []}, ("", "stop")),
        (
            {"content": [{"type": "thinking", "thinking": "A"}, {"type": "text", "text": "B"}]},
            ("B", "stop"),
        ),
        ({"content": [], "stop_reason": "model_context_window_exceeded"}, ("", "length")),
        ({"content": [{"type": "text", "text": "A"}], "stop_reason": "refusal"}, ("A", "refusal")),
    ],
    "google": [
        ({"usageMetadata": {}}, ("", "stop")),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, ("", "filter")),
        ({"candidates": [{"finishReason": "MAX_TOKENS"}]}, ("", "length")),
        ({"candidates": [{"content": {"role": "model"}, "finishReason": "STOP"}]}, ("", "stop")),
        (
            {
                "candidates": [
                    {"content": {"parts": [{"text": "A"}, {"thought": True, "text": "B"}]}}
                ]
            },
            ("A", "stop"),
        ),
        (
            {"candidates": [{"content": {"parts": [{"text": "A"}]}, "finishReason": "RECITATION"}]},
            ("A", "filter"),
        ),
    ],
}


@pytest.mark.parametrize(
    ("dialect", "body", "expected"), [(d, b, e) for d, rows in LEGAL.items() for b, e in rows]
)
def test_legal_answers(dialect, body, expected):
    raw = read_answer(json.dumps(body).encode(), READERS[dialect])
    assert (raw.text, raw.finish_reason) == expected


BROKEN = {
    "openai": [{"choices": None}, {"choices": [3]}, {"choices": [{}]}, {"choices": [{"message": {"content": 3}}]},
               {"choices": [{"message": {"content": "A"}, "finish_reason": "error"}]}, {"object": "list", "data": []}],
    "anthropic": [{"content": "A"}, {"content": None}, {"type": "error", "content": []}, {"completion": "A"}],
    "google": [{"candidates": "A"}, {"candidates": [None]}, {"candidates": [{"content": {"parts": "A"}}]}, {"text": "A"}],
}  # fmt: skip


@pytest.mark.parametrize(("dialect", "body"), [(d, b) for d, rows in BROKEN.items() for b in rows])
def test_bodies_of_another_form_are_passing_failures(dialect, body):
    failure = read_answer(json.dumps(body).encode(), READERS[dialect])
    assert isinstance(failure, Failure) and failure.error is None


def test_an_error_in_a_200_counts_as_its_status():
    codes = {502: None, 429: None, 401: AuthenticationError, 402: UnavailableError}
    for code, error in codes.items():
        failure = read_answer(
            json.dumps({"error": {"code": code, "message": "oh"}}).encode(), openai_vlm.read
        )
        assert (failure.status, failure.error) == (code, error) and "oh" in failure.message
    assert read_answer(b'{"error": "oh"}', openai_vlm.read).error is None


def test_a_cost_that_the_server_names_is_taken():
    body = valid_body("openai") | {
        "usage": {"prompt_tokens": 5, "completion_tokens": 6, "cost": 0.25}
    }
    raw = read_answer(json.dumps(body).encode(), openai_vlm.read)
    assert priced(raw, "m", "auto", free=False).cost_usd == 0.25


@pytest.mark.parametrize(
    ("prices", "free", "cost"),
    [("auto", False, 0.25), ("list", False, 72.5e-6), ("none", False, None), ("none", True, 0.0)],
)
def test_whose_price_is_believed_is_an_option(prices, free, cost):
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "cost": 0.25}
    body = valid_body("openai") | {"usage": usage, "model": "gpt-4o"}
    raw = priced(read_answer(json.dumps(body).encode(), openai_vlm.read), "m", prices, free=free)
    assert to_reply(raw, "m", latency_s=0.0, attempts=1).cost_usd == (cost and pytest.approx(cost))


@pytest.mark.parametrize(
    ("dialect", "usage", "said"),
    [
        ("openai", {"prompt_tokens": -5, "completion_tokens": 6}, "prompt_tokens is -5"),
        ("openai", {"prompt_tokens": 5, "completion_tokens": 6, "cost": -1}, "cost is -1"),
        ("openai", {"prompt_tokens": 5, "completion_tokens": 6.5}, "completion_tokens is 6.5"),
        ("openai", {"prompt_tokens": 5, "completion_tokens": 6, "cost": 0.5, "x": "-1"}, ""),
        ("openai", {"prompt_tokens": 5, "queue_time": 0.01, "tokens_per_second": 7.5}, ""),
        ("anthropic", {"input_tokens": -1, "output_tokens": 6}, "input_tokens is -1"),
        ("google", {"promptTokenCount": 10**300}, "promptTokenCount is 1000"),
    ],
)
def test_amounts_that_are_none_are_said(dialect, usage, said):
    """Unknown they are in any case; that they were there tells a server that counts wrongly from one that does not count."""
    name = "usageMetadata" if dialect == "google" else "usage"
    body = json.dumps(valid_body(dialect) | {name: usage}).encode()
    assert said in read_answer(body, READERS[dialect]).note
    assert bool(said) == bool(read_answer(body, READERS[dialect]).note)


def test_counts_and_amounts_are_plain_numbers_or_unknown():
    assert [count(value) for value in (0, 7, 7.0)] == [0, 7, 7]
    assert {
        count(value) for value in (7.5, -1, True, "7", None, float("nan"), float("inf"), 10**400)
    } == {None}
    assert {
        dollars(value) for value in (-1, True, "7", None, float("nan"), float("inf"), 10**400)
    } == {None}


@each_backend
def test_an_answer_with_odd_fields_is_the_same_answer(dialect):
    with FakeVendorServer() as server, connect(dialect, server) as vlm:
        for fault in ("unknown_finish", "extra_fields", "nan_usage"):
            server.faults = FaultSchedule(always=fault)
            reply = vlm.complete(question(), sampling=SAMPLING)
            assert (reply.text, reply.finish_reason, reply.attempts) == ("ACTION: NOOP", "stop", 1)
            assert (reply.usage.input_tokens is None) == (fault == "nan_usage")
