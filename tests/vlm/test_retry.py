"""The retry layer alone, on a virtual clock."""

import email.utils
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_helpers import VirtualClock

from atari_vlm.errors import AuthenticationError, ConfigError, RequestError, UnavailableError
from atari_vlm.vlm.remote.hints import asked_wait_s, retry_after_s
from atari_vlm.vlm.remote.outcomes import Failure
from atari_vlm.vlm.remote.retry import Retrier, RetryPolicy


def failing(failures):
    """An attempt that yields the failures in order and then an answer."""
    queue = list(failures)
    return lambda left_s: queue.pop(0) if queue else "answer"


def retrier(**policy):
    clock = VirtualClock()
    return Retrier(RetryPolicy(**policy), clock=clock, rng=random.Random(0)), clock


def test_an_answer_needs_one_attempt_and_no_sleep():
    retry, clock = retrier()
    assert retry.call(failing([])) == ("answer", 1)
    assert clock.sleeps == []


def test_waits_are_full_jitter_below_a_doubling_bound():
    bounds = [min(0.5 * 2**n, 60.0) for n in range(9)]
    drawn = [[] for _ in bounds]
    for seed in range(300):
        clock = VirtualClock()
        retry = Retrier(
            RetryPolicy(deadline_s=1e9, breaker_failures=10**6),
            clock=clock,
            rng=random.Random(seed),
        )
        assert retry.call(failing([Failure("503", 503)] * 9)) == ("answer", 10)
        for waits, wait in zip(drawn, clock.sleeps, strict=True):
            waits.append(wait)
    for waits, bound in zip(drawn, bounds, strict=True):
        assert 0 <= min(waits) < 0.1 * bound and 0.9 * bound < max(waits) <= bound
        assert sum(waits) / len(waits) == pytest.approx(bound / 2, rel=0.15)


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(2.0, 2.0, 2.2), (0.3, 0.3, 0.33), (119.0, 119.0, 120.0), (86400.0, 120.0, 120.0)],
)
def test_retry_after_is_kept_and_capped(asked, least, most):
    for seed in range(50):
        wait = RetryPolicy().wait_s(1, Failure("429", 429, asked), random.Random(seed))
        assert least <= wait <= most


def test_retry_after_of_zero_does_not_hammer():
    waits = {
        RetryPolicy().wait_s(5, Failure("429", 429, 0.0), random.Random(seed)) for seed in range(50)
    }
    assert max(waits) > 4.0


@given(st.integers(1, 10**6), st.one_of(st.none(), st.floats(0, 1e12)), st.integers(0, 9))
def test_no_wait_is_ever_negative_or_above_the_caps(attempt, asked, seed):
    wait = RetryPolicy().wait_s(attempt, Failure("x", 429, asked), random.Random(seed))
    assert 0 <= wait <= (120.0 if asked else 60.0)


@pytest.mark.parametrize("error", [AuthenticationError, RequestError])
def test_a_permanent_failure_is_raised_at_once(error):
    retry, clock = retrier()
    calls = []
    with pytest.raises(error, match="no use"):
        retry.call(lambda left_s: calls.append(1) or Failure("no use", 400, error=error))
    assert len(calls) == 1 and clock.sleeps == []


def test_attempts_are_bounded():
    retry, clock = retrier(max_attempts=4)
    calls = []
    with pytest.raises(
        UnavailableError, match=r"4 attempts failed.*Last: boom.*run the same command again"
    ) as caught:
        retry.call(lambda left_s: calls.append(left_s) or Failure("boom", 500))
    assert len(calls) == 4 and len(clock.sleeps) == 3
    assert caught.value.exit_code == 75


def test_the_deadline_ends_a_call_before_a_wait_that_would_pass_it():
    retry, clock = retrier(deadline_s=200.0)
    left = []
    with pytest.raises(UnavailableError, match="deadline of 200 s"):
        retry.call(lambda left_s: left.append(left_s) or Failure("429", 429, 90.0))
    assert len(clock.sleeps) == 2 and sum(clock.sleeps) <= 200
    assert left[0] == pytest.approx(200, abs=1) and left[1] < 111 and left[2] < 21


def test_the_breaker_opens_after_a_row_of_failures_and_a_success_closes_it():
    retry, _ = retrier(breaker_failures=6, breaker_span_s=0.0, max_attempts=4)
    down, calls = [Failure("down")] * 100, []

    def attempt(left_s):
        calls.append(1)
        return down.pop() if down else "answer"

    with pytest.raises(UnavailableError, match="4 attempts failed"):
        retry.call(attempt)
    with pytest.raises(UnavailableError, match="6 or more requests in a row failed"):
        retry.call(attempt)
    assert len(calls) == 6
    with pytest.raises(UnavailableError, match="in a row failed"):
        retry.call(attempt)
    assert len(calls) == 7, "while the breaker is open a call gets one attempt"
    down.clear()
    assert retry.call(attempt) == ("answer", 1)
    down.extend([Failure("down")] * 3)
    assert retry.call(attempt) == ("answer", 4), "a success closed the breaker"


