"""Experiments in SheepRL's words: the two files, what a key changes, and what is refused."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import yaml
from dreamers import STATE, TWO, small

from atari_vlm import dream
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.experience.replay import Replay
from atari_vlm.runs.command_line import parse
from atari_vlm.runs.option_files import options_below
from atari_vlm.settings import with_changes
from atari_vlm.training.imagination.games import facts_of
from atari_vlm.training.imagination.options import train_options
from atari_vlm.world_models.dreamer.config import CoreConfig, LoraConfig
from atari_vlm.world_models.dreamer.experiment import (
    command_of,
    experiment_of,
    in_these_words,
    resolved,
)
from atari_vlm.world_models.dreamer.learner import make_learner
from atari_vlm.world_models.dreamer.llm import preset
from atari_vlm.world_models.dreamer.model import new_model
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import Workplace
from atari_vlm.world_models.learned.team import Team

EXAMPLES = Path(__file__).parents[3] / "examples"
CONFIGS = EXAMPLES / "configs"
EXP = "exp=llm_dreamer_v3"


@pytest.fixture(scope="module")
def facts():
    return facts_of("CartPole-v1")


def settings_of(words, facts):
    """The settings and options that words come to."""
    options = parse(train_options("llm-dreamer-v3"), command_of(resolved(words, CONFIGS)), "")
    return with_changes(preset(options.preset, facts), options.changes()), options


def test_the_blocks_of_the_two_files():
    algo = yaml.safe_load((CONFIGS / "algo" / "llm_dreamer_S.yaml").read_text())["world_model"]
    assert algo["recurrent_model"] == {"recurrent_state_size": 768, "dense_units": 768}
    assert algo["transition_model"] == algo["representation_model"] == {"hidden_size": 768}
    assert algo["hf_model"] == {"seq_len": 4, "peft": True, "from_pretrained": False}
    experiment = yaml.safe_load((CONFIGS / "llm_dreamer_v3.yaml").read_text())["algo"]
    assert experiment == {
        "replay_ratio": 1, "total_steps": 5_000_000, "per_rank_batch_size": 4, "per_rank_sequence_length": 4,
        "mlp_keys": {"encoder": ["state"], "decoder": ["state"]},
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:algo.world_model.hf_model.peft without")
def test_the_experiment_as_it_stands(facts):
    settings, options = settings_of([EXP], facts)
    assert (options.game, options.total_steps, options.seed) == ("CartPole-v1", 5_000_000, 0)
    networks, learning = settings.networks, settings.learning
    assert networks.core.kind == "mamba" and networks.core.seq_len == 4
    assert networks.core.sizes == {"width": 768, "layers": 2} and networks.deter == 768
    assert networks.core.lora.train_base and networks.posterior == "observation"
    assert (learning.batch, learning.length, learning.ratio, settings.play.envs) == (4, 4, 1.0, 4)
    assert networks.mlp_keys.encoder == networks.mlp_keys.decoder == ("state",)


@pytest.mark.filterwarnings("ignore:algo.world_model.hf_model.peft without")
@pytest.mark.parametrize(
    ("word", "read"),
    [
        (
            "algo.world_model.recurrent_model.recurrent_state_size=32",
            lambda s: s.networks.deter == 32,
        ),
        (
            "algo.world_model.recurrent_model.dense_units=48",
            lambda s: s.networks.core.sizes["width"] == 48,
        ),
        ("algo.world_model.transition_model.hidden_size=24", lambda s: s.networks.hidden == 24),
        (
            "algo.world_model.representation_model.hidden_size=20",
            lambda s: s.networks.posterior_hidden == 20,
        ),
        ("algo.world_model.hf_model.seq_len=2", lambda s: s.networks.core.seq_len == 2),
        ("algo.world_model.hf_model.layers=1", lambda s: s.networks.core.sizes["layers"] == 1),
        ("algo.world_model.hf_model.peft=false", lambda s: s.networks.core.lora is None),
        ("algo.replay_ratio=0.25", lambda s: s.learning.ratio == 0.25),
        ("algo.per_rank_batch_size=7", lambda s: s.learning.batch == 7),
        ("algo.per_rank_sequence_length=9", lambda s: s.learning.length == 9),
        ("algo.mlp_keys.decoder=[]", lambda s: s.networks.mlp_keys.decoder == ()),
        ("algo.text_keys.encoder=[hint]", lambda s: s.networks.text_keys.encoder == ("hint",)),
        ("env.num_envs=2", lambda s: s.play.envs == 2),
        ("algo.total_steps=50", lambda s: s.play.steps == 48),  # as many in each of four games
    ],
)
def test_every_key_changes_the_run(word, read, facts):
    """D2: every key of the source system, word for word."""
    settings, _ = settings_of([EXP, word], facts)
    assert read(settings)
    other, _ = settings_of([EXP], facts)
    assert not read(other)


def test_what_is_no_setting_is_an_option(facts):
    words = [
        EXP, "env.id=Acrobot-v1", "seed=7", "run_name=mine", "fabric.precision=bf16-mixed", "fabric.accelerator=cpu",
        "checkpoint.resume_from=RUN", "algo.world_model.hf_model.peft=false", "algo.total_steps=300",
    ]  # fmt: skip
    command = command_of(resolved(words, CONFIGS))
    pairs = dict(zip(command[::2], command[1::2], strict=False))
    assert pairs["--game"] == "Acrobot-v1" and pairs["--seed"] == "7"
    assert pairs["--run-name"] == "mine" and pairs["--precision"] == "bf16"
    assert pairs["--resume"] == "RUN" and pairs["--total-steps"] == "300"


def test_pretrained_weights_bring_their_tokenizer_and_freeze_the_base(facts, recwarn):
    settings, _ = settings_of([EXP, "algo.world_model.hf_model.from_pretrained=true"], facts)
    networks = settings.networks
    assert networks.core.sizes["from_pretrained"] == "state-spaces/mamba-130m-hf"
    assert networks.language.tokenizer == "state-spaces/mamba-130m-hf"
    assert not networks.core.lora.train_base and not recwarn
    folder, _ = settings_of([EXP, "algo.world_model.hf_model.from_pretrained=./mine"], facts)
    assert folder.networks.core.sizes["from_pretrained"] == "./mine"


def test_adapters_without_weights_are_warned_of(facts):
    """D10: in our own words; the library peft is not asked, and so says nothing."""
    with pytest.warns(UserWarning, match="so the base is trained too"):
        settings_of([EXP], facts)


@pytest.mark.parametrize(
    ("word", "error", "match"),
    [
        ("algo.replay_ration=1", UnknownNameError, "did you mean algo.replay_ratio"),
        ("algo.world_model.hf_model.pefft=1", UnknownNameError, "did you mean algo.world_model.hf_model.peft"),
        ("exp=dreamer_v3", UnknownNameError, "unknown experiment 'dreamer_v3': did you mean llm_dreamer_v3"),
        ("fabric.accelerator=tpu", UnknownNameError, "fabric.accelerator 'tpu'"),
        ("fabric.precision=16-mixed", UnknownNameError, "fabric.precision"),
        ("fabric.devices=4", ConfigError, "torchrun"),
        ("env=minedojo", UnknownNameError, "unknown env 'minedojo': known: dmc, gym"),
        ("env=[dmc]", UnknownNameError, "unknown env"),
        ("algo.total_steps=0", ConfigError, "algo.total_steps must be a whole number"),
        ("word", ConfigError, "a.b.c=value, got 'word'"),
        ("seed=[", ConfigError, "seed cannot be read"),
    ],
)  # fmt: skip
def test_what_is_refused(word, error, match):
    with pytest.raises(error, match=match):
        command_of(resolved([EXP, word], CONFIGS))


@pytest.mark.parametrize(
    ("words", "game"),
    [
        (["env=gym"], "CartPole-v1"),
        (["env=gym", "env.id=Acrobot-v1"], "Acrobot-v1"),
        (["env=dmc"], "DMC/cartpole-swingup_sparse-v0"),
        (["env=dmc", "env.id=walker_walk"], "DMC/walker-walk-v0"),
        (["env=dmc", "env.id=DMC/point_mass-easy-v0"], "DMC/point_mass-easy-v0"),
    ],
)
def test_whose_words_a_game_is_in(words, game):
    without = "algo.world_model.hf_model.peft=false"
    command = command_of(resolved([EXP, without, *words], CONFIGS))
    assert command[command.index("--game") + 1] == game and game in gymnasium.registry
    with pytest.raises(UnknownNameError, match="did you mean walker_walk"):
        resolved([EXP, "env=dmc", "env.id=walker_wlak"], CONFIGS)


def test_words_among_the_options_of_dream():
    words = [
        "--game",
        "CartPole-v1",
        "--settings",
        "networks.units=8",
        "algo.replay_ratio=0.5",
        "--seed",
        "1",
    ]
    made = experiment_of(words)
    options = parse(train_options("llm-dreamer-v3"), made.arguments, "")
    assert options.changes() == {"networks": {"units": 8}, "learning": {"ratio": 0.5}}
    assert (options.game, options.seed) == ("CartPole-v1", 1)


def main(*words, cwd):
    command = [sys.executable, str(EXAMPLES / "main.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=200)


def test_a_dry_run_prints_the_experiment_and_builds_nothing(tmp_path):
    """D2: the resolved experiment is printed; a key that is not known gets the nearest name."""
    done = main(EXP, "dry_run=true", "algo.replay_ratio=0.5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = yaml.safe_load(done.stdout)
    assert printed["algo"]["replay_ratio"] == 0.5 and printed["env"]["id"] == "CartPole-v1"
    assert list(tmp_path.iterdir()) == []
    wrong = main(EXP, "algo.replay_ration=2", cwd=tmp_path)
    assert wrong.returncode == 2 and "did you mean algo.replay_ratio?" in wrong.stderr


def test_a_small_experiment_runs_to_its_end(tmp_path):
    """D1: every key of the source's two files overridden, 200 steps, in less than a minute of a CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    small = [
        "algo.world_model.recurrent_model.recurrent_state_size=16", "algo.world_model.recurrent_model.dense_units=16",
        "algo.world_model.transition_model.hidden_size=16", "algo.world_model.representation_model.hidden_size=16",
        "algo.world_model.hf_model.seq_len=2", "algo.world_model.hf_model.peft=true",
        "algo.world_model.hf_model.from_pretrained=false", "algo.per_rank_batch_size=3", "algo.per_rank_sequence_length=5",
        "algo.mlp_keys.encoder=[state]", "algo.mlp_keys.decoder=[state]",
        "algo.total_steps=200", "algo.learning_starts=100", "algo.replay_ratio=0.1", "run_name=small",
    ]  # fmt: skip
    done = main(EXP, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    run = tmp_path / "atari_vlm_results" / "small"
    assert (run / "model" / "manifest.json").exists()
    words = ["--resume", str(run), "--epochs", "2"]
    below = options_below(train_options("llm-dreamer-v3"), words)
    assert "total_steps" not in below and below["seed"] == 0  # --epochs stands in its place
    told = [line for line in done.stderr.splitlines() if "hf_model.peft without" in line]
    assert len(told) == 1 and told[0].startswith("warning: algo.world_model.hf_model.peft without")
    kept = (run / "experiment.yaml").read_text()
    assert done.stdout.startswith(kept) and yaml.safe_load(kept)["algo"]["total_steps"] == 200
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 60


def test_batch_and_length_are_those_of_every_update(facts):
    """D2: ``per_rank_*`` are the shapes of what an update reads."""
    sizes = [
        "recurrent_model.recurrent_state_size=8",
        "recurrent_model.dense_units=8",
        "transition_model.hidden_size=8",
    ]
    words = [
        f"algo.world_model.{size}" for size in [*sizes, "hf_model.layers=1", "hf_model.peft=false"]
    ]
    lengths = ["algo.per_rank_batch_size=3", "algo.per_rank_sequence_length=5", "env.num_envs=1"]
    settings, _ = settings_of([EXP, *words, *lengths], facts)
    place = Workplace(lambda columns, **kind: Replay(columns, 100, **kind), Device(), Team(), 0)
    learner = make_learner(settings, facts, place)
    for step in range(40):
        seen = {"state": np.full(4, step, np.float32), "action": step % 2, "reward": 1.0}
        learner.replay.add({**seen, "terminated": False, "truncated": False})
    read = []
    learner._keep = lambda batch, reading: read.append((batch, reading))
    learner.update("dreamer")
    batch, reading = read[0]
    assert batch.inputs["state"].shape == (3, 5, 4) and batch.rewards.shape == (3, 5)
    assert batch.actions.shape[:2] == reading.h.shape[:2] == reading.z.shape[:2] == (3, 5)


@pytest.mark.parametrize("train_base", [True, False])
def test_the_base_below_adapters_learns_where_nobody_trained_it(train_base):
    """D10: without pretrained weights peft trains the base too; with them the base is frozen."""
    core = CoreConfig(
        "mamba", sizes={"width": 16, "layers": 1}, lora=LoraConfig(train_base=train_base)
    )
    model = new_model(small(core=core, posterior="observation"), STATE, TWO, seed=0)
    layers = dict(model.networks.rssm.core.named_parameters())
    base = [p for name, p in layers.items() if "mixer.in_proj.weight" in name or "A_log" in name]
    adapters = [p for name, p in layers.items() if "lora_" in name]
    assert len(base) == 2 and len(adapters) == 8
    assert all(p.requires_grad is train_base for p in base) and all(
        p.requires_grad for p in adapters
    )


def test_a_refusal_names_keys_beside_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = command_of(
        resolved(
            [EXP, "algo.world_model.hf_model.peft=false", "algo.per_rank_sequence_length=1"],
            CONFIGS,
        )
    )
    told = re.escape("learning.length (algo.per_rank_sequence_length) and behaviour.imag_last are")
    with pytest.raises(ConfigError, match=told), in_these_words():
        dream.run("llm-dreamer-v3", settings)
    assert not list(tmp_path.iterdir())
