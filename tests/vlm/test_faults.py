"""Real SDKs against a server that fails on schedule: no call is lost, and no fault is seen in an answer.

The full proof: ``python -m pytest -n 0 -m slow -s tests/vlm/test_faults.py`` (10,000 calls, 1,000 faults).
"""

import hashlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fake_server import (
    ALL_RETRIABLE_FAULTS,
    BLANK_FAULTS,
    PASSING_FAULTS,
    FakeVendorServer,
    FaultSchedule,
)
from remote_helpers import BACKENDS, SAMPLING, TEST_KEY, VirtualClock, connect, question

from atari_vlm.errors import AuthenticationError, UnavailableError
from atari_vlm.vlm.remote.options import RemoteOptions
from atari_vlm.vlm.remote.retry import SYSTEM_CLOCK, RetryPolicy

each_backend = pytest.mark.parametrize("dialect", BACKENDS)
SLEEPS = {  # seconds that may be slept after a fault, where it is not the first backoff of 0 to 0.5
    "429_seconds": (2.0, 2.2), "429_ms": (1.5, 1.65), "429_date": (2.0, 4.4), "429_huge": (120.0, 120.0), "503": (1.0, 1.1),
}  # fmt: skip
WAITING_FAULTS = ("hang", "slow_loris", "slow_headers")


@each_backend
def test_each_passing_fault_costs_one_more_request_and_a_wait_within_the_policy(dialect):
    clock = VirtualClock()
    faults = [fault for fault in PASSING_FAULTS if fault not in WAITING_FAULTS]
    with FakeVendorServer() as server, connect(dialect, server, clock=clock) as vlm:
        for fault in faults:
            server.clear()
            clock.sleeps.clear()
            server.faults = FaultSchedule({0: fault})
            reply = vlm.complete(question(), sampling=SAMPLING)
            assert (fault, reply.text, reply.attempts, len(server.requests)) == (
                fault,
                "ACTION: NOOP",
                2,
                2,
            )
            assert server.faults_served == {fault: 1}
            least, most = SLEEPS.get(fault, (0.0, 0.5))
            assert len(clock.sleeps) == 1 and least <= clock.sleeps[0] <= most, (
                fault,
                clock.sleeps,
            )


@each_backend
def test_a_used_up_quota_is_not_waited_for(dialect):
    with (
        FakeVendorServer(faults=FaultSchedule(always="429")) as server,
        connect(dialect, server) as vlm,
    ):
        server.error_text = "insufficient_quota: you exceeded your current quota"
        with pytest.raises(UnavailableError, match="credit or quota is used up") as caught:
            vlm.complete(question(), sampling=SAMPLING)
        assert len(server.requests) == 1 and caught.value.exit_code == 75
        server.clear()
        server.faults, server.error_text = (
            FaultSchedule(always="400"),
            "Your credit balance is too low to access the API",
        )
        with pytest.raises(UnavailableError, match="credit or quota is used up"):
            vlm.complete(question(), sampling=SAMPLING)
        assert len(server.requests) == 1


@each_backend
def test_a_request_that_the_content_filter_turns_away_is_a_filtered_reply(dialect):
    with (
        FakeVendorServer(faults=FaultSchedule(always="400")) as server,
        connect(dialect, server) as vlm,
    ):
        server.error_text = "The prompt was flagged (code: content_filter)"
        reply = vlm.complete(question(), sampling=SAMPLING)
        assert (reply.text, reply.finish_reason, reply.cost_usd, len(server.requests)) == (
            "",
            "filter",
            0.0,
            1,
        )


@each_backend
def test_a_key_that_stops_working_ends_the_retries_at_once(dialect):
    with FakeVendorServer() as server, connect(dialect, server) as vlm:
        for fault in ("401", "403"):
            server.clear()
            server.faults = FaultSchedule({0: "500", 1: "429", 2: fault})
            with pytest.raises(AuthenticationError):
                vlm.complete(question(), sampling=SAMPLING)
            assert len(server.requests) == 3


@each_backend
def test_no_call_outlives_its_deadline(dialect):
    options = {
        "retry": RetryPolicy(deadline_s=0.6, first_wait_s=0.01),
        "clock": SYSTEM_CLOCK,
        "timeout_s": 0.25,
    }
    faults = FaultSchedule(dict(enumerate(WAITING_FAULTS)), always="hang")
    with FakeVendorServer(faults=faults) as server, connect(dialect, server, **options) as vlm:

        def seconds_to_fail(number):
            start = time.monotonic()
            with pytest.raises(UnavailableError, match="deadline"):
                vlm.complete(question(number), sampling=SAMPLING)
            return time.monotonic() - start

        with ThreadPoolExecutor(3) as pool:
            assert max(pool.map(seconds_to_fail, range(3))) < 1.6
        assert set(server.faults_served) == set(WAITING_FAULTS)


