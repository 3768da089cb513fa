"""The CogVLM2 route, on a checkpoint of the same shape with its own code (the real code cannot be had offline)."""

import foreign_cogvlm2
import numpy as np
import pytest
from conftest import picture

from atari_vlm.errors import ModelNotAvailableError
from atari_vlm.types import Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.local.cogvlm2 import strip
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.transformers_vlm import TransformersVLM


@pytest.fixture(scope="module")
def folder(tmp_path_factory, monkeypatch_module):
    return foreign_cogvlm2.build(tmp_path_factory.mktemp("cog") / "tiny")


@pytest.fixture(scope="module")
def monkeypatch_module(tmp_path_factory):
    """Code of checkpoints is copied into transformers' module cache: keep that out of the home folder."""
    from transformers import dynamic_module_utils

    patch = pytest.MonkeyPatch()
    patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
    yield patch
    patch.undo()


@pytest.fixture(scope="module")
def vlm(folder):
    loaded = TransformersVLM(
        "cogvlm2", str(folder), options=LocalOptions(trust_remote_code=True, offline=True)
    )
    yield loaded
    loaded.close()


def test_foreign_code_is_not_run_unasked(folder):
    with pytest.raises(
        ModelNotAvailableError, match=r"--trust-remote-code --revision.*--vlm scripted"
    ):
        TransformersVLM("cogvlm2", str(folder), options=LocalOptions(offline=True))


def test_code_that_does_not_run_is_explained(tmp_path):
    broken = foreign_cogvlm2.build(tmp_path / "broken")
    (broken / "modeling_tiny_cog.py").write_text("raise ImportError('needs transformers 4')")
    with pytest.raises(
        ModelNotAvailableError,
        match=r"does not run here \(ImportError: needs transformers 4\).*--base-url",
    ):
        TransformersVLM(
            "cogvlm2", str(broken), options=LocalOptions(trust_remote_code=True, offline=True)
        )


def test_answers_with_past_equal_answers_without(vlm, request_of):
    import torch

    messages = request_of(1)
    reply = vlm.complete(messages, sampling=Sampling(max_tokens=6))
    inputs, tokens = dict(vlm._encoder.encode(messages).inputs), []
    for _ in range(6):
        with torch.inference_mode():
            tokens.append(int(vlm._engine.model(**inputs).logits[0, -1].argmax()))
        for name, value in (
            ("input_ids", tokens[-1]),
            ("token_type_ids", 0),
            ("attention_mask", 1),
        ):
            inputs[name] = torch.cat([inputs[name], torch.tensor([[value]])], 1)
    assert reply.text == vlm._encoder.decode(tokens)
    assert reply.finish_reason == "length" and reply.usage.output_tokens == 6
    assert reply.usage.input_tokens == len(vlm._encoder.encode(messages))


def test_scores(vlm, request_of):
    choices = ("NOOP", "RIGHT", "RIGHTFIRE")
    scores = vlm.score_choices(request_of(1), choices)
    assert (scores < 0).all() and len(set(scores.round(6))) == 3
    np.testing.assert_allclose(scores[1], vlm.score_choices(request_of(1), ["RIGHT"])[0], atol=1e-6)
    dark = [*request_of(1)[:-1], Message.of("user", picture(50), "Step: 1")]
    assert not np.allclose(scores, vlm.score_choices(dark, choices)), "the picture matters"


def test_pictures_side_by_side():
    message = Message.of("user", picture(1, 20, 10), picture(2, 30, 10), "?")
    joined = strip(message)
    assert joined.shape == (30, 20, 3) and not joined[20:, :10].any()
    assert (joined[:20, :10] == message.images[0].pixels).all() and (
        joined[:, 10:] == message.images[1].pixels
    ).all()


def test_text_only(vlm):
    assert (
        vlm.complete(
            [Message.of("user", "hello")], sampling=Sampling(max_tokens=2)
        ).usage.output_tokens
        == 2
    )
