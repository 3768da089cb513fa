"""Weights of language models: both layouts, first layers, shards, and everything that a folder can be instead."""

import json
import os
import shutil
import time
from copy import deepcopy

import pytest
import torch

from atari_vlm.errors import CheckpointError, ConfigError, MismatchError, ModelNotAvailableError
from atari_vlm.world_models.dreamer.cores import MambaCore, make_core
from atari_vlm.world_models.dreamer.cores.pretrained import embeddings_of

transformers = pytest.importorskip("transformers")
CONFIG = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "vocab_size": 29,
    "state_size": 4,
    "time_step_rank": 3,
}


@pytest.fixture(scope="module", params=["MambaModel", "MambaForCausalLM"])
def saved(request, tmp_path_factory):
    """A random model of transformers and the folder that it was saved into."""
    torch.manual_seed(0)
    model = getattr(transformers, request.param)(transformers.MambaConfig(**CONFIG)).eval()
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return getattr(model, "backbone", model), folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the folder that a test may damage."""
    return shutil.copytree(saved[1], tmp_path / "copy")


def outputs(core, x):
    return core.scan(x, core.init(len(x)), torch.zeros(x.shape[:2], dtype=torch.bool))[0]


def test_either_layout_gives_the_same_model(saved):
    """D10: from a local folder."""
    model, folder = saved
    x = torch.randn(2, 9, 16)
    with torch.no_grad():
        expected = model(inputs_embeds=x, use_cache=False).last_hidden_state
        assert (outputs(MambaCore.from_pretrained(folder), x) - expected).abs().max() < 1e-5
    assert torch.equal(embeddings_of(str(folder)), model.embeddings.weight)


def test_the_first_layers(saved):
    model, folder = saved
    x = torch.randn(2, 9, 16)
    core = MambaCore.from_pretrained(folder, layers=2)
    with torch.no_grad():
        expected = model.norm_f(model.layers[1](model.layers[0](x)))
        assert (outputs(core, x) - expected).abs().max() < 1e-5
    with pytest.raises(ConfigError, match="has 3 layers, 4 were asked for"):
        MambaCore.from_pretrained(folder, layers=4)


def test_shards_and_half_precision(saved, tmp_path):
    model, folder = saved
    deepcopy(model).to(torch.bfloat16).save_pretrained(tmp_path, max_shard_size="6KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    core, exact = MambaCore.from_pretrained(tmp_path), MambaCore.from_pretrained(folder)
    for name, weight in core.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, exact.state_dict()[name].bfloat16().float())


def test_a_core_by_name_from_pretrained_weights(saved, caplog):
    _, folder = saved
    with caplog.at_level("INFO"):
        core = make_core("mamba", (5, 2), 12, from_pretrained=folder, layers=1)
    assert "16 wide: inputs of 5 + 2 and outputs of 12 are brought to its width" in caplog.text
    assert torch.equal(
        core.core.layers[0].mixer.D, MambaCore.from_pretrained(folder).layers[0].mixer.D
    )


def test_pickled_weights_are_refused(copy):
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin: pickled files can run code"):
        MambaCore.from_pretrained(copy)


def test_nothing_there_is_said_with_a_place_to_put_it(tmp_path):
    for place in ("./nowhere", str(tmp_path)):
        with pytest.raises(ModelNotAvailableError, match=r"Put config.json and model.safetensors"):
            MambaCore.from_pretrained(place)


def test_without_a_network_it_fails_at_once(monkeypatch, tmp_path):
    """D10: a sentence within ten seconds, with the place for the files."""
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotAvailableError, match=r"switched off \(offline\)\. Put config.json"):
        MambaCore.from_pretrained("state-spaces/mamba-130m-hf")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(ModelNotAvailableError, match=r"could not be downloaded.*Put config.json"):
        MambaCore.from_pretrained("state-spaces/mamba-130m-hf")
    assert time.monotonic() - started < 10


def change(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({"model_type": "mamba2"}, MismatchError, "a model of type 'mamba2'"),
        ({"use_bias": True}, MismatchError, "use_bias = True; the core has use_bias = False"),
        ({"hidden_size": 1 << 40}, CheckpointError, "sizes are those of no model"),
        ({"hidden_size": -1}, CheckpointError, "width must be a whole number of at least 1, got -1"),
        ({"expand": 1 << 15, "hidden_size": 1 << 15, "state_size": 1 << 15}, CheckpointError, "the model needs"),
        ({"num_hidden_layers": 1 << 30}, CheckpointError, "sizes are those of no model"),
        ({"hidden_size": 8}, CheckpointError, r"\(16, 4\) as|the model needs"),
        ({"num_hidden_layers": 4}, CheckpointError, r"has no layers\.3\."),
        ({"layer_norm_epsilon": "small"}, CheckpointError, "layer_norm_epsilon is 'small'"),
        ({"time_step_rank": [3]}, CheckpointError, "time_step_rank"),
    ],
)  # fmt: skip
def test_a_configuration_that_lies(copy, values, error, match):
    change(copy, **values)
    with pytest.raises(error, match=match):
        MambaCore.from_pretrained(copy)


def test_damaged_weights(copy):
    file = copy / "model.safetensors"
    whole = file.read_bytes()
    for data in (
        b"",
        whole[:40],
        whole[:-4],
        b"\xff" * 64,
        b"version https://git-lfs.github.com/spec/v1\n",
    ):
        file.write_bytes(data)
        with pytest.raises((CheckpointError, ModelNotAvailableError), match=r"model\.safetensors"):
            MambaCore.from_pretrained(copy)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ModelNotAvailableError, match="no real file"):
        MambaCore.from_pretrained(copy)


def test_weights_that_are_no_numbers(saved, tmp_path):
    model = deepcopy(saved[0])
    model.norm_f.weight.data[0] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"norm_f.weight holds numbers that are none"):
        MambaCore.from_pretrained(tmp_path)
