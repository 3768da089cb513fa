"""Scores of all choices in one pass are those of one plain forward pass per choice."""

import numpy as np
import pytest
from conftest_local import reference_scores

from atari_vlm.errors import ConfigError, VLMError
from atari_vlm.vlm.local.choices import ChoiceTree, tree_mask
from atari_vlm.vlm.local.engine import ScoreRequest
from atari_vlm.vlm.local.prompt import Prompt, check_left_padded, pad_left

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE", "UPRIGHTFIRE")
FAMILIES = ("qwen2-vl", "llava-next", "idefics2", "video-llava", "glm4v")
NEWER = ("qwen2.5-vl", "qwen3-vl", "qwen3.5", "idefics3", "smolvlm", "llava-onevision")


@pytest.mark.parametrize("family", [*FAMILIES, *NEWER])
def test_one_pass_equals_one_at_a_time(model, request_of, family):
    vlm = model(family, prefix_cache=False)
    lengths = {len(vlm._encoder.choice_ids(action)) for action in ACTIONS}
    assert len(lengths) >= 2, "the choices must differ in their number of tokens"
    messages = request_of(3)
    scores = vlm.score_choices(messages, ACTIONS)
    assert scores.shape == (len(ACTIONS),) and scores.dtype == np.float64
    np.testing.assert_allclose(scores, reference_scores(vlm, messages, ACTIONS), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_batch_equals_single(model, request_of, family):
    vlm = model(family, prefix_cache=False)
    requests = [
        request_of(step, system="You play. " * (1 + 4 * step), window=step % 3) for step in range(4)
    ]
    prompts = [vlm._encoder.encode(messages) for messages in requests]
    assert len({len(prompt) for prompt in prompts}) > 1
    choices = [tuple(tuple(vlm._encoder.choice_ids(a)) for a in ACTIONS[: 3 + i]) for i in range(4)]
    batch = [ScoreRequest(p, c) for p, c in zip(prompts, choices, strict=True)]
    for together, alone in zip(
        vlm._engine.score(batch), (vlm._engine.score([r])[0] for r in batch), strict=True
    ):
        np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)


def test_a_choice_that_begins_another_does_not_always_win(model, request_of):
    """The end of the answer counts: over many requests the longer of RIGHT and RIGHTFIRE may score higher."""
    vlm = model("qwen2-vl")
    right, longer = (vlm._encoder.choice_ids(a) for a in ("RIGHT", "RIGHTFIRE"))
    assert longer[: len(right)] == right
    alone = vlm.score_choices(request_of(1), ["RIGHT"])[0]
    assert alone == pytest.approx(
        vlm.score_choices(request_of(1), ["RIGHTFIRE", "RIGHT"])[1], abs=1e-5
    )


def test_scores_are_log_probabilities(model, request_of):
    scores = model("llava-next").score_choices(request_of(2), ACTIONS)
    assert (scores < 0).all() and np.exp(scores).sum() <= 1 + 1e-6


def test_left_padding_is_checked():
    right_padded = np.array([[True, True, True], [True, True, False]])
    with pytest.raises(VLMError, match="padded on the left"):
        check_left_padded(right_padded)
    prompts = [Prompt(np.arange(n), np.arange(n), np.arange(n)) for n in (3, 5)]
    padded = pad_left(prompts, 1, pad_id=9)
    assert padded.ids.tolist() == [[9, 9, 1, 2], [1, 2, 3, 4]]
    assert padded.mask.tolist() == [[True, False, False, True, True], [True] * 5]


def test_a_choice_sees_the_prompt_and_itself_only():
    tree = ChoiceTree.of([(5,), (6, 7)])
    known = np.array(
        [[True, False, True, True]]
    )  # one shared token, one of padding, two of the prompt
    mask = tree_mask(known, 3, [tree], 3)[0, 0]
    assert mask[3:].tolist() == [
        [True, False, True, True, True, False, False],
        [True, False, True, True, False, True, False],
        [True, False, True, True, False, True, True],
    ]


def test_bad_choices(model, request_of):
    with pytest.raises(ConfigError, match="at least one choice"):
        model("qwen2-vl").score_choices(request_of(0), [])
    with pytest.raises(ConfigError, match="no tokens"):
        model("qwen2-vl").score_choices(request_of(0), ["NOOP", ""])
