"""Parallel requests become batches, with the results of unbatched ones; a failing request fails alone."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from atari_vlm.errors import ConfigError, ModelNotAvailableError, RequestError, VLMError
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.local import batching
from atari_vlm.vlm.local.batching import Batcher

ACTIONS = ("NOOP", "RIGHT", "RIGHTFIRE")


def test_eight_threads_equal_unbatched(model, request_of):
    alone = model("qwen2-vl", prefix_cache=False, max_batch=1)
    batched = model("qwen2-vl", max_batch=8, batch_wait_ms=200.0)
    steps = list(range(24))
    scores = [alone.score_choices(request_of(step), ACTIONS) for step in steps]
    texts = [
        alone.complete(request_of(step), sampling=Sampling(max_tokens=4)).text for step in steps
    ]
    barrier = threading.Barrier(8)

    def episode(first):
        barrier.wait()
        got = []
        for step in steps[first::8]:
            got.append((step, batched.score_choices(request_of(step), ACTIONS)))
            got.append(
                (step, batched.complete(request_of(step), sampling=Sampling(max_tokens=4)).text)
            )
        return got

    with ThreadPoolExecutor(8) as pool:
        results = [row for rows in pool.map(episode, range(8)) for row in rows]
    assert len(results) == 48
    for step, result in results:
        if isinstance(result, str):
            assert result == texts[step]
        else:
            np.testing.assert_allclose(result, scores[step], atol=1e-5, rtol=0)
    assert max(batched._batcher.batch_sizes) >= 4, batched._batcher.batch_sizes


def test_latency_includes_waiting_for_the_batch(model, request_of):
    vlm = model("qwen2-vl", max_batch=8, batch_wait_ms=200.0)
    with ThreadPoolExecutor(4) as pool:
        started = time.perf_counter()
        replies = list(
            pool.map(
                lambda s: vlm.complete(request_of(s), sampling=Sampling(max_tokens=3)), range(4)
            )
        )
        elapsed = time.perf_counter() - started
    assert all(0 < reply.latency_s <= elapsed for reply in replies)


def test_one_caller_never_waits():
    batcher = Batcher(
        {"double": lambda items: [2 * item for item in items]}, max_batch=8, wait_s=30.0
    )
    started = time.perf_counter()
    assert [batcher.submit("double", n) for n in range(20)] == [2 * n for n in range(20)]
    assert time.perf_counter() - started < 5
    batcher.close()


def test_a_bad_request_fails_alone_and_the_worker_lives_on():
    def work(items):
        if "bad" in items:
            raise KeyError("bad")
        return [item.upper() for item in items]

    batcher = Batcher({"upper": work}, max_batch=4, wait_s=1.0)
    barrier = threading.Barrier(4)

    def ask(item):
        barrier.wait()
        try:
            return batcher.submit("upper", item)
        except KeyError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(ask, ["a", "bad", "b", "c"]))
    assert [r for r in results if isinstance(r, str)] == ["A", "B", "C"] and isinstance(
        results[1], KeyError
    )
    assert batcher.submit("upper", "again") == "AGAIN"
    batcher.close()


def test_errors_reach_the_caller_typed(model, request_of, monkeypatch):
    vlm = model("llava-next", max_batch=3)
    sampling = Sampling(max_tokens=2)
    answer = vlm._batcher._works["answer"]

    def failing(error):
        def work(items):
            raise error

        vlm._batcher._works["answer"] = work

    try:
        failing(ZeroDivisionError("inside the model"))
        with pytest.raises(VLMError, match="ZeroDivisionError: inside the model"):
            vlm.complete(request_of(0), sampling=sampling)
        failing(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
        with pytest.raises(ModelNotAvailableError, match=r"out of memory.*--base-url URL"):
            vlm.complete(request_of(0), sampling=sampling)
        failing(RequestError("too long"))
        with pytest.raises(RequestError, match="too long"):
            vlm.complete(request_of(0), sampling=sampling)
    finally:
        vlm._batcher._works["answer"] = answer
    assert vlm.complete(request_of(0), sampling=sampling).usage.output_tokens > 0


def test_closed(tiny, request_of):
    from atari_vlm.vlm.local.options import LocalOptions
    from atari_vlm.vlm.local.transformers_vlm import TransformersVLM

    vlm = TransformersVLM("llava", str(tiny("llava-next")), options=LocalOptions(offline=True))
    vlm.complete(request_of(0), sampling=Sampling(max_tokens=1))
    vlm.close()
    vlm.close()
    with pytest.raises(VLMError, match="closed"):
        vlm.complete(request_of(0), sampling=Sampling(max_tokens=1))
    with pytest.raises(ConfigError):
        LocalOptions(max_batch=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_is_told_that_it_has_no_model():
    """Also while the parent is asking, when a copied lock may be held for ever."""
    batcher = Batcher(
        {"work": lambda items: [time.sleep(0.05) or item for item in items]}, max_batch=1, wait_s=0
    )
    parent = threading.Thread(target=lambda: [batcher.submit("work", n) for n in range(20)])
    parent.start()
    batcher.submit("work", 0)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def ask():
        with pytest.raises(VLMError, match="another process"):
            batcher.submit("work", 1)
        batcher.close()
        answers.put("refused")

    children = [context.Process(target=ask) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    assert [answers.get() for _ in children] == ["refused"] * 3
    parent.join()
    assert batcher.submit("work", 2) == 2
    batcher.close()


def test_a_batch_waits_for_those_who_were_answered_a_moment_ago(monkeypatch):
    """Answers may take longer than a thread counts as running; two halves of a group must not alternate for ever."""
    monkeypatch.setattr(batching, "_RECENT_S", 0.1)

    def work(items):
        time.sleep(0.25)
        return items

    batcher = Batcher({"answer": work}, max_batch=8, wait_s=0.08)

    def ask(thread):
        time.sleep(0.1 * (thread % 2))  # half of them come while the first half is answered
        for _ in range(5):
            batcher.submit("answer", thread)
            time.sleep(0.02)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(4)))
    batcher.close()
    assert batcher.batch_sizes.count(4) >= 3
