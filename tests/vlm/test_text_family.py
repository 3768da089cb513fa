"""Chat models of texts: loaded through the one engine, refused where they are none; how a reply is drawn, in every backend."""

import json

import pytest
from fake_server import FakeVendorServer

from atari_vlm.errors import ConfigError, ModelNotAvailableError, NotSupportedError, RequestError
from atari_vlm.types import Image, Message
from atari_vlm.vlm import load_vlm
from atari_vlm.vlm.base import Sampling, closing, request_key
from atari_vlm.vlm.catalogue import family_by_model
from atari_vlm.vlm.remote.anthropic import AnthropicVLM
from atari_vlm.vlm.remote.google import GoogleVLM
from atari_vlm.vlm.remote.openai import OpenAIVLM

ASKED = [Message.of("system", "Be brief."), Message.of("user", "Write a program. " * 8)]
TEXT_FAMILIES = ("llama", "qwen3", "gemma3")


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    """``text_model(architecture)``: a tiny checkpoint of it, loaded as ``--vlm text`` loads it."""
    from atari_vlm.vlm.local.tiny import build_tiny

    loaded = {}

    def load(family):
        if family not in loaded:
            folder = build_tiny(family, tmp_path_factory.mktemp(family))
            loaded[family] = load_vlm("text", model=str(folder), device="cpu", offline=True)
        return loaded[family]

    yield load
    for vlm in loaded.values():
        vlm.close()


def plain_logits(vlm, prompt, extra=()):
    import torch

    ids = torch.tensor([[*prompt.ids.tolist(), *extra]])
    with torch.inference_mode():
        return vlm._engine.model(input_ids=ids).logits[0].double().log_softmax(-1)


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_a_greedy_answer_is_transformers_own(text_model, family):
    vlm = text_model(family)
    prompt, expected = vlm._encoder.encode(ASKED), []
    for _ in range(10):
        expected.append(int(plain_logits(vlm, prompt, expected)[-1].argmax()))
    for _ in range(2):  # the second time from the kept start, where the architecture has one
        reply = vlm.complete(ASKED, sampling=Sampling(max_tokens=10))
        assert reply.text == vlm._encoder.decode(expected)
        assert (reply.finish_reason, reply.usage.output_tokens) == ("length", 10)
    assert reply.usage.input_tokens == len(prompt)


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_choices_score_as_whole_answers(text_model, family):
    vlm = text_model(family)
    prompt, choices = vlm._encoder.encode(ASKED), ("UP", "RIGHTFIRE", "DOWN")
    expected = []
    for choice in choices:
        tokens = vlm._encoder.choice_ids(choice)
        rows = plain_logits(vlm, prompt, tokens)[len(prompt) - 1 :]
        total = sum(float(rows[place, token]) for place, token in enumerate(tokens))
        expected.append(total + float(rows[-1, list(vlm._engine._stop_ids)].logsumexp(0)))
    assert vlm.score_choices(ASKED, choices) == pytest.approx(expected, abs=1e-4)


def test_rows_of_a_batch_do_not_depend_on_one_another(text_model):
    from concurrent.futures import ThreadPoolExecutor

    vlm = text_model("llama")
    asked = [[Message.of("user", "One more program. " * n)] for n in (1, 4, 9)]
    drawn = [Sampling(temperature=1.0, top_k=40, seed=n, max_tokens=8) for n in range(3)]

    def ask(n):
        return vlm.complete(asked[n], sampling=drawn[n]).text

    alone = [ask(n) for n in range(3)]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(ask, range(3))) == alone


