"""What a user of ``dream dreamer`` and ``llm-dreamer-v3`` gets wrong: one sentence, and no run that is in the way afterwards."""

import os
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dreamers import dreamer_trainer, facts_of, small  # noqa: E402
from gymnasium.spaces import Box, Dict, Discrete  # noqa: E402

from atari_vlm import dream  # noqa: E402
from atari_vlm.errors import (  # noqa: E402
    CheckpointError,
    ConfigError,
    DivergedError,
    MismatchError,
    UnknownNameError,
)
from atari_vlm.training.imagination.checkpoints import unlike  # noqa: E402
from atari_vlm.training.imagination.remarks import remarks  # noqa: E402
from atari_vlm.world_models.dreamer.config import CoreConfig, KeysConfig, LanguageConfig  # noqa: E402
from atari_vlm.world_models.dreamer.experiment import experiment_of  # noqa: E402
from atari_vlm.world_models.dreamer.keys import keys_of  # noqa: E402


def refused(capsys, tmp_path, *settings, words=()):
    """The sentence that a command ends with, which must leave no run of its name."""
    capsys.readouterr()
    command = [
        "dreamer",
        "--game",
        "CartPole-v1",
        "--preset",
        "tiny",
        "--run-name",
        "a",
        "--save-dir",
        str(tmp_path),
    ]
    code = dream.main([*command, *words, *(["--settings", *settings] if settings else [])])
    lines = capsys.readouterr().err.splitlines()
    assert code in (2, 65, 69, 73) and len(lines) == 1 and lines[0].startswith("error: ")
    assert not (tmp_path / "a").exists()
    return lines[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["networks.mlp_keys.encoder=[foo]"], "unknown key of mlp_keys.encoder 'foo': known: state"),
        (["networks.mlp_keys.encoder=[]"], "nothing is left to learn from"),
        (["networks.core.kind=gruu"], "did you mean gru?"),
        (["networks.core.sizes.blocks=7"], "do not fall into 7 blocks"),
        (["networks.core.sizes.nothing=7"], "unknown size of the core 'block_gru' 'nothing': known: blocks, hidden"),
        (["networks.core.kind=mamba", "networks.core.lora.targets=[in_prj]"], "did you mean in_proj"),
        (["networks.deter=10000000"], "out of memory: networks of .* million weights take .* GB to train.*; lower networks"),
        (["networks.deter=10000000000000000000000"], "deter is at most"),
        (["networks.core.kind=mamba", "networks.core.sizes.layers=1000000000"], "layers is at most 1024"),
        (["capacity=10000000000000"], "out of memory: a replay of 10,000,000,001,000 steps; lower capacity"),
        (["learning.length=60", "capacity=50"], "lower learning.length or raise capacity"),
        (["learning.length=1", "behaviour.imag_last=1"], "or losses.replay_value is 0"),
        (["learning.ratoi=1"], "did you mean ratio?"),
    ],
)  # fmt: skip
def test_settings_are_refused_in_one_line_and_a_mended_command_may_have_the_name(
    settings, said, capsys, tmp_path
):
    assert re.search(said, refused(capsys, tmp_path, *settings))


def test_a_run_that_was_there_stays_when_a_command_is_refused(tmp_path, capsys):
    trainer = dreamer_trainer(tmp_path / "a", epochs=1)
    trainer.close()
    (tmp_path / "a" / "mine.txt").write_text("mine")
    command = ["dreamer", "--game", "CartPole-v1", "--run-name", "a", "--save-dir", str(tmp_path)]
    assert dream.main(command) == 2 and "is not a run" in capsys.readouterr().err
    assert (tmp_path / "a" / "mine.txt").read_text() == "mine"


def test_keys_are_told_by_the_games_own_names():
    """A single picture is called image and a single vector state, but who is told what there is knows them as cam and joints."""
    space = Dict({"cam": Box(0, 255, (16, 16, 3), "uint8"), "joints": Box(-1, 1, (3,))})
    facts = facts_of(space, Discrete(2))
    inputs = {"image": facts.inputs["image"], "state": facts.inputs["state"]}
    aliases = {"cam": "image", "joints": "state"}
    for asked, said in (
        ("camera", "'camera': did you mean cam? known: cam"),
        ("joints", "'joints': known: cam"),
    ):
        config = small(cnn_keys=KeysConfig((asked,)))
        with pytest.raises(UnknownNameError, match=re.escape(said)):
            keys_of(config, inputs, "a game", (), aliases)
    read = keys_of(small(cnn_keys=KeysConfig(("cam",))), inputs, "a game", (), aliases)
    assert read.shown == ("image", "state")


