"""The prefix cache changes nothing but the time."""

import numpy as np
import pytest

from atari_vlm.types import Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.local.engine import AnswerRequest, ScoreRequest
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.prefix import PrefixCache
from atari_vlm.vlm.local.prompt import Prompt
from atari_vlm.vlm.local.sampling import TokenSampler

ACTIONS = ("NOOP", "RIGHT", "RIGHTFIRE")
FAMILIES = ("qwen2-vl", "llava-next", "idefics2", "video-llava", "glm4v")


def prompt_of(ids):
    ids = np.asarray(ids, np.int64)
    return Prompt(ids, ids, np.arange(len(ids)))


@pytest.mark.parametrize("family", [*FAMILIES, "qwen3-vl", "idefics3"])
def test_equal_with_and_without(model, request_of, family):
    with_cache, without = model(family), model(family, prefix_cache=False)
    cached = []
    for step in range(4):
        messages = request_of(step)
        a, b = with_cache.score_choices(messages, ACTIONS), without.score_choices(messages, ACTIONS)
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)
        first, second = (
            v.complete(messages, sampling=Sampling(max_tokens=6)) for v in (with_cache, without)
        )
        assert first.text == second.text and second.usage.cached_tokens == 0
        cached.append(first.usage.cached_tokens)
    prompt = with_cache._encoder.encode(request_of(3))
    constant = prompt.shared_with(with_cache._encoder.encode(request_of(2)).keys)
    assert cached[-1] >= constant > 100
    assert prompt.spans[0][1] < constant <= prompt.spans[-1][0], (
        "the example's picture is kept, the window's are not"
    )


def test_a_changed_prefix_is_noticed(model, request_of):
    """Another system text, another example picture: less is reused, results stay right, the new start is learnt."""
    with_cache, without = model("llava-next"), model("llava-next", prefix_cache=False)
    for system in ("You play Pong. " * 20, "You play Breakout. " * 20, "You play Pong. " * 20):
        for step in range(3):
            messages = request_of(step, system=system)
            a, b = (
                with_cache.score_choices(messages, ACTIONS),
                without.score_choices(messages, ACTIONS),
            )
            np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)
        assert (
            with_cache.complete(messages, sampling=Sampling(max_tokens=1)).usage.cached_tokens > 200
        )


def test_batch_of_two_games(model, request_of):
    """Rows with different starts are answered in groups; each equals its lone answer."""
    vlm, plain = model("qwen2-vl"), model("qwen2-vl", prefix_cache=False)
    systems = ("You play Pong. " * 20, "You play Breakout. " * 20)
    batches = [
        [
            vlm._encoder.encode(request_of(s, system=system, window=1 + s % 2))
            for system in systems
            for s in (r, r + 3)
        ]
        for r in range(3)
    ]
    choices = tuple(tuple(vlm._encoder.choice_ids(a)) for a in ACTIONS)
    for prompts in batches:
        scores = vlm._engine.score([ScoreRequest(prompt, choices) for prompt in prompts])
        alone = [plain._engine.score([ScoreRequest(prompt, choices)])[0] for prompt in prompts]
        np.testing.assert_allclose(scores, alone, atol=1e-5, rtol=0)
    greedy = TokenSampler(Sampling(), LocalOptions())
    answers = vlm._engine.answer([AnswerRequest(prompt, greedy, 5) for prompt in prompts])
    assert all(answer.cached > 200 for answer in answers)
    assert [a.ids for a in answers] == [
        plain._engine.answer([AnswerRequest(p, greedy, 5)])[0].ids for p in prompts
    ]


def test_families_that_cannot_share_do_without(model, request_of):
    for family in ("llava-onevision", "qwen3.5"):
        vlm = model(family)
        assert vlm._engine.prefixes is None
        for step in range(2):
            assert (
                vlm.complete(request_of(step), sampling=Sampling(max_tokens=2)).usage.cached_tokens
                == 0
            )


def test_sliding_window_falls_back(model, request_of):
    """A prompt beyond the attention window is computed whole."""
    vlm = model("idefics2", max_batch=2)
    vlm._engine._window, kept = 50, vlm._engine._window
    try:
        for step in range(3):
            assert (
                vlm.complete(request_of(step), sampling=Sampling(max_tokens=2)).usage.cached_tokens
                == 0
            )
    finally:
        vlm._engine._window = kept


def test_no_picture_is_torn():
    keys = np.array([1, 2, 3, -10, -11, -12, 4])
    prompt = Prompt(np.array([1, 2, 3, 9, 9, 9, 4]), keys, np.arange(7), spans=((3, 6),))
    assert prompt.shared_with(np.array([1, 2, 3, -10, -11, -99, 4])) == 3
    assert prompt.shared_with(keys) == 7
    assert prompt.shared_with(np.array([1, 5])) == 1


def test_short_starts_are_not_kept():
    cache = PrefixCache()
    (start, rows), *rest = cache.groups([prompt_of([1, 2, 3]), prompt_of([1, 2, 4])])
    assert start.length == 0 and rows == [0, 1] and not rest


def test_growing_history_is_followed(model):
    """Own turns appended to the prompt: the start grows with them."""
    vlm, turns, cached = model("qwen2-vl"), [Message.of("system", "Play well. " * 20)], []
    for step in range(8):
        turns.append(
            Message.of("user", f"Step {step}. What now? Think about the ball and the paddle.")
        )
        cached.append(vlm.complete(turns, sampling=Sampling(max_tokens=2)).usage.cached_tokens)
        turns.append(
            Message.of(
                "assistant", "ACTION: NOOP, since nothing happens before the ball is served."
            )
        )
    assert cached[-1] > cached[3] > cached[0]
