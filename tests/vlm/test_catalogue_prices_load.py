"""The families, their prices, and loading by name."""

import contextlib
import json
import pickle
from types import SimpleNamespace

import pytest
from fake_server import FakeVendorServer

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.types import Message, Usage
from atari_vlm.vlm import load_vlm
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.catalogue import entries, known_names, recommendations_table
from atari_vlm.vlm.layers.budget import Budget, BudgetVLM
from atari_vlm.vlm.layers.stack import limited
from atari_vlm.vlm.prices import cost_usd, price_of


def test_the_families_and_the_offline_players():
    assert list(entries()) == [
        "gpt-4o",
        "claude",
        "gemini",
        "qwen-vl",
        "llava",
        "cogvlm2",
        "video-llava",
        "idefics2",
        "text",
    ]
    assert set(known_names()) == {*entries(), "tiny", "scripted", "nearest-example", "replay"}
    table = recommendations_table()
    for row in entries().values():
        assert (
            f"--vlm {row.name}:" in table
            and row.model in table
            and row.licence in table
            and row.best_for in table
        )
        assert row.kind == "api" or row.memory_gb > 0


def test_prices_are_dated_tiered_and_never_guessed():
    million = Usage(1_000_000, 1_000_000)
    assert cost_usd("gpt-4o", million, day="2026-11-20") == pytest.approx(12.5)
    assert cost_usd("gpt-4o-2024-11-20", million, day="2026-11-20") == pytest.approx(12.5)
    assert cost_usd("gpt-4o-mini", million, day="2026-11-20") == pytest.approx(0.75)
    assert cost_usd("gpt-4o-audio", million) is None and cost_usd("my-model", million) is None
    assert cost_usd(
        "gpt-4o", Usage(1_000_000, 0, cached_tokens=1_000_000), day="2026-11-20"
    ) == pytest.approx(1.25)
    assert cost_usd("gpt-4o", Usage(None, 3)) is None
    assert cost_usd("gemini-3.8-flash", million, day="2026-12-31") == pytest.approx(4.5)
    assert cost_usd("gemini-3.8-flash", million, day="2027-01-01") == pytest.approx(9.0)
    assert price_of("claude-haiku-5-5", input_tokens=100_000, day="2026-11-20").input == 0.5
    assert price_of("claude-haiku-5-5", input_tokens=99_999, day="2026-11-20").input == 0.1


def test_a_users_own_prices_win(tmp_path, monkeypatch):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"prices": [{"model": "my-model", "input": 1, "output": 2}]}))
    monkeypatch.setenv("ATARI_VLM_PRICES", str(path))
    assert cost_usd("my-model", Usage(1_000_000, 500_000)) == pytest.approx(2.0)
    path = tmp_path / "broken.json"
    path.write_text("[]")
    monkeypatch.setenv("ATARI_VLM_PRICES", str(path))
    with pytest.raises(ConfigError, match="not a price table"):
        cost_usd("my-model", Usage(1, 1))


def test_wrong_names_and_options_are_refused_before_anything_is_contacted():
    with pytest.raises(UnknownNameError, match="did you mean gpt-4o"):
        load_vlm("gpt4o")
    with pytest.raises(ConfigError, match="has no option 'temperatur'"):
        load_vlm("gpt-4o", api_key="k", temperatur=1)
    with pytest.raises(ConfigError, match="takes no option"):
        load_vlm("scripted", device="cpu")
    with pytest.raises(ConfigError, match="needs --model PATH"):
        load_vlm("replay")


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-5", "gpt-4o"), ("gpt-4o-mini", "gpt-4o"), ("o3", "gpt-4o"), ("claude-opus-5-5", "claude"),
        ("gemini-2.5-pro", "gemini"), ("Qwen/Qwen2.5-VL-3B-Instruct", "qwen-vl"), ("THUDM/cogvlm2-x", "cogvlm2"),
        ("llava-hf/llava-v1.6-mistral-7b-hf", "llava"), ("LanguageBind/Video-LLaVA-7B-hf", "video-llava"),
        ("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "idefics2"),
    ],
)  # fmt: skip
def test_a_models_id_leads_to_its_family(model, family):
    with pytest.raises(UnknownNameError, match=f"--vlm {family} --model {model}"):
        load_vlm(model)


