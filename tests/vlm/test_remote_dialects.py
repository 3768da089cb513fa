"""What each vendor receives from the real SDK, and what becomes of its answer."""

import gc
import json
import logging
import threading
import time

import pytest
from fake_server import FakeVendorServer, FaultSchedule
from remote_helpers import BACKENDS, SAMPLING, connect, picture, question

from atari_vlm.errors import ConfigError, NotSupportedError, RequestError, UnavailableError
from atari_vlm.types import Message, Usage
from atari_vlm.vlm import VLM
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.remote.options import RemoteOptions
from atari_vlm.vlm.remote.turns import merge_turns

SCHEMA = {
    "type": "object",
    "properties": {
        "reasoning": {"type": "string"},
        "action": {"type": "string", "enum": ["NOOP", "UP"]},
    },
    "required": ["reasoning", "action"],
}
CLOSED = {**SCHEMA, "additionalProperties": False}
each_backend = pytest.mark.parametrize("dialect", BACKENDS)


def sent(dialect, messages=None, sampling=SAMPLING, **options):
    """The JSON body that the vendor gets."""
    with FakeVendorServer() as server, connect(dialect, server, **options) as vlm:
        vlm.complete(messages or question(), sampling=sampling)
        return server.requests[0].body


@each_backend
def test_texts_and_pictures_arrive_unchanged_and_the_answer_is_a_reply(dialect):
    with (
        FakeVendorServer(answer=lambda text, images: "why\nACTION: UP ✓") as server,
        connect(dialect, server) as vlm,
    ):
        assert isinstance(vlm, VLM)
        reply = vlm.complete(question(7), sampling=SAMPLING)
        request = server.requests[0]
    assert request.text == "\n".join(message.text for message in question(7))
    assert request.images == (picture(1).png, picture(7).png)
    assert reply.text == "why\nACTION: UP ✓"
    assert (reply.finish_reason, reply.attempts) == ("stop", 1)
    assert reply.usage == Usage(
        input_tokens=100, output_tokens=7, cached_tokens=40, reasoning_tokens=2
    )
    assert reply.model.startswith("test-model-") and reply.cost_usd is None
    assert reply.latency_s > 0


def test_a_known_model_is_priced_by_the_id_that_answered():
    with FakeVendorServer() as server:
        with BACKENDS["openai"]("gpt-4o", api_key="test-key-1", base_url=server.openai_url) as vlm:
            reply = vlm.complete(question(), sampling=SAMPLING)
    assert reply.model == "gpt-4o-2024-11-20"
    assert reply.cost_usd == pytest.approx((60 * 2.5 + 40 * 1.25 + 7 * 10) / 1e6)


def test_openai_request():
    sampling = Sampling(
        temperature=0.5, max_tokens=9, seed=3, schema=SCHEMA, choices=("NOOP", "UP")
    )
    body = sent(
        "openai",
        sampling=sampling,
        reasoning_effort="low",
        reasoning_tokens=100,
        image_detail="low",
        extra_body={"top_k": 5},
    )
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert body["messages"][0]["content"] == "Answer with a last line ACTION: <NAME>."
    assert body["messages"][3]["content"][0]["image_url"]["url"].startswith(
        "data:image/png;base64,"
    )
    assert body["messages"][3]["content"][0]["image_url"]["detail"] == "low"
    assert body["response_format"]["json_schema"] == {
        "name": "answer",
        "schema": CLOSED,
        "strict": True,
    }
    assert (body["temperature"], body["seed"], body["max_tokens"], body["top_k"]) == (
        0.5,
        3,
        109,
        5,
    )
    assert body["reasoning_effort"] == "low" and "structured_outputs" not in body


def test_openai_schema_with_optional_properties_is_not_strict():
    body = sent("openai", sampling=Sampling(schema={**SCHEMA, "required": ["action"]}))
    assert body["response_format"]["json_schema"]["strict"] is False


def test_openai_choices_go_to_vllm_when_told_so():
    sampling = Sampling(schema=SCHEMA, choices=("NOOP", "UP"))
    body = sent("openai", sampling=sampling, structured="choice")
    assert (
        body["structured_outputs"] == {"choice": ["NOOP", "UP"]} and "response_format" not in body
    )
    assert "response_format" in sent(
        "openai", sampling=Sampling(schema=SCHEMA), structured="choice"
    )


def test_openai_token_parameter():
    assert "max_completion_tokens" in sent("openai", token_parameter="max_completion_tokens")
    at_home = BACKENDS["openai"]("gpt-4o", api_key="test-key-1")
    request = at_home.dialect.build_request(at_home._target, question(), SAMPLING)
    assert request["max_completion_tokens"] == 64 and "max_tokens" not in request


