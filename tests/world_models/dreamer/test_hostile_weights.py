"""Folders of weights, adapters and runs as strangers make them: nothing runs or is written elsewhere, one sentence."""

import json
import os
import pickle
import re
import shutil
import socket
import struct

import pytest
import torch
import yaml

from atari_vlm import dream
from atari_vlm.errors import AtariVLMError, CheckpointError
from atari_vlm.world_models.checkpoint import load_world_model
from atari_vlm.world_models.checkpoint_files import MANIFEST, manifest_of
from atari_vlm.world_models.dreamer.cores import MambaCore
from atari_vlm.world_models.dreamer.language.tokenizers import make_tokenizer
from atari_vlm.world_models.dreamer.lora import add_lora, load_lora, lora_parameters, save_lora

QUICK = [
    "networks.deter=16", "networks.hidden=8", "networks.units=8", "networks.layers=1", "networks.groups=2", "networks.classes=4",
    "learning.batch=2", "learning.length=4", "learning.prefill=20", "learning.ratio=0.1", "behaviour.steps=2",
    "behaviour.imag_last=2", "play.steps=30", "play.eval_episodes=1", "play.final_episodes=1", "play.eval_max_steps=5",
    "capacity=100", "checkpoint_every=1",
]  # fmt: skip


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("BOMB",)


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    """In a directory of its own; a bomb that went off lies there, and whoever connects to anything fails the test."""
    monkeypatch.chdir(tmp_path)

    def connect(*place):
        raise AssertionError(f"connected to {place}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    yield
    assert not (tmp_path / "BOMB").exists()


def core():
    torch.manual_seed(0)
    return MambaCore(16, 2, state_size=4)


def refused(load, *words):
    """The one sentence of an error of ours."""
    with pytest.raises(AtariVLMError) as caught:
        load(*words)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 600
    return said


def huge_header(claimed=1 << 40):
    return struct.pack("<Q", claimed) + b"{" + b" " * 100


def long_header():
    """As long as it says, and nothing but room."""
    length = (1 << 24) + 8
    return struct.pack("<Q", length) + b"{}" + b" " * (length - 2)


@pytest.fixture
def adapter(tmp_path):
    adapted = core()
    add_lora(adapted, 2, 4, ["in_proj"])
    save_lora(adapted, tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    "data", [huge_header(), huge_header(1 << 63), long_header(), huge_header(9)], ids=str.split("huge huger long short")
)  # fmt: skip
def test_headers_of_adapters_and_weights_are_looked_at_first(adapter, pretrained, data):
    (adapter / "adapter_model.safetensors").write_bytes(data)
    plain = core()
    assert "adapter_model.safetensors" in refused(load_lora, plain, adapter)
    assert lora_parameters(plain) == {}
    (pretrained / "model.safetensors").write_bytes(data)
    assert "model.safetensors" in refused(MambaCore.from_pretrained, pretrained)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("place", ["/dev/zero", "pipe", "nowhere", "folder"])
def test_an_adapter_that_leads_elsewhere(adapter, tmp_path, name, place):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (adapter / name).unlink()
    (adapter / name).symlink_to(tmp_path / place if place[0] != "/" else place)
    refused(load_lora, core(), adapter)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"r": 1e999, "lora_alpha": 4}', "[1]", '{"r": 2, "lora_alpha": NaN}', "\xff"]
)  # fmt: skip
def test_a_configuration_of_adapters_that_is_none(adapter, text):
    (adapter / "adapter_config.json").write_text(text, encoding="latin-1")
    refused(load_lora, core(), adapter)


def test_what_else_lies_beside_adapters_is_not_opened(adapter):
    for name in ("adapter_model.bin", "training_args.bin", "optimizer.pt"):
        (adapter / name).write_bytes(pickle.dumps(Bomb()))
    load_lora(core(), adapter)


@pytest.fixture
def pretrained(tmp_path):
    """A folder in transformers' layout, without transformers."""
    from safetensors.torch import save_file

    model, folder = core(), tmp_path / "pretrained"
    folder.mkdir()
    save_file(dict(model.state_dict()), folder / "model.safetensors")
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "state_size": 4,
        "conv_kernel": 4,
        "expand": 2,
    }
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba", **sizes}))
    return folder


