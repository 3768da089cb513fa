"""The eight families, their prices, and loading by name."""

import json

import pytest

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.types import Usage
from atari_vlm.vlm import load_vlm
from atari_vlm.vlm.catalogue import entries, known_names, recommendations_table
from atari_vlm.vlm.prices import cost_usd, price_of


def test_the_eight_families_and_the_offline_players():
    assert list(entries()) == ["gpt-4o", "claude", "gemini", "qwen-vl", "llava", "cogvlm2", "video-llava", "idefics2"]
    assert set(known_names()) == {*entries(), "scripted", "nearest-example", "replay"}
    table = recommendations_table()
    for row in entries().values():
        assert f"--vlm {row.name}:" in table and row.model in table and row.licence in table
        assert row.kind == "api" or row.memory_gb > 0


def test_prices_are_dated_tiered_and_never_guessed():
    million = Usage(1_000_000, 1_000_000)
    assert cost_usd("gpt-4o", million, day="2026-11-20") == pytest.approx(12.5)
    assert cost_usd("gpt-4o-2024-11-20", million, day="2026-11-20") == pytest.approx(12.5)
    assert cost_usd("gpt-4o-mini", million, day="2026-11-20") == pytest.approx(0.75)
    assert cost_usd("gpt-4o-audio", million) is None and cost_usd("my-model", million) is None
    assert cost_usd("gpt-4o", Usage(1_000_000, 0, cached_tokens=1_000_000), day="2026-11-20") == pytest.approx(1.25)
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


def test_a_base_url_serves_any_local_family_through_the_openai_dialect():
    vlm = load_vlm("cogvlm2", model="cogvlm2", base_url="http://127.0.0.1:9/v1")
    assert "127.0.0.1:9" in vlm.name and "schema" in vlm.capabilities
