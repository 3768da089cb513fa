"""How texts are told over steps: tables by hand, and that a scan equals its steps."""

import numpy as np
import pytest

from atari_vlm.errors import ConfigError
from atari_vlm.world_models.dreamer.language import ByteTokenizer, Telling, WordTokenizer

WORDS = WordTokenizer(["a", "b", "c", "d", "e"])  # ids 2 to 6


def told(telling, texts, resets=()):
    """The ids of one row, step by step."""
    reset = np.isin(np.arange(len(texts)), resets)[None]
    grid = np.empty((1, len(texts)), object)
    grid[0] = texts
    ids, _ = telling.scan(grid, telling.begin(1), reset)
    return ids[0].tolist()


@pytest.mark.parametrize(
    ("texts", "resets", "ids"),
    [
        (["a b c", "", "", "", ""], [0], [2, 3, 4, 0, 0]),  # goes on in silence
        (["a b c"] * 5, [0], [2, 3, 4, 0, 0]),  # what stands is told once
        (["a b c", "a b c", "d e", "", ""], [0], [2, 3, 5, 6, 0]),  # a new text begins at once
        (["a b c", "", "", "a b c", ""], [2], [2, 3, 0, 2, 3]),  # an end cuts it off
        (
            ["a b", "", "", "a b", "a b"],
            [0],
            [2, 3, 0, 0, 0],
        ),  # the same once more says nothing new
        (["a b", "a b", "a b"], [0, 2], [2, 3, 2]),  # but in a new episode it does
        (["", "d"], [], [0, 5]),
        (["x a"], [], [1]),
    ],
)
def test_one_token_a_step(texts, resets, ids):
    assert [i for (i,) in told(Telling(WORDS), texts, resets)] == ids


def test_several_tokens_a_step():
    assert told(Telling(WORDS, 2), ["a b c", "", "", "d"]) == [[2, 3], [4, 0], [0, 0], [5, 0]]
    assert Telling(WORDS, 9, longest=4).tokens == 4


def test_all_at_once():
    telling = Telling(WORDS, longest=3, at_once=True)
    assert telling.tokens == 3
    assert told(telling, ["a b", "a b", "", "a b c d"]) == [
        [2, 3, 0], [2, 3, 0], [0, 0, 0], [2, 3, 4]
    ]  # fmt: skip


def test_what_is_too_long_is_cut():
    telling = Telling(WORDS, 2, longest=3)
    assert told(telling, ["a b c d e", "", "", ""]) == [[2, 3], [4, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize("options", [{}, {"tokens": 3}, {"at_once": True}])
def test_a_scan_equals_its_steps_and_rows_are_independent(options):
    rng = np.random.default_rng(0)
    telling = Telling(ByteTokenizer(), longest=6, **options)
    texts = np.array(["", "", "", "ab", "abcd", "héllo wörld"], object)[
        rng.integers(6, size=(4, 30))
    ]
    reset = rng.random((4, 30)) < 0.15
    ids, last = telling.scan(texts, telling.begin(4), reset)
    first, between = telling.scan(texts[:, :11], telling.begin(4), reset[:, :11])
    kept = {name: value.copy() for name, value in between.items()}
    second, end = telling.scan(texts[:, 11:], between, reset[:, 11:])
    assert np.array_equal(ids, np.concatenate([first, second], 1))
    assert all(np.array_equal(last[name], end[name]) for name in last)
    assert all(np.array_equal(between[name], kept[name]) for name in kept)
    rows = [2, 0]
    alone, _ = telling.scan(texts[rows], telling.begin(2), reset[rows])
    assert np.array_equal(alone, ids[rows])
    assert ids.shape == (4, 30, telling.tokens) and ids.dtype == np.int64


@pytest.mark.parametrize("tokens", [1, 3])
def test_how_far_a_text_was_told_follows_from_what_was_shown(tokens):
    rng = np.random.default_rng(1)
    telling = Telling(WORDS, tokens, longest=4)
    says = np.array(["", "", "", " ", "a b c d e", "b", "b a c"], object)
    for length in rng.integers(0, 12, 60):
        texts = says[rng.integers(len(says), size=(1, length))]
        told = telling.begin(1)
        if length:
            told = telling.scan(texts, told, np.zeros((1, length), bool))[1]
        shown = [(int(length) - n, text) for n, text in enumerate(texts[0])]
        text, place = telling.recall(shown)
        assert text.tolist() == told["text"][0].tolist()
        assert place == told["place"][0] or not (text >= 0).any()  # no text has no place


def test_what_was_said_can_be_read():
    telling = Telling(WORDS, 2)
    assert telling.said(np.array([[2, 3], [0, 0], [4, 0]])) == ["a b", "", "c"]


def test_sizes_that_are_none():
    for options in ({"tokens": 0}, {"longest": 0}):
        with pytest.raises(ConfigError, match="whole number of at least 1"):
            Telling(WORDS, **options)
