"""Runs, models and weights of a Dreamer as strangers make them: nothing runs, nothing is asked for elsewhere, one sentence."""

import copy
import json
import os
import pickle
import random
import resource
import shutil
import socket
import time

import numpy as np
import pytest
import torch
from dreamers import dreamer_trainer

from atari_vlm import dream
from atari_vlm.agents import PolicyAgent
from atari_vlm.errors import AtariVLMError, CheckpointError, ConfigError
from atari_vlm.world_models.checkpoint import build_policy, load_world_model, read_checkpoint
from atari_vlm.world_models.checkpoint_files import MANIFEST, manifest_of, pack_tensors

PICKLES = ("weights.pt", "model.pkl", "pytorch_model.bin")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("BOMB",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a Dreamer that reads a picture, numbers and texts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained") / "run"
    trainer = dreamer_trainer(folder, epochs=1)
    trainer.train()
    trainer.close()
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy, to be harmed, in a directory of its own; whoever connects to anything fails the test."""
    monkeypatch.chdir(tmp_path)

    def connect(*place):
        raise AssertionError(f"connected to {place}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def resign(folder, **contents):
    """A stranger vouches for changed files."""
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    for name, raw in {**kept, **contents, MANIFEST: manifest_of({**kept, **contents})}.items():
        (folder / name).write_bytes(raw)


def reconfigured(folder, **changes):
    """The same checkpoint, its config changed at ``a.b`` paths."""
    config = json.loads((folder / "config.json").read_text())
    for path, value in changes.items():
        *parents, last = path.split(".")
        group = config
        for parent in parents:
            group = group[parent]
        group[last] = value
    resign(folder, **{"config.json": json.dumps(config).encode()})


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_in_a_model_run_nothing(run, name, tmp_path, capsys):
    model = run / "model"
    (model / name).write_bytes(pickle.dumps(Bomb()))
    for load in (load_world_model, PolicyAgent):
        with pytest.raises(CheckpointError, match="run code"):
            load(model)
    assert dream.main(["eval", str(model), "--episodes", "1"]) == 65
    assert "run code" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="run code"):
        dreamer_trainer(tmp_path / "warm", warm_start=str(model))
    assert not (tmp_path / "BOMB").exists()


def test_pickles_in_a_run_run_nothing(run, tmp_path):
    (run / "checkpoints" / "epoch-000001" / "weights.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="run code"):
        dreamer_trainer(run)
    bomb = np.empty(1, object)
    bomb[0] = Bomb()
    np.savez(run / "checkpoints" / "epoch-000001" / "start.npz", observations=bomb)
    (run / "checkpoints" / "epoch-000001" / "weights.pt").unlink()
    resign(run / "checkpoints" / "epoch-000001")
    with pytest.raises(CheckpointError):
        dreamer_trainer(run)
    assert not (tmp_path / "BOMB").exists()


@pytest.mark.parametrize("game", ["evil:Game-v0", "run.model.evil:Game-v0"])
def test_no_module_is_imported_because_a_model_names_a_game(run, game, capsys, monkeypatch):
    for folder in (run.parent, run / "model"):
        (folder / "evil.py").write_text("raise SystemExit('ran')")
    resign(run / "model")
    (run / "model" / "evil.py").unlink()
    resign(run / "model")
    monkeypatch.syspath_prepend(str(run.parent))
    reconfigured(run / "model", game=game)
    assert dream.main(["eval", str(run / "model")]) == 2
    assert "give --game to import it" in capsys.readouterr().err


MAMBA = {"kind": "mamba", "seq_len": 1, "sizes": {"width": 8, "layers": 10**9}, "lora": None}
HOSTILE = {
    "weights elsewhere": ({"networks.core.sizes": {"from_pretrained": "evil/weights"}}, "not in it"),
    "a tokenizer elsewhere": (
        {"networks.language.described": {}, "networks.language.tokenizer": "evil/words"},
        "not in it",
    ),
    "a core of some module": ({"networks.core.kind": "os:system"}, "unknown sequence core"),
    "many layers": ({"networks.layers": 10**9}, "layers is at most 1024, got 1000000000"),
    "many layers of the core": ({"networks.core": MAMBA}, "layers is at most 1024, got 1000000000"),
    "no layers": ({"networks.layers": True}, "True"),
    "wide": ({"networks.deter": 10**7}, r"\(10000000,\) here|differ"),
    "wider than any memory": ({"networks.hidden": 10**30}, "networks"),
    "large pictures": ({"networks.frame_px": 1 << 24}, "differ"),
    "fine scalars": ({"networks.bins": 10**12 + 1}, "differ|networks"),
    "long texts": ({"networks.language.longest": 10**12}, "longest"),
    "a wide input": ({"inputs.joints": ["float32", 10**12]}, "differ"),
    "an input of objects": ({"inputs.joints": ["O", 3]}, "column"),
    "inputs that are none": ({"inputs": [1]}, "networks"),
    "many actions": ({"action_space": {"space": "Discrete", "n": 10**12, "start": 0}}, r"\(16, 1000000000000\) here"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_config_is_one_sentence(run, name):
    changes, said = HOSTILE[name]
    reconfigured(run / "model", **changes)
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    checkpoint = read_checkpoint(run / "model")
    for load in (load_world_model, PolicyAgent):
        with pytest.raises((CheckpointError, ConfigError), match=said) as refused:
            load(run / "model")
        assert "\n" not in str(refused.value)
    with pytest.raises((CheckpointError, ConfigError)):
        build_policy(checkpoint, "it")
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18  # kB


def leaves(value, path=()):
    """Where the plain values of a config are."""
    entries = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    inside = [leaf for key, part in entries for leaf in leaves(part, (*path, key))]
    return inside or [path]


@pytest.mark.parametrize("count", [60, pytest.param(2_000, marks=pytest.mark.slow)])
def test_any_other_value_is_refused_or_a_model(run, count):
    """A value somewhere in the config is replaced by another: an error of ours, or a model that steps."""
    draw = random.Random(0)
    whole = read_checkpoint(run / "model")
    odd = (
        None,
        True,
        -1,
        0,
        1,
        7,
        0.5,
        1e30,
        1 << 40,
        "x",
        "bytes",
        [],
        [1],
        {},
        {"a": 1},
        ["a", 2],
    )
    refused = 0
    for _ in range(count):
        checkpoint = copy.deepcopy(whole)
        *parents, last = draw.choice(leaves(checkpoint.config))
        group = checkpoint.config
        for parent in parents:
            group = group[parent]
        group[last] = draw.choice(odd)
        try:
            policy = build_policy(checkpoint, "it")
        except AtariVLMError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            policy.begin(1)
    assert refused > count // 4


@pytest.mark.parametrize("name", ["learner.return_range", "collector.index", "replay.serial"])
def test_a_run_whose_checkpoint_lacks_something_is_one_sentence(run, name):
    folder = run / "checkpoints" / "epoch-000001"
    tensors = read_checkpoint(folder).tensors
    del tensors[name]
    resign(folder, **{"weights.safetensors": pack_tensors(tensors)})
    with pytest.raises(AtariVLMError, match=r"checkpoint of epoch 1|saved replay") as refused:
        dreamer_trainer(run)
    assert "\n" not in str(refused.value)