def test_a_warm_start_from_another_core_names_both_sides(tmp_path):
    """A checkpoint of another core, size or tokenizer names both sides."""
    words = LanguageConfig("words", words=("left", "right"), width=8)
    dreamer_trainer(tmp_path / "one", small(language=words), epochs=1).save_model()
    model = str(tmp_path / "one" / "model")
    gru = small(language=words, core=CoreConfig("gru"))
    with pytest.raises(
        CheckpointError, match=r"networks\.core\.kind is 'block_gru' there and 'gru' here"
    ):
        dreamer_trainer(tmp_path / "two", gru, warm_start=model)
    with pytest.raises(CheckpointError, match=r"networks\.deter is 32 there and 64 here"):
        dreamer_trainer(tmp_path / "three", small(language=words, deter=64), warm_start=model)
    others = LanguageConfig("words", words=("up", "down"), width=8)  # a table of the same size
    with pytest.raises(
        MismatchError, match=r"tokenizer is .*'left', 'right'.*, the run's .*'up', 'down'"
    ):
        dreamer_trainer(tmp_path / "four", small(language=others), warm_start=model)
    dreamer_trainer(tmp_path / "five", small(language=words), warm_start=model)
    assert unlike({"a": {"b": 1}}, {"a": {"b": 1}}) == ""


def test_what_is_told_before_training_has_every_size(tmp_path):
    """Device, keys, bytes of the replay, of the model and of an imagination."""
    trainer = dreamer_trainer(tmp_path / "run")
    told = " ".join(remarks(trainer))
    numbers = sum(array.size for array in trainer.learner.weights().values())
    trainer.close()
    assert f"on cpu (f32): {numbers / 1e6:.2f} million weights, {4 * numbers / 1e6:.3g} MB" in told
    assert re.search(r"a replay of \d+ steps, \d+ MB on disk and \d+ MB in memory", told)
    assert "keys: cnn_keys image; mlp_keys" in told and "text_keys" in told
    assert re.search(r"imagines 3 steps from \d+ of them \([\d.]+ MB of latents\)", told)


def test_a_batch_that_a_run_stopped_at_is_kept_whole_and_the_run_goes_on(tmp_path):
    """A loss that is not finite stops the run with the batch saved; a mended cause, and it is resumed from its checkpoint."""
    trainer = dreamer_trainer(tmp_path / "run", epochs=2)
    trainer.next_epoch()
    for weight in trainer.learner.networks.reward.parameters():
        weight.data.fill_(float("nan"))
    with pytest.raises(
        DivergedError, match=r"diverged-rank-0.npz. The run stops in epoch 2 and goes on from"
    ):
        trainer.train()
    trainer.close()
    with np.load(tmp_path / "run" / "diverged-rank-0.npz") as kept:
        assert {"slots", "actions", "rewards", "reset", "terminal", "last", "ids"} <= set(kept)
        assert kept["ids"].shape[:2] == kept["rewards"].shape
    again = dreamer_trainer(tmp_path / "run", epochs=2)
    assert again.epoch == 1 and np.isfinite(again.train()["dreamer/loss"])
    again.close()


@pytest.mark.parametrize(
    ("word", "error", "said"),
    [
        ("algo.replay_ration=1", UnknownNameError, "did you mean algo.replay_ratio?"),
        ("algoo.replay_ratio=1", UnknownNameError, "did you mean algo.replay_ratio"),
        ("networks.units=8", UnknownNameError, "unknown key of llm_dreamer_v3 'networks.units'"),
        ("dry_run=true", ConfigError, "examples/main.py"),
        ("exp=dreamer_v3", UnknownNameError, "unknown experiment 'dreamer_v3'"),
    ],
)
def test_an_unknown_word_of_an_experiment_gets_the_nearest_name(word, error, said):
    with pytest.raises(error, match=re.escape(said)):
        experiment_of(["--game", "CartPole-v1", word, "--seed", "1"])
    kept = ["--run-name", "a=b", "--settings", "networks.units=8", "learning.ratio=1"]
    assert experiment_of(kept).arguments == kept


def test_what_a_program_needs_is_asked_for_before_anything_is_played(monkeypatch, capsys, tmp_path):
    import builtins

    usual = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "safetensors":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return usual(name, *rest)

    for name in [name for name in os.sys.modules if name.split(".")[0] == "safetensors"]:
        monkeypatch.delitem(os.sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr("importlib.import_module", lambda name: __import__(name))
    assert "pip install 'atari-vlm[train]'" in refused(capsys, tmp_path)
