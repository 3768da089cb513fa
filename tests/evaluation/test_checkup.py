"""``check`` names what is wrong with an endpoint, and a study with the options that it gives works there."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import endpoints
import pytest
from endpoints import Endpoint
from fake_server import FakeVendorServer, FaultSchedule

from atari_vlm import check, evaluate
from atari_vlm.agents.specs import AgentSpec
from atari_vlm.evaluation.checkup import cards
from atari_vlm.evaluation.checkup.desk import Asked
from atari_vlm.evaluation.checkup.money import doubts
from atari_vlm.types import Reply, Usage
from atari_vlm.vlm.remote.answers import MISCOUNTED

PLACES = {"gpt-4o": "openai_url", "claude": "anthropic_url", "gemini": "google_url"}
KEY = "key-for-tests-only-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("SERVERS_KEY", KEY)


@pytest.fixture
def lane(monkeypatch):
    """The game's question is of a smaller game than Pong: loading that one is most of what a check costs here."""
    monkeypatch.setattr("atari_vlm.evaluation.checkup.desk.GAME", "own_games:Lane-v0")


def marked(cases, slow):
    """The names of cases; some are of the long proof."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in cases]


def checked(tmp_path, server, vlm="qwen-vl", *flags, model=None):
    """What ``check`` writes, and the agent's own options."""
    given = {"base_url": getattr(server, PLACES.get(vlm, "openai_url"))}
    given |= {"model": model} if model else {}
    words = [w for k, v in given.items() for w in (f"--{k.replace('_', '-')}", v)]
    file = tmp_path / "found.json"
    assert check.main(["--vlm", vlm, *words, "--json", str(file), *flags]) == 0
    return json.loads(file.read_text()), given


def played(tmp_path, vlm, options, name="run", code=0):
    """The row of a study by an agent with these options; of Pong where it is told what memory knows."""
    agent = AgentSpec("one", vlm, options).text
    game = "Pong" if "text" in options else "own_games:Lane-v0,steps=4"
    flags = ["--games", game, "--seeds", "0", "--max-steps", "4", "--save-dir", str(tmp_path)]
    assert evaluate.main([*flags, "--run-name", name, "--agents", agent]) == code
    with (tmp_path / name / "results.csv").open() as file:
        return next(row for row in csv.DictReader(file) if row["agent"] == "one")


@pytest.mark.parametrize("vlm", PLACES)
def test_a_healthy_endpoint_has_no_problem_in_any_dialect(tmp_path, vlm, capsys, request):
    if vlm != "gpt-4o":
        request.getfixturevalue("lane")
    with FakeVendorServer(respond=Endpoint().respond, latency_s=0.02) as server:
        found, _ = checked(tmp_path, server, vlm, "--api-key-env", "SERVERS_KEY")
        asked = len(server.requests)
    assert found["problems"] == [] and found["options"] == {} and found["works"]
    assert (found["pictures"], found["picture_read"], found["schema"]) == (4, True, True)
    assert found["usage"] and found["price_known"] and not found["thinking"]
    assert 0.02 <= found["latency_s"] < 2 and found["cost_usd"] > 0
    assert found["calls"] == asked == (7 if vlm == "gpt-4o" else 6)
    said = capsys.readouterr()
    assert KEY not in said.out + said.err + json.dumps(found)
    assert (
        f'--agents "{vlm},base_url={server.url}' in said.out
        and "api_key_env=SERVERS_KEY" in said.out
    )


def effort(body):
    return body.get("reasoning_effort") != "none"


def no_template(body):
    return body.get("chat_template_kwargs", {}).get("enable_thinking", True)


def no_room(body):
    return body["max_tokens"] < 4096


