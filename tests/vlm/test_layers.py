"""What stands round a VLM in every run: nothing is lost or paid twice, and no file's content is taken on trust."""

import dataclasses
import json
import logging
import math
import os
import random
import sqlite3

import numpy as np
import pytest

from atari_vlm.errors import BudgetExhaustedError, ConfigError, ReplayMissError
from atari_vlm.runs.journal import Journal
from atari_vlm.runs.journal_vlm import JournalVLM
from atari_vlm.types import Decision, Message, Reply, Source, Usage
from atari_vlm.vlm.base import Sampling, request_key
from atari_vlm.vlm.layers.budget import Budget, BudgetVLM
from atari_vlm.vlm.layers.cache import CachedVLM, CacheMode
from atari_vlm.vlm.layers.cassette import RecordingVLM, ReplayVLM
from atari_vlm.vlm.layers.keyless import KeylessVLM
from atari_vlm.vlm.layers.stack import limited
from atari_vlm.vlm.remote.keys import Secret

KEY = "sk-abcdefgh-0123456789"


@dataclasses.dataclass
class Limits:
    budget_usd: float | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    cache: object = None
    cache_mode: CacheMode = "readwrite"


class Vendor:
    """Answers what it is told to, and counts."""

    name, capabilities = "vendor", frozenset({"scores"})

    def __init__(self, reply=None):
        self.asked, self.reply = 0, reply

    def complete(self, messages, *, sampling):
        self.asked += 1
        return self.reply or Reply(f"reply {self.asked}", "m", usage=Usage(10, 5), cost_usd=0.01)

    def score_choices(self, messages, choices):
        self.asked += 1
        return np.log(np.arange(1, len(choices) + 1) / 10)


def question(text):
    return [Message.of("user", text)]


def ask(vlm, text="q"):
    return vlm.complete(question(text), sampling=Sampling())


def count(journal):
    return [(call.cached, call.paid) for call in journal.calls(0)]


def test_what_the_cache_serves_is_never_spent_neither_now_nor_later(tmp_path):
    vendor, limits = Vendor(), Limits(max_calls=3, cache=tmp_path / "cache")
    with Journal(tmp_path / "a") as journal:
        vlm = limited(vendor, limits)
        asked = JournalVLM(vlm, journal, 0)
        first = [ask(asked, "a"), ask(asked, "b"), asked.score_choices(question("c"), ["x", "y"])]
        assert count(journal) == [(False, True)] * 3 and vlm.budget.spent["calls"] == 3
        vlm.close()
    with Journal(tmp_path / "b") as journal:
        vlm = limited(vendor, limits)
        served = JournalVLM(vlm, journal, 0)
        replies = [ask(served, "a"), ask(served, "b")]
        scores = served.score_choices(question("c"), ["x", "y"])
        assert replies == first[:2] and np.array_equal(scores, first[2])
        assert [reply.cached for reply in replies] == [True, True] and served.asked == 0
        ask(served, "d")
        assert count(journal) == [(True, False)] * 3 + [(False, True)]
        vlm.close()
        later = limited(vendor, limits)
        later.restore(journal.replies(paid=True))
        assert later.budget.spent == {"usd": 0.01, "calls": 1, "tokens": 15}
        again = JournalVLM(later, journal, 0)
        assert [reply.cached for reply in (ask(again, "a"), ask(again, "b"))] == [True, True]
        again.score_choices(question("c"), ["x", "y"])
        assert not ask(again, "d").cached
        assert [ask(again, text).text for text in ("e", "f")] == ["reply 5", "reply 6"]
        with pytest.raises(BudgetExhaustedError, match="3 spent"):
            ask(again, "g")
        later.close()


def test_a_decision_costs_what_was_paid():
    paid, cached, unknown = (
        Reply("", "m", cost_usd=0.5),
        Reply("", "m", cost_usd=0.5, cached=True),
        Reply("", "m"),
    )
    assert Decision(0, Source.MODEL, replies=(paid, cached)).cost_usd == 0.5
    assert (
        Decision(
            0, Source.MODEL, replies=(paid, dataclasses.replace(unknown, cached=True))
        ).cost_usd
        == 0.5
    )
    assert Decision(0, Source.MODEL, replies=(paid, unknown)).cost_usd is None
    assert "cached" not in cached.as_dict() and cached == paid


