"""Adapters: they play what was trained, everywhere a model is named; those of something else are refused by name."""

import json

import numpy as np
import pytest
import tuning_helpers as helpers

from atari_vlm.agents import VLMAgent
from atari_vlm.agents.vlm_agent import VLMAgentOptions
from atari_vlm.errors import AtariVLMError, MismatchError, NotSupportedError
from atari_vlm.runs.game_names import parse_games
from atari_vlm.train import main as train
from atari_vlm.training.tuning.bases import load_base
from atari_vlm.training.tuning.learner import TuningLearner, UpdateConfig
from atari_vlm.training.tuning.sources import TeachingConfig, played_episodes
from atari_vlm.tune import main as tune
from atari_vlm.vlm import load_vlm
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.local.adapter import attach, read_adapter
from atari_vlm.vlm.local.options import LocalOptions

CPU = LocalOptions(device="cpu", offline=True)


def some_decisions():
    config = TeachingConfig(episodes=1, held_out=1, explore=0.0)
    return next(iter(played_episodes("scripted", parse_games("Catch"), config))).decisions[:3]


def scores(**where):
    vlm = load_vlm("qwen-vl", device="cpu", offline=True, **where)
    found = [vlm.score_choices(d.messages, d.names) for d in some_decisions()]
    vlm.close()
    return np.array(found)


def test_the_adapter_plays_what_was_trained_and_so_does_the_merged_model(tuned, bases, tmp_path):
    model, adapter = bases("qwen2-vl"), tuned / "adapter"
    plain, with_adapter = scores(model=model), scores(model=model, adapter=adapter)
    assert np.abs(plain - with_adapter).max() > 1e-3
    base = load_base("qwen-vl", model, CPU)
    attach(read_adapter(adapter), base.network, merge=False)
    trained = TuningLearner.log_probs
    learner = TuningLearner.__new__(TuningLearner)
    learner.base, learner.tuned = base, base.network
    learner._choices, learner._prompts = {}, {}
    np.testing.assert_allclose(trained(learner, some_decisions()), with_adapter, atol=1e-5)
    assert tune(["merge", str(adapter), "--model", model, "--out", str(tmp_path / "whole")]) == 0
    np.testing.assert_array_equal(scores(model=str(tmp_path / "whole")), with_adapter)
    assert tune(["merge", str(adapter), "--model", model, "--out", str(tmp_path / "whole")]) == 2


def test_it_plays_by_the_command_line(tuned, bases, tmp_path):
    words = ["--vlm", "qwen-vl", "--model", bases("qwen2-vl"), "--adapter", str(tuned / "adapter")]
    words += ["--game", "Catch", "--prompt-type", "basic", "--num-episodes", "1", "--videos", "0"]
    words += ["--save-dir", str(tmp_path), "--run-name", "played", "--num-eval-episodes", "1"]
    assert train([*words, "--vlm-option", "device=cpu"]) == 0
    assert "adapter=" in (tmp_path / "played" / "config.yaml").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("--vlm", "scripted"),
        ("--vlm", "gpt-4o", "--api-key", "none"),
        ("--vlm", "qwen-vl", "--base-url", "http://127.0.0.1:9/v1"),
    ],
)
def test_who_loads_no_model_here_takes_no_adapter(words, tuned, tmp_path, capsys):
    rest = ["--adapter", str(tuned / "adapter"), "--save-dir", str(tmp_path), "--game", "Catch"]
    assert train([*words, *rest]) == 2
    assert "adapter" in capsys.readouterr().err


def test_four_bit_weights_learn_on_a_cpu_and_their_adapter_fits_whole_ones(bases, tmp_path):
    pytest.importorskip("bitsandbytes")
    model, out = bases("qwen2-vl"), str(tmp_path / "merged")
    words = ("--base", "qwen-vl", "--model", model, "--method", "qlora")
    assert helpers.sft(tmp_path, "four", *words) == 0
    adapter = tmp_path / "four" / "adapter"
    assert json.loads((adapter / "atari_vlm.json").read_text())["method"] == "qlora"
    assert tune(["merge", str(adapter), "--model", model, "--out", out]) == 0
    plain, apart = scores(model=model), scores(model=model, adapter=adapter)
    np.testing.assert_array_equal(scores(model=out), apart)
    assert np.abs(apart - plain).max() > 1e-3
    four = scores(model=model, adapter=adapter, load_in="4bit")  # as it was trained
    assert 0 < np.abs(four - apart).max() < 2 and four.shape == apart.shape