BROKEN = {
    "pictures refused": (Endpoint(pictures="refused"), "no-pictures", {"text": "objects-only"}),
    "schema ignored": (Endpoint(schema="ignored"), "no-schema", {"structured": "none"}),
    "schema refused": (Endpoint(schema="refused"), "no-schema", {"structured": "none"}),
    "choices alone": (
        Endpoint(schema="ignored", choices=True),
        "no-schema",
        {"structured": "choice", "answer": "choice"},
    ),
    "silent until less effort": (
        Endpoint(thinks=effort),
        "thinking-only",
        {"reasoning_effort": "none"},
    ),
    "silent until told not to think": (
        Endpoint(thinks=no_template, thought={"reasoning_content": "First I look, then"}),
        "thinking-only",
        {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
    ),
    "silent without room": (Endpoint(thinks=no_room), "thinking-only", {"reasoning_tokens": 4096}),
    "one picture taken": (Endpoint(pictures=1), "one-picture", {"frames": 1}),
}


SLOW = ("schema refused", "choices alone", "silent until told not to think", "silent without room")


@pytest.mark.parametrize("case", marked(BROKEN, SLOW))
def test_a_broken_endpoint_is_named_and_then_played_with(tmp_path, case, request):
    """Without the options every decision is a fallback, or the study is refused; with them none is."""
    game = "Pong"
    if case != "pictures refused":
        request.getfixturevalue("lane")
        game = "own_games:Lane-v0,steps=4"
    endpoint, problem, options = BROKEN[case]
    with FakeVendorServer(respond=endpoint.respond) as server:
        found, given = checked(tmp_path, server)
        assert found["problems"] == [problem] and found["options"] == options and found["works"]
        row = played(tmp_path, "qwen-vl", {**given, **found["options"]})
        assert float(row["fallback_rate"]) == 0.0 and int(row["calls"]) == 4
        if case in ("pictures refused", "one picture taken"):
            agent = AgentSpec("one", "qwen-vl", given).text
            flags = ["--games", game, "--seeds", "0", "--max-steps", "4", "--agents", agent]
            assert evaluate.main([*flags, "--save-dir", str(tmp_path)]) == 2
        elif case != "schema refused":  # which every study finds out for itself
            row = played(tmp_path, "qwen-vl", given, "bare", code=3)  # no play of the model's
            assert float(row["fallback_rate"]) == 1.0


@pytest.mark.parametrize(
    ("pictures", "read"),
    [
        ("last", 1),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [("none", 0), ("first", 1), (2, 2), (3, 3)]
        ),
    ],
)
def test_pictures_that_are_dropped_are_not_counted(tmp_path, pictures, read, request):
    if read:
        request.getfixturevalue("lane")
    with FakeVendorServer(respond=Endpoint(pictures=pictures).respond) as server:
        found, given = checked(tmp_path, server)
        assert found["pictures"] == read and found["picture_read"] == (read > 0)
        assert found["problems"] == [["no-pictures"], ["one-picture"], [], []][read]
        row = played(tmp_path, "qwen-vl", {**given, **found["options"]})
        assert float(row["fallback_rate"]) == 0.0
        if read < 2:  # and nothing is sent that is not read
            game = [r for r in server.requests if "Legal" in r.text or "ACTION" in r.text.upper()]
            assert {len(request.images) for request in game[-4:]} == {read}


