"""What is missing is said in one error, quickly, with the alternatives."""

import json
import shutil
import sys
import time

import pytest

from atari_vlm.errors import (
    ConfigError,
    MissingDependencyError,
    ModelNotAvailableError,
    NotSupportedError,
    UnknownNameError,
)
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.options import LocalOptions
from atari_vlm.vlm.local.transformers_vlm import TransformersVLM

ROUTES = ("--model PATH", "--base-url URL", "--vlm scripted")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def refuse(model, match, *, family="qwen-vl", error=ModelNotAvailableError, **options):
    with pytest.raises(error, match=match) as caught:
        TransformersVLM(family, str(model), options=LocalOptions(**options))
    if error is ModelNotAvailableError:
        assert all(route in str(caught.value) for route in ROUTES), str(caught.value)
    return str(caught.value)


def test_no_such_folder():
    refuse("./nowhere", "neither a folder nor a model id")
    refuse("just-a-name", "neither a folder nor a model id")


def test_unreachable_hub_is_one_quick_error(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    started = time.perf_counter()
    text = refuse(
        "Nobody/no-such-model-7B",
        "Nobody/no-such-model-7B are not on this machine and could not be downloaded",
    )
    assert time.perf_counter() - started < 20
    assert "\n" not in text


def test_offline(monkeypatch):
    refuse("Nobody/no-such-model-7B", r"switched off \(offline\)", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refuse("Nobody/no-such-model-7B", r"switched off \(offline\)")


def test_incomplete_and_damaged_folders(tiny, tmp_path):
    folder = shutil.copytree(tiny("llava-next"), tmp_path / "copy")
    shard = folder / "model.safetensors"
    whole = shard.read_bytes()
    shard.unlink()
    refuse(folder, "lacks weights.*pickled weights")
    index = {
        "weight_map": {
            "a": "model-00001-of-00002.safetensors",
            "b": "model-00002-of-00002.safetensors",
        }
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-00001-of-00002.safetensors").write_bytes(whole)
    refuse(folder, "lacks weights: model-00002-of-00002.safetensors")
    (folder / "model.safetensors.index.json").unlink()
    for data in (b"", whole[:100], b"\xff" * 64):
        (folder / "model-00001-of-00002.safetensors").write_bytes(data)
        refuse(folder, "damaged")
    (folder / "config.json").unlink()
    refuse(folder, "no config.json")


def test_memory_is_checked_before_loading(tiny, monkeypatch):
    folder = tiny("llava-next")
    count = weights.parameters(folder)
    assert 100_000 < count < 1_000_000 and weights.needed_bytes(folder, "float32", None) == int(
        count * 4.4
    )
    assert weights.needed_bytes(folder, "float32", "4bit") < weights.needed_bytes(
        folder, "bfloat16", None
    )
    monkeypatch.setattr(weights, "free_bytes", lambda device: 1000)
    text = refuse(folder, r"needs about 0.0 GB of memory; 0.0 GB are free", device="cpu")
    assert "4bit" in text


def test_free_memory_is_known_here():
    assert 1 << 20 < weights.free_bytes("cpu") < 1 << 50
    weights.check_memory("m", 1 << 60, "mps", None)  # unknown is not refused


def test_no_gpu_here(tiny):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refuse(tiny("llava-next"), "torch sees no CUDA GPU", device="cuda:1")


def test_not_an_image_text_model(tiny, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "text")
    refuse(tmp_path / "text", "'llama' model, which reads no images", error=ConfigError)


def test_no_chat_template(tiny, tmp_path):
    folder = shutil.copytree(tiny("qwen2-vl"), tmp_path / "copy")
    (folder / "chat_template.jinja").unlink()
    refuse(folder, "no chat template", error=ConfigError)


def test_processor_of_unknown_make():
    from atari_vlm.vlm.local import loading

    class Transformers:
        PROCESSOR_MAPPING: dict = {}  # noqa: RUF012

    class Config:
        model_type = "something"

    with pytest.raises(NotSupportedError, match="--base-url URL"):
        loading._processor_class(Transformers, Config())


@pytest.mark.parametrize("module", ["torch", "transformers", "accelerate"])
def test_missing_extra(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    refuse("anything/at-all", r"extra 'local'", error=MissingDependencyError)


def test_cogvlm2_explains_its_routes():
    text = refuse("THUDM/cogvlm2-llama3-chat-19B", "no class for CogVLM2", family="cogvlm2")
    assert "--base-url http://" in text and "--trust-remote-code --revision" in text
    for revision in (None, "main", COMMIT[:7], COMMIT.upper()):
        with pytest.raises(ModelNotAvailableError, match="40 hex digits"):
            TransformersVLM(
                "cogvlm2",
                "THUDM/cogvlm2-llama3-chat-19B",
                options=LocalOptions(trust_remote_code=True, revision=revision),
            )
    refuse(
        "THUDM/cogvlm2-llama3-chat-19B",
        "offline",
        family="cogvlm2",
        trust_remote_code=True,
        revision=COMMIT,
        offline=True,
    )


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dtype": "float8"}, UnknownNameError),
        ({"load_in": "3bit"}, UnknownNameError),
        ({"top_p": 0.0}, ConfigError),
        ({"top_p": 1.5}, ConfigError),
        ({"top_k": 0}, ConfigError),
        ({"batch_wait_ms": -1}, ConfigError),
        ({"temperature": -0.1}, ConfigError),
        ({"max_batch": 0}, ConfigError),
    ],
)
def test_bad_options(options, error):
    with pytest.raises(error):
        LocalOptions(**options)


def test_bad_names(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean qwen-vl"):
        TransformersVLM("qwen", "x")
    from atari_vlm.vlm.local.tiny import build_tiny

    with pytest.raises(UnknownNameError, match="did you mean"):
        build_tiny("qwen2vl", tmp_path)


def test_tiny_is_deterministic(tmp_path):
    from atari_vlm.files import sha256_of
    from atari_vlm.vlm.local.tiny import build_tiny

    one, two, other = (
        build_tiny("idefics2", tmp_path / name, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    digests = [sha256_of(folder / "model.safetensors") for folder in (one, two, other)]
    assert digests[0] == digests[1] != digests[2]
    assert sha256_of(one / "tokenizer.json") == sha256_of(two / "tokenizer.json")