@each_backend
def test_an_outage_opens_the_breaker_for_every_thread(dialect):
    policy = RetryPolicy(breaker_failures=12, breaker_span_s=0.0, max_attempts=1000)
    with (
        FakeVendorServer(faults=FaultSchedule(always="500")) as server,
        connect(dialect, server, retry=policy) as vlm,
    ):
        with ThreadPoolExecutor(6) as pool:
            calls = [
                pool.submit(vlm.complete, question(number), sampling=SAMPLING)
                for number in range(6)
            ]
            errors = [call.exception() for call in calls]
        assert all(
            isinstance(error, UnavailableError) and "in a row failed" in str(error)
            for error in errors
        )
        assert 12 <= len(server.requests) <= 12 + 6
        server.faults = FaultSchedule()
        assert vlm.complete(question(), sampling=SAMPLING).text == "ACTION: NOOP", (
            "it closes when the vendor is back"
        )


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@each_backend
def test_no_server_there(dialect):
    host = "127.0.0.1" if dialect == "openai" else "no-such-host.invalid"
    options = RemoteOptions(clock=VirtualClock(), retry=RetryPolicy(max_attempts=3))
    with BACKENDS[dialect](
        "m",
        api_key=TEST_KEY,
        base_url=f"http://{host}:{closed_port()}",
        timeout_s=5.0,
        options=options,
    ) as vlm:
        with pytest.raises(
            UnavailableError,
            match=rf"3 attempts failed.*{dialect}/m@http://{host}.*the connection failed",
        ):
            vlm.complete(question(), sampling=SAMPLING)


def answer_of(text, images):
    """What the model would say: depends on every byte of the request."""
    return "ACTION: " + hashlib.sha256(text.encode() + b"".join(images)).hexdigest()


def ask_all(dialect, calls, faults, timeout_s):
    """``calls`` calls from 8 threads: their texts in order, requests that arrived, faults that were served, sleeps, attempts."""
    clock = VirtualClock()
    with FakeVendorServer(answer=answer_of, faults=faults, keep_bodies=False) as server:
        options = {"clock": clock, "blank_retries": 5, "timeout_s": timeout_s}
        with connect(dialect, server, **options) as vlm, ThreadPoolExecutor(8) as pool:
            replies = list(
                pool.map(
                    lambda number: vlm.complete(question(number), sampling=SAMPLING), range(calls)
                )
            )
        return (
            [reply.text for reply in replies],
            server,
            clock.sleeps,
            sum(reply.attempts for reply in replies),
        )


def prove(calls, faults, timeout_s):
    """Split over the dialects; per dialect: nothing lost, answers equal, every fault served, waits within the policy."""
    start, served, requests, lost, asked = time.monotonic(), {}, 0, 0, 0
    for index, dialect in enumerate(BACKENDS):
        share, broken = calls // 3 + (index < calls % 3), faults // 3 + (index < faults % 3)
        clean, *_ = ask_all(dialect, share, None, 60.0)
        assert len(set(clean)) == share, "the answers tell the calls apart"
        schedule = FaultSchedule.seeded(index, share, broken, ALL_RETRIABLE_FAULTS)
        texts, server, sleeps, attempts = ask_all(dialect, share, schedule, timeout_s)
        lost += sum(text != expected for text, expected in zip(texts, clean, strict=True))
        asked += len(texts)
        assert sum(server.faults_served.values()) == broken
        assert attempts == len(server.requests)
        assert len(sleeps) >= sum(server.faults_served.get(kind, 0) for kind in PASSING_FAULTS)
        assert max(sleeps) <= 120.0
        requests += len(server.requests)
        for kind, count in server.faults_served.items():
            served[kind] = served.get(kind, 0) + count
    assert (lost, asked) == (0, calls)
    assert sum(served.values()) == faults and set(PASSING_FAULTS) | set(BLANK_FAULTS) <= set(served)
    seconds = time.monotonic() - start
    return f"{asked} calls, {faults} faults of {len(served)} kinds, {requests} requests, {lost} lost, {seconds:.1f} s"


def test_1000_calls_with_100_faults_lose_nothing():
    prove(1_000, 100, timeout_s=2.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_10000_calls_with_1000_faults_lose_nothing():
    print("\n" + prove(10_000, 1_000, timeout_s=2.0))
