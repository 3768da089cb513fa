"""The adaptive limit on requests in flight."""

import threading
import time

import pytest
from remote_helpers import VirtualClock

from atari_vlm.errors import ConfigError, UnavailableError
from atari_vlm.vlm.remote.concurrency import AdaptiveLimit, ConcurrencyPolicy


def limit_of(**policy):
    clock = VirtualClock()
    return AdaptiveLimit(ConcurrencyPolicy(**policy), clock=clock), clock


def clean_round(limit):
    """As many answered requests as the limit allows, all in flight together."""
    slots = [limit.slot(1.0) for _ in range(limit.limit)]
    for slot in slots:
        slot.__enter__()
    for slot in slots:
        limit.succeeded()
        slot.__exit__(None, None, None)


def test_slow_start_doubles_up_to_the_cap():
    limit, _ = limit_of(start=4, maximum=20)
    sizes = []
    for _ in range(4):
        clean_round(limit)
        sizes.append(limit.limit)
    assert sizes == [8, 16, 20, 20]


def test_a_burst_of_429_cuts_once_and_then_growth_is_additive():
    limit, clock = limit_of(start=20, maximum=100)
    for _ in range(7):
        limit.throttled()
    assert limit.limit == 16
    clock.sleep(16.0)
    limit.throttled()
    assert limit.limit == 12  # 12.8 requests
    clean_round(limit)
    assert limit.limit == 13
    for _ in range(5):
        clean_round(limit)
    assert limit.limit == 18, "one more per round: 5 % of so few is less than one"


def test_the_limit_never_falls_below_the_minimum():
    limit, clock = limit_of(start=4, minimum=2)
    for _ in range(30):
        limit.throttled()
        clock.sleep(16.0)
    assert limit.limit == 2


def test_server_errors_pause_the_growth_without_shrinking():
    limit, _ = limit_of(start=4)
    for _ in range(3):
        limit.succeeded()
    limit.failed()
    assert limit.limit == 4
    clean_round(limit)
    assert limit.limit == 8


def test_an_unused_limit_does_not_grow():
    limit, _ = limit_of(start=4)
    for _ in range(100):
        with limit.slot(1.0):
            limit.succeeded()
    assert limit.limit == 4


def test_no_more_threads_than_the_limit_are_inside_at_once():
    limit, _ = limit_of(start=3, maximum=3)
    inside, most, lock = [0], [0], threading.Lock()

    def work():
        for _ in range(5):
            with limit.slot(30.0):
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.002)
                with lock:
                    inside[0] -= 1
                limit.succeeded()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 3 and limit.in_flight == 0


def test_waiting_for_a_place_ends():
    limit, _ = limit_of(start=1, maximum=1)
    with limit.slot(1.0):
        start = time.monotonic()
        with pytest.raises(UnavailableError, match="no place among 1"), limit.slot(0.05):
            pass
        assert time.monotonic() - start < 1.0
    with limit.slot(0.0):
        assert limit.in_flight == 1


@pytest.mark.parametrize(
    "policy",
    [
        {"start": 0},
        {"minimum": 0},
        {"start": 5, "maximum": 4},
        {"decrease": 1.0},
        {"decrease": 0.0},
        {"growth": 0.0},
        {"cooldown_s": 0},
    ],
)
def test_a_bad_policy_is_refused(policy):
    with pytest.raises(ConfigError):
        ConcurrencyPolicy(**policy)