def test_an_answer_that_died_between_cache_and_journal_is_paid_once_and_counted_once(
    tmp_path, monkeypatch
):
    vendor, limits = Vendor(), Limits(max_calls=5, cache=tmp_path / "cache")
    with Journal(tmp_path / "j") as journal:
        vlm = limited(vendor, limits)
        with monkeypatch.context() as patch:
            patch.setattr(
                Journal, "record_reply", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
            )
            with pytest.raises(KeyboardInterrupt):
                ask(JournalVLM(vlm, journal, 0))
        vlm.close()
        other = limited(vendor, limits)
        assert ask(JournalVLM(other, journal, 1)).cached  # another call of the run: not its money
        reply = ask(JournalVLM(other, journal, 0))
        assert not reply.cached and vendor.asked == 1 and count(journal) == [(False, True)]
        assert other.budget.spent == {"usd": 0.01, "calls": 1, "tokens": 15}
        other.close()


TRIGGER = "create trigger t before insert on replies begin select raise(abort, 'no'); end"


@pytest.mark.parametrize(
    "harm", [TRIGGER, "drop table replies", "drop table origins", "alter table replies rename to r"]
)
def test_a_cache_that_fails_is_a_warning_and_every_paid_reply_is_in_the_journal(
    tmp_path, caplog, harm
):
    vendor, path = Vendor(), tmp_path / "cache"
    vlm = limited(vendor, Limits(cache=path))
    db = sqlite3.connect(path)
    db.execute(harm)
    db.commit()
    db.close()
    with Journal(tmp_path / "j") as journal, caplog.at_level(logging.WARNING):
        asked = JournalVLM(vlm, journal, 0)
        replies = [ask(asked, str(n)) for n in range(4)]
        assert len(list(journal.replies(paid=True))) == 4 == vendor.asked and len(set(replies)) == 4
    assert "cache" in caplog.text and len(caplog.records) <= 3
    vlm.close()


def test_a_full_disk_under_the_cache_is_a_warning(tmp_path, caplog, monkeypatch):
    vlm = limited(Vendor(), Limits(cache=tmp_path / "cache"))
    vlm._vlm._cache._db.execute("PRAGMA max_page_count=1")
    big = Reply("x" * 100_000, "m", cost_usd=0.01)
    monkeypatch.setattr(vlm._vlm, "_vlm", Vendor(big))
    assert ask(vlm) == big and ask(vlm, "again") == big
    assert "full" in caplog.text
    vlm.close()


BODIES = {
    "cut": "{",
    "list": "[1]",
    "word": '"a"',
    "null": "null",
    "number as text": '{"text":5,"model":"m","usage":{}}',
    "no usage": '{"text":"a","model":"m"}',
    "usage a list": '{"text":"a","model":"m","usage":[]}',
    "unknown name": '{"text":"a","model":"m","usage":{},"run":"rm"}',
    "unknown count": '{"text":"a","model":"m","usage":{"tokens":1}}',
    "float count": '{"text":"a","model":"m","usage":{"input_tokens":1.5}}',
    "true count": '{"text":"a","model":"m","usage":{"input_tokens":true}}',
    "negative count": '{"text":"a","model":"m","usage":{"input_tokens":-1}}',
    "huge count": '{"text":"a","model":"m","usage":{"input_tokens":1e400}}',
    "NaN cost": '{"text":"a","model":"m","usage":{},"cost_usd":NaN}',
    "negative cost": '{"text":"a","model":"m","usage":{},"cost_usd":-1}',
    "infinite latency": '{"text":"a","model":"m","usage":{},"latency_s":1e999}',
    "no attempts": '{"text":"a","model":"m","usage":{},"attempts":null}',
    "other reason": '{"text":"a","model":"m","usage":{},"finish_reason":"why"}',
    "reason a list": '{"text":"a","model":"m","usage":{},"finish_reason":[]}',
    "surrogate": '{"text":"a\\ud800","model":"m","usage":{}}',
    "model a list": '{"text":"a","model":["m"],"usage":{}}',
    "claims to be cached": '{"text":"a","model":"m","usage":{},"cached":true}',
    "deep": "[" * 100_000,
    "long number": '{"text":"a","model":"m","usage":{"input_tokens":' + "1" * 5000 + "}}",
}


def put(path, body):
    db = sqlite3.connect(path)
    db.execute("update replies set body = ?", (body,))
    db.execute("delete from origins")  # as in a cache of before, which has no digests
    db.commit()
    db.close()


