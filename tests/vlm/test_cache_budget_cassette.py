"""What composes around a VLM: cache, budget, cassettes."""

import threading
import time

import numpy as np
import pytest

from atari_vlm.checker import example_messages
from atari_vlm.errors import BudgetExhaustedError, ConfigError, ReplayMissError, UnavailableError
from atari_vlm.types import Reply, Usage
from atari_vlm.vlm import BudgetVLM, CachedVLM, RecordingVLM, ReplayVLM
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.layers.budget import Budget


class CountingVLM:
    """Answers each request with its number, so that a repeated answer proves that nothing was asked."""

    name, capabilities = "counting", frozenset({"scores"})

    def __init__(self, cost=0.01, delay_s=0.0, fail_on=()):
        self.calls, self.cost, self.delay_s, self.fail_on = 0, cost, delay_s, fail_on
        self.lock = threading.Lock()

    def complete(self, messages, *, sampling):
        with self.lock:
            self.calls += 1
            number = self.calls
        if number in self.fail_on:
            raise UnavailableError("down")
        time.sleep(self.delay_s)
        return Reply(f"reply {number}", "m", usage=Usage(10, 5), cost_usd=self.cost)

    def score_choices(self, messages, choices):
        with self.lock:
            self.calls += 1
        return np.linspace(-3, -1, len(choices)) - self.calls


def test_cache_serves_equal_requests_and_only_those(tmp_path):
    vlm = CountingVLM()
    cached = CachedVLM(vlm, tmp_path / "cache.sqlite")
    first = cached.complete(example_messages(1), sampling=Sampling())
    assert cached.complete(example_messages(1), sampling=Sampling()) == first
    assert cached.complete(example_messages(2), sampling=Sampling()) != first  # another picture
    assert cached.complete(example_messages(1), sampling=Sampling(temperature=0.5)) != first
    assert cached.complete(example_messages(1), sampling=Sampling(sample=1)) != first
    assert (vlm.calls, cached.hits) == (4, 1)
    scores = cached.score_choices(example_messages(1), ["A", "B"])
    np.testing.assert_array_equal(cached.score_choices(example_messages(1), ["A", "B"]), scores)
    cached.close()
    again = CachedVLM(CountingVLM(fail_on=[1]), tmp_path / "cache.sqlite", mode="replay-only")
    assert again.complete(example_messages(1), sampling=Sampling()) == first
    with pytest.raises(ReplayMissError, match="holds no reply"):
        again.complete(example_messages(3), sampling=Sampling())
    again.close()


def test_cache_asks_once_for_simultaneous_equal_requests_and_keeps_no_failure(tmp_path):
    vlm = CountingVLM(delay_s=0.05)
    cached = CachedVLM(vlm, tmp_path / "c.sqlite")
    replies = []

    def ask():
        replies.append(cached.complete(example_messages(), sampling=Sampling()).text)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert replies == ["reply 1"] * 8 and vlm.calls == 1
    cached.close()
    failing = CachedVLM(CountingVLM(fail_on=[1]), tmp_path / "d.sqlite")
    with pytest.raises(UnavailableError):
        failing.complete(example_messages(), sampling=Sampling())
    assert failing.complete(example_messages(), sampling=Sampling()).text == "reply 2"
    failing.close()


def test_cache_refuses_wrong_mode_and_wrong_file(tmp_path):
    with pytest.raises(ConfigError, match="replay-only"):
        CachedVLM(CountingVLM(), tmp_path / "c.sqlite", mode="replay")
    (tmp_path / "text").write_text("not a database, but long enough to be read as one " * 50)
    with pytest.raises(ConfigError, match="not a reply cache"):
        CachedVLM(CountingVLM(), tmp_path / "text")


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [({"calls": 3}, 3), ({"tokens": 40}, 3), ({"usd": 0.025}, 3), ({"calls": 9, "tokens": 15}, 1)],
)
def test_budget_stops_before_the_call_beyond_it(limits, allowed):
    vlm = CountingVLM()
    spending = BudgetVLM(vlm, Budget(**limits))
    for _ in range(allowed):
        spending.complete(example_messages(), sampling=Sampling())
    with pytest.raises(BudgetExhaustedError, match="used up") as stop:
        spending.complete(example_messages(), sampling=Sampling())
    assert stop.value.exit_code == 75 and vlm.calls == allowed


def test_budget_continues_from_what_was_spent_and_failures_are_free():
    budget = Budget(calls=3)
    budget.restore(usd=0.1, calls=2, tokens=100)
    spending = BudgetVLM(CountingVLM(fail_on=[1]), budget)
    with pytest.raises(UnavailableError):
        spending.complete(example_messages(), sampling=Sampling())
    assert budget.spent["calls"] == 2
    spending.score_choices(example_messages(), ["A"])
    with pytest.raises(BudgetExhaustedError):
        spending.score_choices(example_messages(), ["A"])


def test_a_dollar_budget_refuses_an_unknown_price_but_keeps_the_reply():
    spending = BudgetVLM(CountingVLM(cost=None), Budget(usd=1))
    assert spending.complete(example_messages(), sampling=Sampling()).text == "reply 1"
    with pytest.raises(ConfigError, match="price of 'm' is unknown"):
        spending.complete(example_messages(), sampling=Sampling())
    with pytest.raises(ConfigError, match="greater than 0"):
        Budget(calls=0)


def test_a_cassette_replays_in_order_and_ends(tmp_path):
    recording = RecordingVLM(CountingVLM(), tmp_path / "tape.jsonl")
    recorded = [recording.complete(example_messages(), sampling=Sampling()) for _ in range(2)]
    scores = recording.score_choices(example_messages(), ["A", "B"])
    replay = ReplayVLM(tmp_path / "tape.jsonl")
    assert (replay.name, replay.capabilities) == ("counting", frozenset({"scores"}))
    assert [replay.complete(example_messages(), sampling=Sampling()) for _ in range(2)] == recorded
    np.testing.assert_array_equal(replay.score_choices(example_messages(), ["A", "B"]), scores)
    with pytest.raises(ReplayMissError):
        replay.complete(example_messages(), sampling=Sampling())


@pytest.mark.parametrize("content", ["", "{}\n", '{"format": "other"}\n', "[]\nnot json\n"])
def test_a_damaged_cassette_is_a_clear_error(tmp_path, content):
    (tmp_path / "tape").write_text(content)
    with pytest.raises(ConfigError, match="is not a recording"):
        ReplayVLM(tmp_path / "tape")
    with pytest.raises(ConfigError, match="no recording"):
        ReplayVLM(tmp_path / "absent")