@pytest.mark.parametrize("name", ["gpt4o", "GPT-4o", "QwenVL", "mistral-large", "scriptd"])
def test_a_misspelt_name_leads_to_the_nearest(name):
    with pytest.raises(UnknownNameError) as caught:
        load_vlm(name)
    assert (
        "--model" not in str(caught.value)
        and pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    )


def test_a_budget_in_dollars_is_refused_before_anything_is_paid_where_the_price_is_unknown():
    def limits(vlm, **more):
        chosen = {
            "budget_usd": 1.0,
            "max_calls": None,
            "max_tokens": None,
            "cache": None,
            "cache_mode": "readwrite",
            **more,
        }
        return limited(vlm, SimpleNamespace(**chosen))

    away = load_vlm(
        "gpt-4o", model="unpriced", api_key="test-key-1", base_url="https://models.example.com/v1"
    )
    with pytest.raises(
        ConfigError, match=r"price of 'openai/unpriced.*--max-calls.*ATARI_VLM_PRICES"
    ):
        limits(away)
    limits(away, budget_usd=None)
    with pytest.raises(ConfigError, match="price"):
        limits(load_vlm("claude", model="claude-unheard-of", api_key="test-key-1"))
    with pytest.raises(ConfigError, match="price"):  # a key: somebody may be paid behind it
        limits(
            load_vlm(
                "gpt-4o", model="unpriced", api_key="test-key-1", base_url="http://127.0.0.1:9/v1"
            )
        )
    for url in (
        "http://127.0.0.1:9/v1",
        "http://localhost:9/v1",
        "http://192.168.1.7:9/v1",
        "http://box.local:9/v1",
    ):
        limits(load_vlm("qwen-vl", base_url=url))
    limits(load_vlm("gpt-4o", api_key="test-key-1"))
    limits(
        load_vlm(
            "gpt-4o",
            model="any/model",
            api_key="test-key-1",
            base_url="https://openrouter.ai/api/v1",
        )
    )


@pytest.mark.parametrize(
    ("usage", "spent"),
    [({"prompt_tokens": 9, "completion_tokens": 4}, 13), ({}, 0), ({"prompt_tokens": 9}, 9)],
)
def test_a_server_of_ones_own_is_free_and_one_that_counts_no_tokens_keeps_no_budget_of_them(
    usage, spent
):
    body = {"choices": [{"message": {"content": "ACTION: UP"}}], "model": "own", "usage": usage}
    budget = Budget(usd=1.0, tokens=1000)
    with FakeVendorServer(respond=lambda request: (200, {}, json.dumps(body).encode())) as server:
        with contextlib.closing(load_vlm("qwen-vl", base_url=server.openai_url)) as vlm:
            counted = BudgetVLM(vlm, budget)
            assert counted.complete([Message.of("user", "x")], sampling=Sampling()).cost_usd == 0.0
            assert budget.spent == {"usd": 0.0, "calls": 1, "tokens": spent}
            expected = (
                pytest.raises(ConfigError, match="--max-calls")
                if spent < 13
                else contextlib.nullcontext()
            )
            with expected:
                counted.complete([Message.of("user", "x")], sampling=Sampling())
        assert len(server.requests) == (2 if spent == 13 else 1)


def test_a_base_url_serves_any_local_family_through_the_openai_dialect():
    vlm = load_vlm("cogvlm2", model="cogvlm2", base_url="http://127.0.0.1:9/v1")
    assert "127.0.0.1:9" in vlm.name and "schema" in vlm.capabilities
