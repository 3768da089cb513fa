"""A VLM that was used before a fork answers in the child, and goes on in the parent, also while other threads are asking."""

import os
import select
import signal
import threading
import time

import pytest
from fake_server import FakeVendorServer
from remote_helpers import BACKENDS, SAMPLING, connect, question

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def in_child(work, seconds=20.0):
    """What ``work()`` says in a forked process; ``None`` if it says nothing in time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], seconds)
        return os.read(reading, 1000).decode() if ready else None
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("dialect", BACKENDS)
def test_parent_and_child_answer_after_a_fork(dialect):
    with FakeVendorServer() as server, connect(dialect, server) as vlm:
        assert vlm.complete(question(), sampling=SAMPLING).text == "ACTION: NOOP"
        for number in range(2):
            assert (
                in_child(lambda n=number: vlm.complete(question(n), sampling=SAMPLING).text)
                == "ACTION: NOOP"
            )
        assert (
            in_child(
                lambda: (
                    in_child(lambda: vlm.complete(question(), sampling=SAMPLING).text) or "nothing"
                )
            )
            == "ACTION: NOOP"
        )
        assert vlm.complete(question(), sampling=SAMPLING).text == "ACTION: NOOP"


def test_a_fork_while_other_threads_are_asking():
    with FakeVendorServer(latency_s=0.02) as server, connect("openai", server) as vlm:
        stop, failed = threading.Event(), []

        def ask():
            while not stop.is_set():
                try:
                    vlm.complete(question(), sampling=SAMPLING)
                except Exception as error:
                    failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(server.requests) < 8:
            time.sleep(0.01)
        answers = [
            in_child(lambda: vlm.complete(question(), sampling=SAMPLING).text) for _ in range(3)
        ]
        served = len(server.requests)
        while len(server.requests) < served + 4:
            time.sleep(0.01)
        stop.set()
        for thread in threads:
            thread.join()
    assert answers == ["ACTION: NOOP"] * 3 and failed == []


def test_a_child_may_close_what_the_parent_goes_on_using():
    with FakeVendorServer() as server, connect("openai", server) as vlm:
        vlm.complete(question(), sampling=SAMPLING)

        def close_and_ask():
            vlm.close()
            return vlm.complete(question(), sampling=SAMPLING).text

        assert in_child(close_and_ask) == "ACTION: NOOP"
        assert vlm.complete(question(), sampling=SAMPLING).text == "ACTION: NOOP"
