"""What stands around a VLM in every run: keys hidden, then the budget, then the cache; and who asks."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest

from atari_vlm.errors import BudgetExhaustedError, ConfigError, ReplayMissError
from atari_vlm.types import Message, Reply, Usage
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.layers.asking import asking, current
from atari_vlm.vlm.layers.stack import budget_of, limited

KEY = "sk-very-secret-0123456789"


@dataclass(frozen=True)
class Limits:
    budget_usd: float | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    cache: str | None = None
    cache_mode: str = "readwrite"


class Counting:
    """Answers with the number of the call and whatever ``words`` it is given; each costs a cent and 10 tokens."""

    name, capabilities = "counting", frozenset({"scores"})

    def __init__(self, words="", cost_usd=0.01):
        self.calls, self.words, self.cost_usd = 0, words, cost_usd

    def complete(self, messages, *, sampling):
        self.calls += 1
        usage = Usage(8, 2)
        return Reply(f"{self.calls} {self.words}", "m", usage=usage, cost_usd=self.cost_usd)

    def score_choices(self, messages, choices):
        self.calls += 1
        return np.arange(len(choices), dtype=np.float64) - self.calls


def question(text):
    return (Message.of("user", text),)


def ask(vlm, text="a"):
    return vlm.complete(question(text), sampling=Sampling())


def test_without_limits_every_call_reaches_the_vlm():
    inner = Counting()
    vlm = limited(inner, Limits())
    assert [ask(vlm).text for _ in range(3)] == ["1 ", "2 ", "3 "]
    assert (vlm.name, vlm.capabilities) == (inner.name, inner.capabilities)
    vlm.close()


@pytest.mark.parametrize(
    ("limits", "calls", "kind"),
    [
        (Limits(max_calls=2), 2, "calls"),
        (Limits(max_tokens=20), 2, "tokens"),
        (Limits(budget_usd=0.03), 3, "usd"),
    ],
)
def test_each_limit_ends_the_asking(limits, calls, kind):
    inner = Counting()
    vlm = limited(inner, limits)
    with pytest.raises(BudgetExhaustedError) as raised:
        for number in range(9):
            ask(vlm, str(number))
    assert raised.value.kind == kind and inner.calls == calls


def test_what_the_cache_serves_needs_no_budget(tmp_path):
    inner = Counting()
    vlm = limited(inner, Limits(max_calls=2, cache=str(tmp_path / "cache.db")))
    first = ask(vlm)
    assert [ask(vlm).text for _ in range(5)] == [first.text] * 5 and inner.calls == 1
    scores = vlm.score_choices(question("a"), ["LEFT", "RIGHT"])
    assert np.array_equal(vlm.score_choices(question("a"), ["LEFT", "RIGHT"]), scores)
    assert ask(vlm).cached and not first.cached
    with pytest.raises(BudgetExhaustedError):
        ask(vlm, "b")
    vlm.close()


def test_what_only_replays_never_asks(tmp_path):
    path = str(tmp_path / "cache.db")
    writer = limited(Counting(), Limits(cache=path))
    ask(writer)
    writer.close()
    inner = Counting(cost_usd=None)  # without a price: nothing is paid, so that is no matter
    reader = limited(inner, Limits(budget_usd=1.0, cache=path, cache_mode="replay-only"))
    assert ask(reader).text == "1 "
    with pytest.raises(ReplayMissError, match="holds no reply"):
        ask(reader, "b")
    assert inner.calls == 0
    reader.close()


def test_a_key_leaves_no_reply_and_no_cache_file(tmp_path):
    path = tmp_path / "cache.db"
    vlm = limited(Counting(KEY), Limits(cache=str(path)), api_key=KEY)
    assert KEY not in ask(vlm).text
    vlm.close()
    assert all(KEY.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_what_was_paid_for_before_counts_after_a_resume():
    vlm = limited(Counting(), Limits(max_calls=3))
    vlm.restore([Reply("x", "m", usage=Usage(8, 2), cost_usd=0.01).as_dict()] * 2)
    ask(vlm)
    with pytest.raises(BudgetExhaustedError):
        ask(vlm)


def test_several_vlms_share_one_budget():
    limits = Limits(max_calls=3)
    budget = budget_of(limits)
    first, second = (limited(Counting(), limits, budget=budget) for _ in range(2))
    ask(first), ask(second), ask(first)
    for vlm in (first, second):
        with pytest.raises(BudgetExhaustedError):
            ask(vlm)


def test_a_limit_that_cannot_be_kept_is_refused_before_anything_is_paid():
    inner = Counting()
    with pytest.raises(ConfigError):
        limited(inner, Limits(cache="x", cache_mode="sometimes"))
    assert inner.calls == 0


def test_who_asks_is_known_inside_the_block_only():
    assert current() is None
    with asking("episode 0 step 1") as outer:
        with asking("episode 0 step 2") as inner:
            assert current() is inner and inner.asker == "episode 0 step 2"
        assert current() is outer and not outer.cached
    assert current() is None


def test_who_asks_is_forgotten_when_the_call_fails_and_is_each_thread_s_own():
    with pytest.raises(ZeroDivisionError), asking("a"):
        raise ZeroDivisionError
    others = []
    with asking("a"):
        thread = threading.Thread(target=lambda: others.append(current()))
        thread.start()
        thread.join()
    assert others == [None] and current() is None