@pytest.mark.parametrize("name", BODIES)
def test_an_entry_that_is_no_reply_is_a_miss_and_mended(tmp_path, name, caplog):
    vendor, path = Vendor(), tmp_path / "cache"
    vlm = CachedVLM(vendor, path)
    ask(vlm)
    put(path, BODIES[name])
    with Journal(tmp_path / "j") as journal:
        assert ask(JournalVLM(vlm, journal, 0)).text == "reply 2" and "cache" in caplog.text
        assert [reply["text"] for reply in journal.replies(paid=True)] == ["reply 2"]
    assert ask(vlm).text == "reply 2" and vendor.asked == 2  # the entry was replaced
    vlm.close()
    put(path, BODIES[name])
    replaying = CachedVLM(vendor, path, "replay-only")
    with pytest.raises(ConfigError, match="cache"):
        ask(replaying)
    replaying.close()


@pytest.mark.parametrize(
    "body", ["{", '["a"]', "[NaN]", "[1]", "[true, false]", "{}", "null", "[[1], [2]]"]
)
def test_scores_that_are_none_are_a_miss(tmp_path, body):
    vendor, path = Vendor(), tmp_path / "cache"
    vlm = CachedVLM(vendor, path)
    scores = vlm.score_choices(question("q"), ["x", "y"])
    put(path, body)
    assert (
        np.array_equal(vlm.score_choices(question("q"), ["x", "y"]), scores) and vendor.asked == 2
    )
    vlm.close()


def table(columns):
    def make(path):
        db = sqlite3.connect(path)
        db.execute(f"create table {columns}")
        db.commit()
        db.close()

    return make


@pytest.mark.parametrize(
    "make",
    [
        *(
            table("other(a)"),
            table("replies(a)"),
            table("replies(key, body)"),
            table("replies(key, name, body, created, more)"),
        ),
        *(
            os.mkfifo,
            os.mkdir,
            lambda path: path.write_text("text " * 999),
            lambda path: path.symlink_to("/dev/zero"),
        ),
        lambda path: Journal(path).close(),
    ],
)
def test_what_is_no_cache_is_refused_and_left_as_it_is(tmp_path, make):
    path = tmp_path / "cache"
    make(path)
    before = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    with pytest.raises(ConfigError, match="not a reply cache"):
        CachedVLM(Vendor(), path)
    if before is not None:
        assert path.read_bytes() == before


def test_a_cache_of_before_is_read_and_goes_on(tmp_path):
    body = json.dumps(Reply("old", "m").as_dict())
    db = sqlite3.connect(tmp_path / "cache")
    db.execute(
        "CREATE TABLE replies (key TEXT PRIMARY KEY, name TEXT, body TEXT NOT NULL, created REAL NOT NULL)"
    )
    db.execute(
        "INSERT INTO replies VALUES (?, 'vendor', ?, 0.0)",
        (request_key("vendor", question("q"), Sampling()), body),
    )
    db.commit()
    db.close()
    vlm = CachedVLM(Vendor(), tmp_path / "cache")
    assert ask(vlm).text == "old" and ask(vlm, "new").text == "reply 1"
    vlm.close()


@pytest.mark.parametrize("cost", [math.nan, math.inf, -1.0, 1e9, "3", True])
def test_a_price_that_means_nothing_is_unknown(tmp_path, cost):
    reply = Reply("a", "m", usage=Usage(10, 5), cost_usd=cost)
    vlm = limited(Vendor(reply), Limits(budget_usd=1.0))
    assert ask(vlm).cost_usd is None
    with pytest.raises(ConfigError, match="price of 'm' is unknown"):
        ask(vlm, "next")
    budget = Budget(usd=1.0)
    BudgetVLM(Vendor(reply), budget).complete(question("q"), sampling=Sampling())
    assert budget.spent["usd"] == 0.0  # never NaN, which no limit stops


def test_a_reply_is_legal_before_any_file_sees_it(tmp_path):
    wild = Reply("a\ud800", "m\udfff", "why", Usage(-1, 2.5, True, None), math.nan, math.inf, -3)
    legal = wild.legal()
    assert (
        legal
        == Reply("a?", "m?", "stop", Usage(), 0.0, None, 1)
        == Reply.from_dict(legal.as_dict())
    )
    with Journal(tmp_path / "j") as journal:
        assert ask(JournalVLM(Vendor(wild), journal, 0)) == legal
        assert ask(JournalVLM(Vendor(wild), journal, 0)) == legal
    recording = RecordingVLM(Vendor(wild), tmp_path / "tape")
    ask(recording)
    assert ask(ReplayVLM(tmp_path / "tape")) == legal