def test_anthropic_request():
    sampling = Sampling(temperature=0.5, max_tokens=9, seed=3, schema=SCHEMA)
    body = sent(
        "anthropic",
        sampling=sampling,
        reasoning_effort="low",
        reasoning_tokens=100,
        extra_body={"top_k": 5},
    )
    mark = {"cache_control": {"type": "ephemeral"}}
    assert body["system"] == [
        {"type": "text", "text": "Answer with a last line ACTION: <NAME>."} | mark
    ]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    marked = [
        ["cache_control" in block for block in message["content"]] for message in body["messages"]
    ]
    assert marked == [[False, False], [True], [False, False]], (
        "the prefix ends with the last example"
    )
    image = body["messages"][2]["content"][0]
    assert (image["type"], image["source"]["media_type"]) == ("image", "image/png")
    assert body["output_config"]["effort"] == "low"
    assert body["output_config"]["format"]["type"] == "json_schema"
    schema = body["output_config"]["format"]["schema"]
    assert schema["additionalProperties"] is False and schema["properties"]["action"]["enum"] == [
        "NOOP",
        "UP",
    ]
    assert (body["temperature"], body["max_tokens"], body["top_k"]) == (0.5, 109, 5)
    assert "cache_control" not in json.dumps(sent("anthropic", cache_prefix=False))


def test_google_request():
    sampling = Sampling(temperature=0.5, max_tokens=9, seed=2**31 + 3, schema=SCHEMA)
    body = sent(
        "google",
        sampling=sampling,
        reasoning_effort="low",
        reasoning_tokens=100,
        image_detail="low",
        extra_body={"labels": {"a": "b"}},
    )
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert body["systemInstruction"]["parts"][0]["text"].startswith("Answer")
    config = body["generationConfig"]
    assert (
        config["responseMimeType"] == "application/json" and config["responseJsonSchema"] == SCHEMA
    )
    assert (config["temperature"], config["maxOutputTokens"], config["seed"]) == (0.5, 109, 3)
    assert [level.lower() for level in config["thinkingConfig"].values()] == ["low"]
    assert config["mediaResolution"] == "MEDIA_RESOLUTION_LOW"
    assert body["labels"] == {"a": "b"}


@each_backend
def test_nothing_is_sent_that_was_not_asked_for(dialect):
    text = json.dumps(sent(dialect))
    for word in (
        "temperature",
        "seed",
        "schema",
        "effort",
        "thinking",
        "detail",
        "Resolution",
        "top_",
    ):
        assert word not in text


@each_backend
def test_turns_of_one_role_are_merged_and_empty_texts_dropped(dialect):
    messages = [
        Message.of("system", "one"), Message.of("system", "two"), Message.of("user", picture(1)), Message.of("user", "", "here"),
        Message.of("assistant", ""), Message.of("user", "now"),
    ]  # fmt: skip
    turns = merge_turns(messages)
    assert [turn.role for turn in turns] == ["system", "user"]
    body = sent(dialect, messages)
    conversation = body.get("contents") or [m for m in body["messages"] if m["role"] != "system"]
    assert len(conversation) == 1


@each_backend
def test_lone_surrogates_neither_go_out_nor_come_in(dialect):
    with (
        FakeVendorServer(answer=lambda text, images: "UP \ud800!") as server,
        connect(dialect, server) as vlm,
    ):
        reply = vlm.complete([Message.of("user", "look \udfff here")], sampling=SAMPLING)
        assert server.requests[0].text == "look ? here"
    assert reply.text == "UP ?!"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [Message.of("system", "hi")],
        [Message.of("user", " ")],
        [Message.of("system", picture()), Message.of("user", "x")],
    ],
)
def test_requests_that_say_nothing_are_refused(messages):
    with FakeVendorServer() as server, connect("openai", server) as vlm:
        with pytest.raises(ConfigError, match="message"):
            vlm.complete(messages, sampling=SAMPLING)
        assert server.requests == []


@each_backend
def test_legal_replies_are_returned_and_not_repeated(dialect):
    legal = {
        "empty_content": "stop",
        "no_choices": "stop",
        "null_content": "stop",
        "refusal": "refusal",
        "filter": "filter",
        "length": "length",
    }
    if dialect == "anthropic":
        legal["filter"] = "refusal"  # this vendor has one word for both
    if dialect == "google":
        legal["refusal"] = "filter"
    with FakeVendorServer() as server, connect(dialect, server) as vlm:
        for fault, finish in legal.items():
            server.clear()
            server.faults = FaultSchedule(always=fault)
            reply = vlm.complete(question(), sampling=SAMPLING)
            assert (fault, reply.finish_reason, len(server.requests)) == (fault, finish, 1)
            said = {
                "length": "ACTION",
                "refusal": "I cannot help with that." if dialect == "openai" else "",
            }
            assert reply.text == said.get(fault, "")


@each_backend
def test_blank_answers_are_asked_for_again_when_wanted_and_all_is_counted(dialect):
    with FakeVendorServer(
        faults=FaultSchedule({0: "refusal", 1: "503", 2: "empty_content"})
    ) as server:
        with connect(dialect, server, blank_retries=2) as vlm:
            reply = vlm.complete(question(), sampling=SAMPLING)
        assert (reply.text, reply.attempts, len(server.requests)) == ("ACTION: NOOP", 4, 4)
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (300, 21)


