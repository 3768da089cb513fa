"""Answers: new tokens only, equal to transformers' own greedy generate, whatever the batch."""

import numpy as np
import pytest
from conftest_local import reference_answer

from atari_vlm.errors import ConfigError, RequestError
from atari_vlm.types import Image, Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.local.engine import AnswerRequest
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.sampling import TokenSampler

FAMILIES = ("qwen2-vl", "llava-next", "idefics2", "video-llava", "glm4v")
NEWER = ("qwen2.5-vl", "qwen3-vl", "qwen3.5", "idefics3", "smolvlm", "llava-onevision")


@pytest.mark.parametrize("family", [*FAMILIES, *NEWER])
def test_greedy_answer_is_transformers_own(model, request_of, family):
    vlm = model(family, prefix_cache=False)
    messages = request_of(5)
    reply = vlm.complete(messages, sampling=Sampling(max_tokens=10))
    expected = reference_answer(vlm, messages, 10)
    assert reply.text == vlm._encoder.decode(expected)
    assert "You play" not in reply.text and "Step" not in reply.text[:4]
    assert reply.usage.input_tokens == len(vlm._encoder.encode(messages))
    assert reply.usage.output_tokens == len(expected)
    assert reply.latency_s > 0 and reply.cost_usd == 0


@pytest.mark.parametrize("family", ["llava-next", "idefics3", "idefics2"])
def test_prompt_is_the_stock_processors(tiny, model, request_of, family):
    """Where the stock processor works without torchvision, its tokens and pixels are ours."""
    from PIL import Image as PilImage
    from transformers import AutoProcessor

    stock, messages = AutoProcessor.from_pretrained(tiny(family)), request_of(7)
    chat = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text}
                if hasattr(part, "text")
                else {"type": "image", "image": PilImage.fromarray(part.pixels)}
                for part in message.parts
            ],
        }
        for message in messages
    ]
    expected = stock.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="np"
    )
    prompt = model(family)._encoder.encode(messages)
    assert prompt.ids.tolist() == expected["input_ids"][0].tolist()
    ours = model(family)._engine._layout.collate([prompt.pieces])
    np.testing.assert_allclose(ours["pixel_values"], expected["pixel_values"], atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_do_not_depend_on_their_batch(model, request_of, family):
    vlm = model(family, prefix_cache=False)
    settings = [
        Sampling(max_tokens=8),
        Sampling(temperature=1.0, seed=3, max_tokens=5),
        Sampling(temperature=0.7, seed=1, max_tokens=9),
    ]
    prompts = [
        vlm._encoder.encode(request_of(s, system="You play. " * (1 + 5 * s), window=s))
        for s in range(3)
    ]

    def requests():
        return [
            AnswerRequest(prompt, TokenSampler(sampling, LocalOptions()), sampling.max_tokens)
            for prompt, sampling in zip(prompts, settings, strict=True)
        ]

    together = vlm._engine.answer(requests())
    assert together == [vlm._engine.answer([request])[0] for request in requests()]
    assert [answer.generated for answer in together if not answer.stopped] == [
        sampling.max_tokens
        for sampling, answer in zip(settings, together, strict=True)
        if not answer.stopped
    ]


def test_seed_sample_and_temperature(model, request_of):
    vlm, messages = model("qwen2-vl"), request_of(1)

    def text(**sampling):
        return vlm.complete(messages, sampling=Sampling(max_tokens=12, **sampling)).text

    assert text(temperature=1.0, seed=4) == text(temperature=1.0, seed=4)
    assert text(temperature=1.0, seed=4) != text(temperature=1.0, seed=5)
    assert text(temperature=1.0, seed=4) != text(temperature=1.0, seed=4, sample=1)
    assert text() == text(temperature=0.0) == text(temperature=0, seed=9)


def test_default_temperature_top_p_top_k():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    drawn = {
        options: {TokenSampler(Sampling(seed=seed), options).draw(logits) for seed in range(60)}
        for options in (
            LocalOptions(temperature=1.0),
            LocalOptions(temperature=1.0, top_k=2),
            LocalOptions(temperature=1.0, top_p=0.6),
        )
    }
    assert list(drawn.values()) == [{0, 1, 2, 3}, {0, 1}, {0, 1}]
    assert TokenSampler(Sampling(), LocalOptions()).greedy
    assert not TokenSampler(Sampling(), LocalOptions(temperature=0.5)).greedy


def test_finish_reason_stop(model, request_of):
    """Make a token the end: the answer stops there, and the token is not part of the text."""
    vlm, messages = model("llava-next", prefix_cache=False), request_of(2)
    tokens = reference_answer(vlm, messages, 6)
    end = next(i for i in range(1, 6) if tokens[i] not in tokens[:i])
    engine, kept = vlm._engine, vlm._engine._stop_ids
    engine._stop_ids = (*kept, tokens[end])
    try:
        reply = vlm.complete(messages, sampling=Sampling(max_tokens=50))
    finally:
        engine._stop_ids = kept
    assert reply.finish_reason == "stop" and reply.usage.output_tokens == end + 1
    assert reply.text == vlm._encoder.decode(tokens[:end])
    assert vlm.complete(messages, sampling=Sampling(max_tokens=1)).finish_reason == "length"


def test_text_cannot_pretend_to_be_a_picture(model):
    for family in ("qwen2-vl", "video-llava", "idefics2"):
        vlm = model(family)
        mark = vlm._engine._layout.placeholder
        prompt = vlm._encoder.encode([Message.of("user", f"{mark}{mark} what is {mark}?")])
        assert vlm._engine._layout.token_id not in prompt.ids


def test_too_long_is_refused(model, request_of):
    with pytest.raises(RequestError, match="context is 16384"):
        model("qwen2-vl").complete(request_of(0), sampling=Sampling(max_tokens=20_000))


def test_templates_without_system_role(tiny, tmp_path, request_of):
    """A template that drops or refuses the system role: what it says opens the first user turn."""
    import shutil

    from atari_vlm.vlm.local.transformers_vlm import TransformersVLM

    refusing = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}[INST] "
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
        "{% endfor %}"
    )
    folder = shutil.copytree(tiny("llava-next"), tmp_path / "copy")
    (folder / "chat_template.jinja").write_text(refusing)
    vlm = TransformersVLM("llava", str(folder), options=LocalOptions(offline=True))
    text = vlm._encoder.decode(vlm._encoder.encode(request_of(0, system="The one rule.")).ids)
    assert text.count("The one rule.") == 1 and text.index("The one rule.") < text.index("Example")
    vlm.close()