def test_code_that_comes_with_weights_is_not_run(pretrained):
    evil = "import os\nos.mkdir('BOMB')\n"
    for name in (
        "modeling_mamba.py",
        "configuration_mamba.py",
        "tokenization_mamba.py",
        "__init__.py",
    ):
        (pretrained / name).write_text(evil)
    for name in ("pytorch_model.bin", "scheduler.pt"):
        (pretrained / name).write_bytes(pickle.dumps(Bomb()))
    ours = {
        "AutoModel": "modeling_mamba.MambaModel",
        "AutoConfig": "configuration_mamba.MambaConfig",
    }
    config = json.loads((pretrained / "config.json").read_text())
    trusted = {"auto_map": ours, "trust_remote_code": True, "architectures": ["os.system"]}
    (pretrained / "config.json").write_text(json.dumps({**config, **trusted}))
    (pretrained / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["tokenization_mamba.T", None]}, "tokenizer_class": "os.system"})
    )  # fmt: skip
    MambaCore.from_pretrained(pretrained)
    assert "tokenizer.json" in refused(make_tokenizer, str(pretrained))


def test_an_index_that_names_files_elsewhere(pretrained):
    outside = pretrained.parent / "outside.safetensors"
    shutil.copy(pretrained / "model.safetensors", outside)
    for name in ("../outside.safetensors", str(outside), ""):
        index = {"weight_map": {"norm_f.weight": name}}
        (pretrained / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "index.json names no files" in refused(MambaCore.from_pretrained, pretrained)


def train(*words):
    command = ["dreamer", "--game", "CartPole-v1", "--preset", "tiny", "--run-name", "run"]
    return dream.main([*command, "--epochs", "1", *words, "--settings", *QUICK])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a program, one epoch long."""
    folder, before = tmp_path_factory.mktemp("made"), os.getcwd()
    os.chdir(folder)
    try:
        assert train() == 0
    finally:
        os.chdir(before)
    return folder / "atari_vlm_results"


@pytest.fixture
def run(made, tmp_path):
    """A copy of it, to be harmed."""
    return shutil.copytree(made, tmp_path / "atari_vlm_results") / "run"


def resumed(capsys, *words):
    """Resume it; the one line that it ends with, and its exit code."""
    capsys.readouterr()
    code = dream.main(["resume", "run", "--epochs", "2", *words])
    told = capsys.readouterr().err.splitlines()
    assert code != 0 and told[-1].startswith("error: ") and "Traceback" not in "".join(told)
    return told[-1], code


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "metrics.jsonl", "lock",
     "model", "replay", "checkpoints/epoch-000001", "checkpoints/epoch-000001/config.json"],
)  # fmt: skip
def test_a_run_that_leads_elsewhere_is_not_written_to(run, tmp_path, name, capsys):
    outside = tmp_path / "outside"
    (run / name).rename(outside)
    before = {p: p.read_bytes() for p in (outside, *outside.rglob("*")) if p.is_file()}
    (run / name).symlink_to(outside)
    assert "symbolic link" in resumed(capsys)[0]
    assert before == {p: p.read_bytes() for p in (outside, *outside.rglob("*")) if p.is_file()}


def set_at(config, path, value):
    *parents, last = path.split(".")
    for parent in parents:
        config = config[parent]
    config[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("settings.dreamer.networks.deter", 10**7, "out of memory: networks of .* million"),
        ("settings.dreamer.networks.layers", 10**30, "layers"),
        ("settings.dreamer.networks.core.kind", "os:system", "unknown sequence core"),
        ("settings.dreamer.learning.optimizer", "builtins.exec", "unknown optimizer"),
        ("settings.dreamer.capacity", 10**15, "memory|capacity|replay"),
        ("settings.source", "evil:Game-v0", "evil:Game-v0"),
        ("settings.dreamer", "!!python", "not a run"),
        ("settings.dreamer.play", [1], "settings"),
    ],
)
def test_a_run_that_asks_for_something_else(run, tmp_path, path, value, said, capsys, monkeypatch):
    (tmp_path / "evil.py").write_text("import os\nos.mkdir('BOMB')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = yaml.safe_load((run / "config.yaml").read_text())
    set_at(config, path, value)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    line, _ = resumed(capsys)
    assert re.search(said, line), line


def test_a_run_whose_config_is_a_program(run, capsys):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(f"evil: !!python/object/apply:os.mkdir [BOMB]\n{text}")
    assert "config.yaml" in resumed(capsys)[0]


def test_pickles_in_a_run_of_the_program(run, capsys):
    for name in ("weights.pt", "optimizer.pkl"):
        (run / "checkpoints" / "epoch-000001" / name).write_bytes(pickle.dumps(Bomb()))
    line, code = resumed(capsys)
    assert "run code" in line and code == 65


@pytest.mark.parametrize("data", [huge_header(), long_header()], ids=["huge", "long"])
def test_headers_of_models_are_looked_at_first(run, data):
    model = run / "model"
    kept = {path.name: path.read_bytes() for path in model.iterdir() if path.name != MANIFEST}
    kept["weights.safetensors"] = data
    for name, raw in {**kept, MANIFEST: manifest_of(kept)}.items():
        (model / name).write_bytes(raw)
    with pytest.raises(CheckpointError, match="header claims"):
        load_world_model(model)