def test_a_short_outage_of_many_threads_does_not_open_the_breaker():
    retry, _ = retrier(breaker_failures=5, breaker_span_s=3600.0, max_attempts=10)
    assert retry.call(failing([Failure("down", 503)] * 9)) == ("answer", 10)


def test_a_server_that_never_sent_anything_is_given_up_early():
    retry, _ = retrier(max_attempts=10, first_contact_attempts=3)
    with pytest.raises(
        UnavailableError, match="never answered in 3 attempts; is its address right"
    ):
        retry.call(failing([Failure("connection refused")] * 3))


def test_a_server_that_was_heard_of_is_given_all_attempts():
    retry, _ = retrier(max_attempts=10, first_contact_attempts=3)
    assert retry.call(failing([Failure("busy", 503), *[Failure("connection refused")] * 8])) == (
        "answer",
        10,
    )


def test_429_does_not_open_the_breaker():
    retry, _ = retrier(breaker_failures=3, breaker_span_s=0.0, max_attempts=10)
    assert retry.call(failing([Failure("slow down", 429)] * 9)) == ("answer", 10)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": email.utils.formatdate(1_000_030, usegmt=True)}, 30.0),
        ({"retry-after": email.utils.formatdate(999_000, usegmt=True)}, 0.0),
        (
            {
                "retry-after": email.utils.formatdate(500_020, usegmt=True),
                "date": email.utils.formatdate(500_000, usegmt=True),
            },
            20.0,
        ),
    ],
)
def test_retry_after_is_read(headers, seconds):
    assert retry_after_s(headers, now=1_000_000.0) == seconds


@given(st.text(), st.text(), st.text())
def test_no_header_breaks_the_reader(after, milliseconds, date):
    wait = retry_after_s(
        {"retry-after": after, "retry-after-ms": milliseconds, "date": date}, now=0.0
    )
    assert wait is None or wait >= 0


@pytest.mark.parametrize(
    "field", ["max_attempts", "first_wait_s", "max_wait_s", "deadline_s", "breaker_failures"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan"), "3", True])
def test_a_bad_policy_is_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        RetryPolicy(**{field: value})


def test_a_limit_of_a_minute_without_a_hint_is_outlasted():
    gave_up = 0
    for seed in range(2_000):
        clock = VirtualClock()
        retry = Retrier(RetryPolicy(), clock=clock, rng=random.Random(seed))

        def attempt(left_s, clock=clock):
            return "answer" if sum(clock.sleeps) >= 60 else Failure("429", 429)

        try:
            retry.call(attempt)
        except UnavailableError:
            gave_up += 1
    assert gave_up <= 20


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "body", "seconds", "vague"),
    [
        ({}, {"error": {"message": "Please try again in 20s."}}, 20.0, True),
        ({}, {"error": {"message": "try again in 1m5s"}}, 65.0, True),
        ({}, {"error": {"message": "try again in 900ms"}}, 0.9, True),
        ({}, {"error": {"message": "Retry after 20 seconds"}}, 20.0, True),
        ({}, {"error": {"message": "Please wait 2 minutes and 5 seconds"}}, 125.0, True),
        ({}, {"error": {"message": "resets in 14m2.4s"}}, 842.4, True),
        ({}, {"error": {"message": "Limit 100, Used 99"}}, None, False),
        ({}, {"error": {"details": [{"retryDelay": "51s"}]}}, 51.0, True),
        ({"retry-after": "7"}, {"error": {"message": "try again in 20s"}}, 7.0, False),
        ({"x-ratelimit-reset-requests": "1m5s", "x-ratelimit-remaining-requests": "0"}, {}, 65.0, True),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "20s"}, {}, 20.0, True),
        ({"x-ratelimit-reset-requests": "12ms", "x-ratelimit-remaining-requests": "0",
          "x-ratelimit-reset-tokens": "6h0m0s", "x-ratelimit-remaining-tokens": "9"}, {}, 0.012, True),
        ({"x-ratelimit-reset": str(NOW + 30)}, {}, 30.0, True),
        ({"x-ratelimit-reset": str(int(NOW + 30) * 1000)}, {}, 30.0, True),
        ({"anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:40Z"}, {}, 40.0, True),
        ({"x-ratelimit-reset-tokens": "soon"}, {}, None, False),
        ({"x-ratelimit-reset-requests": "24h0m0s"}, {}, None, False),
    ],
)  # fmt: skip
def test_hints_are_read_wherever_they_stand(headers, body, seconds, vague):
    text = json.dumps(body).lower()
    found, is_vague = asked_wait_s(headers, body, text, NOW)
    assert (
        found if found is None else pytest.approx(found, abs=0.01)
    ) == seconds and is_vague == vague


@given(st.text(), st.text())
def test_no_words_break_the_reader_of_hints(words, reset):
    seconds, _ = asked_wait_s({"x-ratelimit-reset": reset}, {}, "try again in " + words, NOW)
    assert seconds is None or seconds >= 0