def test_bad_requests(model):
    vlm = model("qwen2-vl")
    with pytest.raises(ConfigError, match="at least one message"):
        vlm.complete([], sampling=Sampling())
    with pytest.raises(ConfigError, match="max_tokens"):
        vlm.complete([Message.of("user", "?")], sampling=Sampling(max_tokens=0))
    with pytest.raises(RequestError, match="refused a picture: absolute aspect ratio"):
        vlm.complete(
            [Message.of("user", Image(np.zeros((1, 500, 3), np.uint8)))], sampling=Sampling()
        )
    one_pixel = Message.of(
        "user", Image(np.zeros((1, 1, 3), np.uint8)), "lone \ud800 surrogate <|im_end|>"
    )
    assert vlm.complete([one_pixel], sampling=Sampling(max_tokens=1)).usage.output_tokens == 1


def test_bfloat16(model, request_of):
    half, whole = model("qwen2-vl", dtype="bfloat16"), model("qwen2-vl")
    for step in range(3):
        np.testing.assert_allclose(
            *(vlm.score_choices(request_of(step), ("NOOP", "RIGHTFIRE")) for vlm in (half, whole)),
            atol=0.2,
        )
    assert half.complete(request_of(3), sampling=Sampling(max_tokens=3)).usage.cached_tokens > 0


def test_weights_in_several_files(tiny, tmp_path, request_of):
    """As large checkpoints are stored: shards and an index."""
    import shutil

    from transformers import AutoModelForImageTextToText

    from atari_vlm.vlm.local import weights
    from atari_vlm.vlm.local.transformers_vlm import TransformersVLM

    folder = shutil.copytree(tiny("idefics2"), tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    whole = AutoModelForImageTextToText.from_pretrained(tiny("idefics2"))
    whole.save_pretrained(folder, max_shard_size="400KB")
    assert len(weights.weight_files(folder)) > 1
    assert weights.parameters(folder) == weights.parameters(tiny("idefics2"))
    one, two = (
        TransformersVLM("idefics2", str(f), options=LocalOptions(offline=True))
        for f in (folder, tiny("idefics2"))
    )
    np.testing.assert_array_equal(
        *(vlm.score_choices(request_of(0), ["NOOP", "UP"]) for vlm in (one, two))
    )


def test_a_forgotten_model_is_let_go(tiny, request_of):
    import gc
    import threading
    import time

    from atari_vlm.vlm.local.transformers_vlm import TransformersVLM

    vlm = TransformersVLM("idefics2", str(tiny("idefics2")), options=LocalOptions(offline=True))
    vlm.complete(request_of(0), sampling=Sampling(max_tokens=1))
    worker = vlm._batcher._worker
    assert worker in threading.enumerate()
    del vlm
    gc.collect()
    deadline = time.monotonic() + 5
    while worker.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not worker.is_alive()