def test_an_adapter_of_something_else_is_refused_by_name(tuned, bases, copied):
    model = bases("qwen2-vl")
    refused = {
        "hashes differ": {"model": bases("qwen2-vl", seed=1), "adapter": tuned / "adapter"},
        "a qwen3_vl": {"model": bases("qwen3-vl"), "adapter": tuned / "adapter"},
        "lacks adapter_config.json": {"model": model, "adapter": "nowhere"},
    }
    for said, where in refused.items():
        with pytest.raises(AtariVLMError, match=f"adapter.*{said}"):
            load_vlm("qwen-vl", **where)
    with pytest.raises(MismatchError, match=r"adapter .* for the family qwen-vl, not for llava"):
        load_vlm("llava", model=model, adapter=tuned / "adapter")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answer_form": "json"}, "answer form"),
        ({"prompt_version": "0-aaaaaaaaaaaa"}, "version 0-aaaaaaaaaaaa of the prompt basic"),
        ({"prompt_type": "rude"}, "cannot be read"),
        ({"weights": "0" * 64}, "hashes differ"),
        ({"more": 1}, "cannot be read"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(changes, said, bases, copied):
    with pytest.raises(AtariVLMError, match=f"adapter.*{said}"):
        load_vlm("qwen-vl", model=bases("qwen2-vl"), adapter=copied(**changes))


def test_damaged_and_harmful_adapters_are_refused(bases, copied, tmp_path):
    folder = copied()
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    for content in (b"", whole[:50], whole[:-10], b"\xff" * 2000):
        weights.write_bytes(content)
        with pytest.raises(AtariVLMError, match="adapter"):
            load_vlm("qwen-vl", model=bases("qwen2-vl"), adapter=folder)
    weights.write_bytes(whole)
    given = json.loads(config.read_text())
    for change in (
        {"peft_type": "IA3"},
        {"r": 0},
        {"r": 4},
        {"target_modules": ["nothing"]},
        {"target_modules": ".*"},
    ):
        config.write_text(json.dumps({**given, **change}))
        with pytest.raises(AtariVLMError, match="adapter"):
            load_vlm("qwen-vl", model=bases("qwen2-vl"), adapter=folder)
    imports = {"megatron_config": {"a": 1}, "megatron_core": "antigravity"}
    config.write_text(json.dumps({**given, **imports}))
    load_vlm("qwen-vl", model=bases("qwen2-vl"), adapter=folder).close()  # neither is taken


def test_a_tuned_model_is_scored_and_asked_for_nothing_else(tuned, bases):
    vlm = load_vlm("qwen-vl", model=bases("qwen2-vl"), adapter=tuned / "adapter", device="cpu")
    assert VLMAgent(vlm).answer == "scores"
    with pytest.raises(NotSupportedError, match="adapter"):
        VLMAgent(vlm, options=VLMAgentOptions(answer="json"))
    with pytest.raises(NotSupportedError, match="adapter"):
        vlm.complete(some_decisions()[0].messages, sampling=Sampling())
    vlm.close()


def test_whole_weights_of_a_small_model_from_nothing(tmp_path, capsys):
    words = ("--base", "tiny", "--model", "new", "--updates", "2", "--held-out", "1")
    assert helpers.sft(tmp_path, "small", *words) == 0
    run = tmp_path / "small"
    assert tune(["sft", "--save-dir", str(tmp_path), "--resume", "small"]) == 0
    assert "is finished" in capsys.readouterr().err  # nothing of it has to be typed again
    out = str(tmp_path / "whole")
    assert tune(["merge", str(run / "adapter"), "--model", "new", "--out", out]) == 0
    places = ({"adapter": run / "adapter"}, {"model": out})
    places += ({"model": str(run / "base"), "adapter": run / "adapter"},)
    found = []
    for place in places:
        vlm = load_vlm("tiny", device="cpu", **place)
        found.append([vlm.score_choices(d.messages, d.names) for d in some_decisions()])
        vlm.close()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    with pytest.raises(AtariVLMError, match="begins from nothing"):
        load_vlm("tiny", model="new")
    learner = TuningLearner(load_base("tiny", out, CPU), "full", UpdateConfig(updates=2))
    assert len(learner.weights) == len(list(learner.base.network.parameters())) // 2