PRICES = {
    "a cost of its own": ({"usage": {"cost": 0.5}}, "list", (4 * 0.000270)),
    "no tokens": ({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, "none", 0.0),
    "fewer than none": ({"usage": {"prompt_tokens": -5, "completion_tokens": 7}}, "none", 0.0),
    "too many": ({"usage": {"prompt_tokens": 10**9}}, "none", 0.0),
    "more written than allowed": ({"usage": {"completion_tokens": 90_000}}, "none", 0.0),
    "an unlisted model": ({"served": "somebody/llama"}, "none", 0.0),
    "a dearer model": ({"served": "gpt-6-astra"}, None, 4 * (60 * 10 + 40 * 1 + 7 * 50) / 1e6),
}


@pytest.mark.parametrize("case", marked(PRICES, [*PRICES][1:]))
def test_wrong_prices_are_named_and_then_costs_are_right(lane, tmp_path, case):
    manners, prices, cost = PRICES[case]
    with FakeVendorServer(respond=Endpoint(**manners).respond) as server:
        found, given = checked(tmp_path, server, "gpt-4o")
        assert found["problems"] == ["wrong-prices"] and found["works"]
        assert found["options"] == ({"prices": prices} if prices else {})
        row = played(tmp_path, "gpt-4o", {**given, **found["options"]})
    assert float(row["fallback_rate"]) == 0.0
    assert float(row["cost_usd"]) == pytest.approx(cost)


@pytest.mark.slow
def test_of_a_server_with_a_key_that_counts_wrongly_the_price_is_unknown(lane, tmp_path, capsys):
    """A budget in dollars is then refused before anything is asked, not kept by a number that is wrong."""
    with FakeVendorServer(respond=Endpoint(usage={"prompt_tokens": 0}).respond) as server:
        found, given = checked(tmp_path, server, "gpt-4o", "--api-key-env", "SERVERS_KEY")
        assert found["options"]["prices"] == "none"
        options = {**given, **found["options"], "api_key_env": "SERVERS_KEY"}
        asked = len(server.requests)
        flags = ["--games", "Pong", "--max-steps", "4", "--save-dir", str(tmp_path), "--budget-usd"]
        agent = AgentSpec("one", "gpt-4o", options).text
        assert evaluate.main([*flags, "1", "--agents", agent]) == 2
        assert len(server.requests) == asked and "price" in capsys.readouterr().err


def test_several_problems_at_once(lane, tmp_path):
    endpoint = Endpoint(pictures="last", schema="ignored", thinks=effort, usage={"cost": 1.0})
    with FakeVendorServer(respond=endpoint.respond) as server:
        found, given = checked(tmp_path, server, "gpt-4o")
        problems = ["one-picture", "no-schema", "thinking-only", "wrong-prices"]
        assert found["problems"] == problems and found["thinking"]
        row = played(tmp_path, "gpt-4o", {**given, **found["options"]})
    assert float(row["fallback_rate"]) == 0.0


def worded(body):
    """A completion as vLLM's with ``prompt_logprobs``, of a model whose tokens are words: long ones are improbable."""
    words = [turn["role"] for turn in body["messages"]] + ["<opens>"]
    if not body.get("add_generation_prompt", True):
        words += [body["messages"][-1]["content"], "<ends>"]
        del words[len(body["messages"]) - 1]
    entries = [
        {str(1000 + len(word)): {"logprob": -float(len(word)), "decoded_token": word}}
        for word in words
    ]
    message = {"role": "assistant", "content": "x"}
    choices = [{"index": 0, "finish_reason": "length", "message": message}]
    return {"choices": choices, "prompt_logprobs": [None, *entries]}


def test_a_server_that_scores_given_answers_plays_by_them(lane, tmp_path):
    """It keeps to no form, and what it thinks of each action decides; elsewhere ``--scores`` asks and says why not."""
    deaf = Endpoint(schema="ignored")

    def respond(request):
        if "prompt_logprobs" in request.body:
            return 200, {}, json.dumps(worded(request.body)).encode()
        return deaf.respond(request)

    with FakeVendorServer(respond=respond) as server:
        found, given = checked(tmp_path, server)
        options = {"structured": "none", "scores": "prompt_logprobs", "answer": "scores"}
        assert found["scores"] == "prompt_logprobs" and found["works"]
        assert found["options"] == options and found["problems"] == ["no-schema"]
        row = played(tmp_path, "qwen-vl", {**given, **options})
    assert float(row["fallback_rate"]) == 0.0 and int(row["calls"]) == 4
    with FakeVendorServer(respond=Endpoint().respond) as server:
        found, _ = checked(tmp_path, server, "qwen-vl", "--scores")
    assert found["scores"] == "" and found["options"] == {} and len(found["notes"]) == 2
    assert "does not say how probable" in found["notes"][0]
    assert "no /v1/systemone" in found["notes"][1]


@pytest.mark.slow
def test_an_endpoint_that_only_answers_what_has_a_schema(lane, tmp_path):
    """It thinks for ever in words, and answers as soon as a grammar holds it."""
    endpoint = Endpoint(thinks=lambda body: not endpoints.schema_of(body))
    with FakeVendorServer(respond=endpoint.respond) as server:
        found, given = checked(tmp_path, server)
        assert found["problems"] == ["thinking-only"] and found["options"] == {"answer": "json"}
        assert found["pictures"] == 4 and found["works"]
        assert float(played(tmp_path, "qwen-vl", {**given, "answer": "json"})["fallback_rate"]) == 0


def test_an_endpoint_that_nothing_helps(lane, tmp_path):
    with FakeVendorServer(respond=Endpoint(thinks=lambda body: True).respond) as server:
        found, _ = checked(tmp_path, server)
    assert found["problems"] == ["no-schema", "thinking-only"] and not found["works"]
    assert found["calls"] < 30


@pytest.mark.parametrize(
    ("flags", "fault", "code", "words"),
    [
        ([], "401", 77, "key"),
        ([], "404", 2, "model"),
        (["--max-calls", "2"], None, 75, "budget"),
        (["--vlm", "scripted"], None, 2, "nothing to check"),
        (["--vlm", "gpt4"], None, 2, "gpt-4o"),
        (["--vlm", ""], None, 2, "--vlm NAME"),
        (["--seed", "-1"], None, 2, "seed"),
        (["--vlm-option", "structure=none"], None, 2, "structured"),
        (["--json", "/dev/null/found.json"], None, 74, "/dev/null"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(lane, tmp_path, capsys, flags, fault, code, words):
    with FakeVendorServer(respond=Endpoint().respond, faults=FaultSchedule(always=fault)) as server:
        address = [] if "scripted" in flags else ["--base-url", server.openai_url]
        assert check.main(["--vlm", "qwen-vl", *address, *flags]) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("error: ") and words in said[0]


def test_a_server_that_is_not_there(capsys):
    with FakeVendorServer() as server:
        url = server.openai_url
    assert check.main(["--vlm", "qwen-vl", "--base-url", url]) == 75
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_is_paid_twice(lane, tmp_path):
    with FakeVendorServer(respond=Endpoint().respond) as server:
        cache = ["--cache", str(tmp_path / "replies.sqlite")]
        first, _ = checked(tmp_path, server, "gpt-4o", *cache)
        asked = len(server.requests)
        second, _ = checked(tmp_path, server, "gpt-4o", *cache)
        assert len(server.requests) == asked and second["calls"] == 0
    assert {**second, "calls": 7, "cost_usd": first["cost_usd"]} == first


def test_a_reply_that_says_a_key_or_moves_the_cursor(lane, tmp_path, capsys, monkeypatch):
    said = Endpoint._say

    def hostile(self, request, *rest):
        honest = said(self, request, *rest)
        return f"\x1b[2J{KEY} is what I see" if "picture_2" in request.text else honest

    monkeypatch.setattr(Endpoint, "_say", hostile)
    with FakeVendorServer(respond=Endpoint().respond) as server:
        found, _ = checked(tmp_path, server, "qwen-vl", "--api-key-env", "SERVERS_KEY")
    printed = capsys.readouterr().out
    assert "is what I see" in printed and found["problems"] == ["one-picture"]
    assert KEY not in printed + json.dumps(found) and "\x1b" not in printed


def reply(text="red 7", model="gpt-4o", note="", cost=None, **counts):
    usage = Usage(**{"input_tokens": 100, "output_tokens": 7, **counts})
    return Asked(cards.question(cards.deal(2, 0)), Reply(text, model, usage=usage, cost_usd=cost, note=note), 512)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "prices"),
    [
        (reply(cost=0.00032), None),
        (reply(cost=0.00033), None),
        (reply(cost=0.32), "list"),
        (reply(cost=0.0), "list"),
        (reply(model="gpt-4o-2024-11-20"), None),
        (reply(model="openai/gpt-4o"), None),
        (reply(model="gpt-6-astra"), ""),
        (reply(model="local.gguf"), "none"),
        (reply(input_tokens=0), "none"),
        (reply(input_tokens=3), "none"),
        (reply(input_tokens=10**8), "none"),
        (reply(input_tokens=None), None),
        (reply(output_tokens=0), "none"),
        (reply(output_tokens=0, text=""), None),
        (reply(output_tokens=9000), "none"),
        (reply(output_tokens=9000, reasoning_tokens=8990), None),
        (reply(cached_tokens=101), "none"),
        (reply(reasoning_tokens=8), "none"),
        (reply(note=f"{MISCOUNTED}: prompt_tokens is -5"), "none"),
    ],
)
def test_what_is_doubted(one, prices):
    found = doubts([one, one], "gpt-4o")
    assert [doubt.prices for doubt in found] == ([] if prices is None else [prices])


def test_a_model_without_a_price_is_not_doubted():
    assert doubts([reply(model="served.gguf", cost=0.0)], "Qwen/Qwen2-VL-7B-Instruct") == []


def test_cards_are_seeded_and_differ():
    for count in (1, 2, 3, 4):
        shown = cards.deal(count, 7)
        assert shown == cards.deal(count, 7) and len(shown) == count
        assert len({card.colour for card in shown}) == len({card.digit for card in shown}) == count
    assert len({cards.deal(4, seed) for seed in range(20)}) > 15
    assert all(endpoints.seen(card.image.png) == str(card) for card in cards.deal(4, 3))


@pytest.mark.parametrize(
    "text",
    [
        '{"picture_1": "red 7", "picture_2": "blue 3"}',
        "<think>green 1</think>1. Red ground, the digit 7\n2. Blue ground, the digit three",
        '[{"colour": "red", "digit": 7}, {"colour": "blue", "digit": 3}]',
        "**Red** with a 7, then **blue** with a 3.",
    ],
)
def test_answers_are_read_in_any_form(text):
    assert cards.read(text) == (cards.Card("red", 7), cards.Card("blue", 3))


@pytest.mark.parametrize("text", ["", "<think>red 7", '{"picture_1": "red", "picture_2": "blue"}'])
def test_what_names_no_card_is_none(text):
    assert cards.read(text) == ()


def test_help_loads_neither_torch_nor_an_sdk():
    code = (
        "import sys\nfrom atari_vlm.cli import main\ntry:\n    main(['check', '--help'])\nexcept SystemExit as end:\n"
        "    heavy = {'torch', 'transformers', 'openai', 'anthropic', 'google.genai'} & sys.modules.keys()\n"
        "    sys.exit(f'{end.code} {sorted(heavy)}' if end.code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--base-url" in done.stdout