@each_backend
def test_a_refused_schema_is_dropped_once_under_auto_and_an_error_otherwise(dialect, caplog):
    sampling = Sampling(schema=SCHEMA)
    with FakeVendorServer(faults=FaultSchedule({0: "400"})) as server:
        server.error_text = (
            "response_format / output_config / responseJsonSchema is not supported by this model"
        )
        with connect(dialect, server) as vlm, caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert vlm.complete(question(), sampling=sampling).text == "ACTION: NOOP"
        bodies = [json.dumps(request.body) for request in server.requests]
        assert [("chema" in body) for body in bodies] == [True, False, False, False]
        assert len([r for r in caplog.records if "structured='none'" in r.getMessage()]) == 1
    with FakeVendorServer(faults=FaultSchedule(always="400")) as server:
        server.error_text = (
            "response_format / output_config / responseJsonSchema is not supported by this model"
        )
        with connect(dialect, server, structured="json_schema") as vlm:
            with pytest.raises(RequestError, match="structured='none'"):
                vlm.complete(question(), sampling=sampling)
        assert len(server.requests) == 1


@each_backend
def test_a_400_for_another_reason_keeps_the_schema(dialect):
    with (
        FakeVendorServer(faults=FaultSchedule(always="400")) as server,
        connect(dialect, server) as vlm,
    ):
        server.error_text = "temperature is not supported with this model"
        with pytest.raises(RequestError, match="leave it unset"):
            vlm.complete(question(), sampling=Sampling(schema=SCHEMA, temperature=0.1))
        assert len(server.requests) == 1


def test_names_say_what_changes_answers_and_capabilities_what_is_honoured():
    make = BACKENDS["openai"]
    assert make("gpt-4o", api_key="test-key-1").name == "openai/gpt-4o"
    local = make(
        "m",
        base_url="http://127.0.0.1:8000/v1/",
        options=RemoteOptions(structured="choice", reasoning_effort="low"),
    )
    assert local.name == "openai/m@http://127.0.0.1:8000/v1[structured=choice,reasoning_effort=low]"
    assert local.capabilities == {"schema", "choices"}
    assert (
        make(
            "m", base_url="http://[::1]:1/v1", options=RemoteOptions(structured="none")
        ).capabilities
        == frozenset()
    )
    first, second = (
        make("m", base_url="http://h/v1", options=RemoteOptions(extra_body={"a": n})).name
        for n in (1, 2)
    )
    assert first != second
    with pytest.raises(NotSupportedError):
        local.score_choices(question(), ["UP"])


@pytest.mark.parametrize(
    ("dialect", "options"),
    [
        ("openai", {"image_detail": "medium"}), ("anthropic", {"image_detail": "low"}), ("anthropic", {"structured": "choice"}),
        ("google", {"structured": "choice"}), ("openai", {"structured": "regex"}), ("openai", {"token_parameter": "tokens"}),
        ("openai", {"reasoning_tokens": -1}), ("openai", {"blank_retries": 1.5}), ("openai", {"extra_body": [1]}),
        ("openai", {"structured": None}),
    ],
)  # fmt: skip
def test_bad_options_are_refused(dialect, options):
    with pytest.raises(ConfigError):
        BACKENDS[dialect]("m", api_key="test-key-1", options=RemoteOptions(**options))


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout_s": 0},
        {"timeout_s": "60"},
        {"timeout_s": float("inf")},
        {"model": ""},
        {"model": None},
    ],
)
@each_backend
def test_bad_arguments_are_refused(dialect, arguments):
    with pytest.raises(ConfigError):
        BACKENDS[dialect](**{"model": "m", "api_key": "test-key-1", **arguments})


@each_backend
def test_many_threads_share_one_client(dialect):
    with (
        FakeVendorServer(answer=lambda text, images: text.rsplit("\n")[-1]) as server,
        connect(dialect, server) as vlm,
    ):
        answers = {}

        def ask(number):
            answers[number] = vlm.complete(question(number), sampling=SAMPLING).text

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {number: f"Question {number}" for number in range(32)}


def loop_threads():
    return [thread for thread in threading.enumerate() if thread.name == "vlm"]


@each_backend
def test_a_forgotten_vlm_closes_its_connections(dialect):
    before = len(loop_threads())
    with FakeVendorServer() as server:
        vlm = connect(dialect, server)
        assert len(loop_threads()) == before, "nothing starts before the first call"
        vlm.complete(question(), sampling=SAMPLING)
        assert len(loop_threads()) == before + 1
        del vlm
        gc.collect()
        assert len(loop_threads()) == before


@each_backend
def test_closing_ends_a_request_in_flight_and_a_later_call_works(dialect):
    with FakeVendorServer(faults=FaultSchedule({0: "hang"})) as server:
        vlm = connect(dialect, server, timeout_s=60.0)
        ended = []

        def ask():
            try:
                vlm.complete(question(), sampling=SAMPLING)
            except UnavailableError as error:
                ended.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        while not server.requests:
            time.sleep(0.01)
        vlm.close()
        thread.join(timeout=5)
        assert ended and "closed" in ended[0]
        assert vlm.complete(question(), sampling=SAMPLING).text == "ACTION: NOOP"
        vlm.close()
        vlm.close()
