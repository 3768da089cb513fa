"""What a training takes is told before weights are loaded, and told in numbers that somebody can act upon."""

import dataclasses
import json

import pytest

pytest.importorskip("torch")

from atari_vlm.errors import ModelNotAvailableError
from atari_vlm.runs.game_names import parse_games
from atari_vlm.training.tuning.memory import (
    TrainingLoad,
    check_training_memory,
    largest_picture,
    tokens_with_thoughts,
    training_bytes,
)
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.options import LocalOptions

LOAD = TrainingLoad("full", 32, 2, (210, 160))
CPU = LocalOptions(device="cpu", dtype="float32")


@pytest.fixture
def qwen(tmp_path, monkeypatch):
    """The configuration of Qwen2-VL-2B, with nothing behind it: 2.2e9 parameters that nobody loads."""
    vision = {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "patch_size": 14}
    text = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28}
    heads = {"num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151_936}
    config = {"model_type": "qwen2_vl", **text, **heads, "vision_config": vision}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(weights, "parameters", lambda folder: 2_200_000_000)
    return tmp_path


def test_whole_weights_take_six_times_their_size_and_layers_of_low_rank_little_more_than_once(qwen):
    whole, passing = training_bytes(qwen, "float32", LOAD)
    assert whole == pytest.approx(1.2 * 6 * 4 * 2.2e9)
    lora, same = training_bytes(qwen, "float32", dataclasses.replace(LOAD, method="lora"))
    learned = 28 * 16 * (2 * (1536 + 1536) + 2 * (1536 + 256) + 3 * (1536 + 8960))
    assert lora == pytest.approx(1.2 * 4 * (2.2e9 + 5 * learned)) and same == passing
    small, _ = training_bytes(qwen, "bfloat16", dataclasses.replace(LOAD, method="qlora"))
    assert small < lora / 4


def test_a_pass_takes_as_much_more_as_is_computed_at_once(qwen):
    def passing(**changes):
        return training_bytes(qwen, "float32", dataclasses.replace(LOAD, **changes))[1]

    assert passing(rows=64) == pytest.approx(2 * passing(), rel=1e-6)
    assert passing(pictures=4) > passing() > passing(picture_px=(84, 84))
    assert passing(gradient_checkpointing=True) < passing() / 5


def test_a_thought_stands_before_every_answer_and_all_of_it_has_logits(qwen):
    tokens = tokens_with_thoughts(parse_games("Catch,Boxing"), 24)
    assert tokens == 16 + 24 * (1 + 18)
    thoughtful = dataclasses.replace(LOAD, answer_tokens=tokens)
    more = training_bytes(qwen, "float32", thoughtful)[1] - training_bytes(qwen, "float32", LOAD)[1]
    assert more > 32 * 24 * 19 * 151_936 * 4 * 4


def test_what_does_not_fit_is_refused_with_what_to_lower(qwen, monkeypatch):
    monkeypatch.setattr(weights, "free_bytes", lambda device: 20 << 30)
    with pytest.raises(ModelNotAvailableError) as refused:
        check_training_memory("qwen", qwen, CPU, LOAD)
    said = str(refused.value)
    assert "training qwen needs about" in said and "21.5 GB are free" in said
    assert "lower --batch-size or --frames" in said and "--gradient-checkpointing" in said
    assert "--method lora or qlora" in said
    monkeypatch.setattr(weights, "free_bytes", lambda device: 500 << 30)
    check_training_memory("qwen", qwen, CPU, LOAD)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "100")
    with pytest.raises(ModelNotAvailableError, match=r"5\.4 GB are free for each of 100 processes"):
        check_training_memory("qwen", qwen, CPU, LOAD)


def test_pictures_are_as_large_as_the_games_are():
    assert largest_picture(parse_games("Catch")) == (64, 64)