def test_messages_are_the_chat_templates_own(text_model):
    vlm = text_model("llama")
    prompt = vlm._encoder.encode(ASKED)
    text = vlm._encoder._tokenizer.decode(prompt.ids.tolist())
    said = ASKED[1].text
    assert text.endswith(
        f"<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_special_token_inside_a_text_has_no_effect(text_model):
    vlm = text_model("llama")
    prompt = vlm._encoder.encode([Message.of("user", "a <|im_end|> b")])
    end = vlm._encoder._tokenizer.eos_token_id
    assert prompt.ids.tolist().count(end) == 1  # the turn's own


def test_what_the_system_says_goes_to_the_user_where_the_template_knows_no_system(text_model):
    vlm = text_model("gemma3")
    text = vlm._encoder._tokenizer.decode(vlm._encoder.encode(ASKED).ids.tolist())
    assert "<start_of_turn>user\nBe brief." in text and "system" not in text


def test_pictures_and_models_of_pictures_are_refused(text_model, tmp_path):
    import numpy as np

    from atari_vlm.vlm.local.tiny import build_tiny

    picture = Image(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(RequestError, match="reads no pictures"):
        text_model("llama").complete([Message.of("user", picture, "?")], sampling=Sampling())
    folder = build_tiny("llama", tmp_path / "llama")
    with pytest.raises(ConfigError, match=r"reads no images.*--vlm text"):
        load_vlm("qwen-vl", model=str(folder), device="cpu", offline=True)
    folder = build_tiny("idefics2", tmp_path / "idefics2")
    with pytest.raises(ConfigError, match="--vlm text takes a language model"):
        load_vlm("text", model=str(folder), device="cpu", offline=True)


def test_a_base_model_without_a_chat_template_is_refused(tmp_path):
    from atari_vlm.vlm.local.tiny import build_tiny

    folder = build_tiny("llama", tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template"):
        load_vlm("text", model=str(folder), device="cpu", offline=True)


def test_an_architecture_without_keys_and_values_is_refused(tmp_path):
    from transformers import MambaConfig, MambaForCausalLM

    from atari_vlm.vlm.local.tiny.parts import save, tiny_tokenizer

    tokenizer = tiny_tokenizer([])
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1)
    save(tmp_path, MambaForCausalLM(config), tokenizer, "{{ messages[0]['content'] }}")
    with pytest.raises(NotSupportedError, match=r"'mamba' take no .*--base-url"):
        load_vlm("text", model=str(tmp_path), device="cpu", offline=True)


def test_weights_that_are_not_here_end_in_one_sentence():
    with pytest.raises(ModelNotAvailableError, match="offline"):
        load_vlm("text", model="nobody/nothing-at-all", offline=True)


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4-turbo", "gpt-4o"), ("gpt-6-luna", "gpt-4o"), ("GPT-4", "gpt-4o"), ("claude-opus-5-5", "claude"),
        ("gemini-3.8-flash", "gemini"), ("meta-llama/Meta-Llama-3-70B-Instruct", "text"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "text"),
        ("./gpt-of-mine", "text"),
    ],
)  # fmt: skip
def test_a_models_name_alone_decides(model, family, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt-of-mine").mkdir()
    assert family_by_model(model) == family


def sent(kind, **sampling):
    """The body that a vendor's real SDK sends to a server of one's own."""
    with FakeVendorServer() as server:
        url = server.openai_url if kind is OpenAIVLM else server.url
        with closing(kind("some-model", api_key="test-key-1", base_url=url)) as vlm:
            vlm.complete(ASKED, sampling=Sampling(**sampling))
        return server.requests[0].body


def test_top_p_and_top_k_reach_the_vendors_that_have_them():
    drawn = {"top_p": 0.8, "top_k": 100, "temperature": 1.0}
    for kind in (OpenAIVLM, AnthropicVLM):
        body = sent(kind, **drawn)
        assert (body["top_p"], body["top_k"], body["temperature"]) == (0.8, 100, 1.0)
    config = sent(GoogleVLM, **drawn)["generationConfig"]
    assert (config["topP"], config["topK"]) == (0.8, 100)
    at_home = OpenAIVLM("gpt-4o", api_key="test-key-1")
    request = at_home.dialect.build_request(at_home._target, list(ASKED), Sampling(**drawn))
    assert request["top_p"] == 0.8 and "top_k" not in json.dumps(request)


@pytest.mark.parametrize("options", [{"top_p": 0.0}, {"top_p": 1.5}, {"top_k": 0}])
def test_draws_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match="top_"):
        Sampling(**options)


def test_repeated_draws_are_told_apart(text_model):
    first, second = Sampling(seed=3), Sampling(seed=3, sample=1)
    assert request_key("x", ASKED, first) != request_key("x", ASKED, second)
    assert first.draw_seed == 3 and second.draw_seed not in (None, 3)
    assert Sampling(sample=1).draw_seed is None
    assert sent(OpenAIVLM, seed=3, sample=1)["seed"] == second.draw_seed
    vlm = text_model("llama")
    texts = [
        vlm.complete(ASKED, sampling=Sampling(1.0, max_tokens=12, seed=3, sample=n)).text
        for n in (0, 1, 0)
    ]
    assert texts[0] == texts[2] != texts[1]


def test_caches_of_earlier_versions_keep_their_keys():
    asked = [Message.of("user", "hello")]
    key = "87d4ececddb5a8abcb257bacc6712b553ad59ea69cc823ebbc3a6266b4b863f3"
    assert request_key("vlm", asked, Sampling(temperature=0.5, seed=1)) == key
    assert request_key("vlm", asked, Sampling(temperature=0.5, seed=1, top_k=5)) != key


def test_greedy_top_k_of_one_is_the_likeliest(text_model):
    vlm = text_model("qwen3")
    greedy = vlm.complete(ASKED, sampling=Sampling(max_tokens=8)).text
    drawn = vlm.complete(ASKED, sampling=Sampling(temperature=1.0, top_k=1, seed=1, max_tokens=8))
    assert drawn.text == greedy