@pytest.mark.parametrize("field", ["text", "model"])
@pytest.mark.parametrize(
    "form", [KEY, KEY.upper()[:0] + KEY + " and " + KEY, "c2stYWJjZGVmZ2gtMDEyMzQ1Njc4OQ=="]
)
def test_a_key_is_taken_out_of_every_string_of_a_reply(tmp_path, field, form):
    vendor = Vendor(dataclasses.replace(Reply("ACTION: UP", "m"), **{field: f"see {form}"}))
    vlm = limited(vendor, Limits(cache=tmp_path / "cache"), api_key=KEY)
    with Journal(tmp_path / "j") as journal:
        reply = ask(JournalVLM(vlm, journal, 0))
    vlm.close()
    assert "[key]" in getattr(reply, field)
    for path in tmp_path.iterdir():
        assert (
            KEY.encode() not in path.read_bytes() and b"c2stYWJjZGVmZ2gt" not in path.read_bytes()
        )


def test_keys_of_several_lengths():
    vendor = Vendor(Reply("x", f"{KEY}/v1"))
    assert ask(KeylessVLM(vendor, [Secret(KEY), Secret("short")])).model == "[key]/v1"


HEAD = '{"format": "atari_vlm cassette 1", "name": "vendor", "capabilities": []}\n'


@pytest.mark.parametrize(
    "content",
    [
        *(
            HEAD + "[1]\n",
            HEAD + '{"key": [], "body": 1}\n',
            HEAD + "{}\n",
            "[]\n",
            HEAD + "null\n",
            HEAD + "\n",
        ),
        *(
            HEAD + '{"key": "k"}\n',
            HEAD.replace("[]", "[[]]"),
            HEAD.replace("[]", '"scores"'),
            HEAD.replace('"vendor"', "7"),
        ),
        *(
            HEAD.replace("[]", '["fly"]'),
            HEAD + "[" * 100_000 + "\n",
            "\x00",
            HEAD + '{"key": "k", "body": 1, "more": 2}\n',
        ),
    ],
)
def test_what_is_no_cassette_is_refused(tmp_path, content):
    (tmp_path / "tape").write_text(content)
    with pytest.raises(ConfigError, match="is not a recording"):
        ReplayVLM(tmp_path / "tape")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_no_cassette(tmp_path, make):
    make(tmp_path / "tape")
    with pytest.raises(ConfigError, match="tape is no real file"):
        ReplayVLM(tmp_path / "tape")


@pytest.mark.parametrize("name", BODIES)
def test_a_recorded_reply_that_is_none_is_an_error_when_it_is_its_turn(tmp_path, name):
    key = request_key("vendor", question("q"), Sampling())
    (tmp_path / "tape").write_text(HEAD + f'{{"key": "{key}", "body": {BODIES[name]}}}\n')
    with pytest.raises(ConfigError, match="tape"):
        ask(ReplayVLM(tmp_path / "tape"))


def test_a_recording_is_not_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("thesis")
    (tmp_path / "tape").symlink_to(tmp_path / "mine")
    ask(RecordingVLM(Vendor(), tmp_path / "tape"))
    assert (tmp_path / "mine").read_text() == "thesis" and ask(
        ReplayVLM(tmp_path / "tape")
    ).text == "reply 1"


@pytest.mark.parametrize("times", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_mutated_caches_and_cassettes_give_what_was_paid_for_or_one_sentence(tmp_path, times):
    """Seeded flips and cuts of whole files: nothing untyped, and nothing but what was recorded ever comes out of one."""
    draw, texts = random.Random(times), [f"question {n}" for n in range(12)]
    sound = CachedVLM(Vendor(), tmp_path / "cache")
    recording = RecordingVLM(Vendor(), tmp_path / "tape")
    for text in texts:
        assert ask(sound, text) == ask(recording, text)
    paid = {
        text: Reply(f"reply {n}", "m", usage=Usage(10, 5), cost_usd=0.01)
        for n, text in enumerate(texts, 1)
    }
    sound.close()
    opened = {"cache": lambda path: CachedVLM(Vendor(), path, "replay-only"), "tape": ReplayVLM}
    for name, make in opened.items():
        raw = (tmp_path / name).read_bytes()
        for number in range(times):
            path = tmp_path / f"{name}-{number}"
            path.write_bytes(mutated(raw, draw))
            try:
                vlm = make(path)
            except ConfigError:
                continue
            for text in texts:
                try:
                    reply = ask(vlm, text)
                except (ConfigError, ReplayMissError):
                    continue
                assert reply == paid[text]
            if name == "cache":
                vlm.close()


def mutated(raw, draw):
    """A few flipped bits, now and then a cut, a doubled or a lost piece."""
    data = bytearray(raw)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(data))
        data[at] ^= 1 << draw.randrange(8)
    if draw.random() < 0.3:
        begin = draw.randrange(len(data))
        end = begin + draw.randrange(1, 400)
        data[begin:end] = draw.choice([b"", bytes(data[begin:end]) * 2])
    return bytes(data)
