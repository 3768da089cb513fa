"""The table of cores: models that are equal, runs that are kept, a page; and the language model that adapters are put on."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import gymnasium  # noqa: E402

from atari_vlm import errors  # noqa: E402
from atari_vlm.bench.serving import peak_mb  # noqa: E402
from atari_vlm.games import game  # noqa: E402
from atari_vlm.proofs import dreamer_cores, dreamer_cores_run, text_base  # noqa: E402
from atari_vlm.proofs.dreamer_cores_tasks import (  # noqa: E402
    CORES,
    TASKS,
    Run,
    networks_of,
    parameters,
    registered,
    settings_for,
)
from atari_vlm.world_models.dreamer.cores import MambaCore  # noqa: E402
from atari_vlm.world_models.dreamer.language.tokenizers import make_tokenizer  # noqa: E402

QUICK = {
    "learning": {"batch": 2, "length": 4, "prefill": 4, "ratio": 0.1, "context": 0},
    "behaviour": {"steps": 2, "imag_last": 2},
    "play": {"steps": 24, "eval_episodes": 2, "final_episodes": 2},
}
SENTENCES = text_base.BaseSizes(updates=2, batch=2, length=8)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A language model that has hardly begun to learn, and what was measured of it."""
    folder = tmp_path_factory.mktemp("cores") / "base"
    return folder, text_base.trained_base(folder, SENTENCES)


@pytest.fixture
def config(base, tmp_path, monkeypatch):
    """One seed of the cue game whose runs take a second each, in this process."""
    for name, task in TASKS.items():
        changes = {**task.changes, **QUICK}
        monkeypatch.setitem(TASKS, name, dataclasses.replace(task, changes=changes, games=2))
    monkeypatch.setattr(dreamer_cores_run, "_TIMED", 1)
    monkeypatch.setattr(dreamer_cores_run, "in_its_own_process", lambda f, *given: f(*given))
    shutil.copytree(base[0], tmp_path / "runs" / "base")
    return dreamer_cores.CoresConfig(
        ["cue"], [7], updates=1, save_dir=tmp_path / "runs", out=tmp_path / "out"
    )


def test_every_core_is_trained_measured_and_kept(config, capsys, monkeypatch):
    assert dreamer_cores.run(config) == 0
    page = (config.out / "dreamer_cores.md").read_text()
    rows = json.loads((config.out / "dreamer_cores.json").read_text())["rows"]["cue"]
    assert list(rows) == list(CORES) and all(len(seeds) == 1 for seeds in rows.values())
    counts = [seeds[0]["parameters"] for seeds in rows.values()]
    assert max(counts) <= 1.05 * min(counts)
    for core, (row,) in rows.items():
        assert f"| {CORES[core].title} | {row['parameters']:,} |" in page
        assert (row["updates"], row["steps"]) == (2, 24) and row["curve"][-1][0] == 2
        assert min(row["updates_per_second"], row["imagined_per_second"], row["peak_mb"]) > 0
    assert "dreamer_cores --tasks cue --seeds 7 --updates 1`" in page and "2 updates and 24" in page
    assert (config.out / "dreamer_cores_cue.png").read_bytes()[:4] == b"\x89PNG"
    capsys.readouterr()
    again = dataclasses.replace(config, out=config.out / "again")
    assert dreamer_cores.run(again) == 0 and capsys.readouterr().err == ""  # read, not trained
    assert (again.out / "dreamer_cores.md").read_text() == page
    faster = {**TASKS["cue"].changes, "learning": {**QUICK["learning"], "learning_rate": 1e-3}}
    monkeypatch.setitem(TASKS, "cue", dataclasses.replace(TASKS["cue"], changes=faster))
    with pytest.raises(errors.ConfigError, match="holds a run with other settings"):
        dreamer_cores.run(config)


def test_models_that_are_not_equal_are_refused_before_anything_is_trained(config, monkeypatch):
    monkeypatch.setitem(CORES, "gru", dataclasses.replace(CORES["gru"], deter=64))
    with pytest.raises(errors.ConfigError, match=r"equal within 5%.*at cue are gru \d+,\d+, block"):
        dreamer_cores.run(config)
    assert [path.name for path in config.save_dir.iterdir()] == ["base"]


@pytest.mark.parametrize("task", TASKS)
def test_the_models_of_a_task_are_equal_and_adapters_few(task, base):
    whole, learn = {}, {}
    for core in CORES:
        whole[core], learn[core] = parameters(networks_of(Run(task, core, 0, 1000, base[0])))
    assert max(whole.values()) <= 1.05 * min(whole.values()), whole
    assert all(learn[core] == whole[core] for core in ("gru", "block_gru", "mamba"))
    assert learn["mamba-lora"] < 0.6 * whole["mamba-lora"]
    made = [settings_for(Run(task, core, 0, 1000, base[0])) for core in CORES]
    assert len({(s.epochs, s.play, s.learning, s.behaviour, s.losses) for s in made}) == 1


def fake(folder, game, settings, seed):
    """A run that learns at once, or fails with seed 2 and whenever it is a GRU."""
    if seed == 2 or folder.parent.name == "gru":
        raise errors.DivergedError("a loss is no number; the batch is in /somewhere", {})
    return {
        "seed": seed, "cpu_seconds": 2.0, "steps": 60, "return": seed / 4, "returns": [seed / 4],
        "curve": [(60, 1.0, 0.0), (120, 2.0, seed / 4)], "updates_per_second": 3.0, "imagined_per_second": 5e3,
    }  # fmt: skip


def test_failures_are_told_and_the_others_published(config, monkeypatch):
    monkeypatch.setattr(dreamer_cores_run, "trained", fake)
    monkeypatch.setattr(dreamer_cores_run, "networks_of", lambda run: None)
    monkeypatch.setattr(dreamer_cores_run, "parameters", lambda networks: (9, 9))
    assert dreamer_cores.run(dataclasses.replace(config, seeds=[1, 2, 3, 4])) == 3
    page = (config.out / "dreamer_cores.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("| mamba |"))
    assert "| 0.6667 [0.25, 1] | 0.25, failed, 0.75, 1 | 0.3333 | 2 | 3.00 | 5,000 |" in line
    line = next(line for line in page.splitlines() if line.startswith("| gru |"))
    assert "| - | failed, failed, failed, failed | - |" in line
    assert "- mamba + LoRA, seed 2: a loss is no number\n" in page and "somewhere" not in page
    assert (config.out / "dreamer_cores_cue.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--seeds", "1", "1"], "each once"),
        (["--updates", "0"], "updates must be a whole number"),
        (["--tasks", "cue", "cue"], "each once"),
    ],
    ids=["twice", "none", "one task twice"],
)
def test_a_table_that_makes_no_sense(words, match, capsys):
    with pytest.raises(SystemExit):
        dreamer_cores.main(words)
    assert match in capsys.readouterr().err


def test_cartpole_shows_no_velocities():
    env, whole = gymnasium.make(registered("cartpole").id), gymnasium.make("CartPole-v1")
    seen, _ = env.reset(seed=3)
    all_of_it, _ = whole.reset(seed=3)
    for action in (1, 0, 0, 1):
        assert env.observation_space.contains(seen) and (seen == all_of_it[[0, 2]]).all()
        seen, *_ = env.step(action)
        all_of_it, *_ = whole.step(action)
    assert env.get_wrapper_attr("spec").id and whole.spec.max_episode_steps == 500
    env.close()
    whole.close()


def test_a_process_of_its_own():
    alone = dreamer_cores_run.in_its_own_process
    assert alone(os.getpid) != os.getpid()
    assert alone(peak_mb) < peak_mb()  # torch is not there
    with pytest.raises(errors.UnknownNameError, match="Pnog"):
        alone(game, "Pnog")
    with pytest.raises(errors.RunError, match="died"):
        alone(os._exit, 3)


def test_the_language_model_is_one_that_cores_can_be_made_of(base):
    folder, measured = base
    assert text_base.trained_base(folder) == measured  # not trained again
    assert 0 < measured["loss"] and 2 < measured["unigram_entropy"] < np.log(len(text_base.words()))
    core, sizes = MambaCore.from_pretrained(folder), text_base.BaseSizes()
    assert (core.sizes["width"], core.sizes["layers"]) == (sizes.width, sizes.layers)
    tokens = make_tokenizer(str(folder))
    rng = np.random.default_rng(5)
    for _ in range(40):
        text = text_base.sentence(rng)
        ids = tokens.encode(text)
        assert tokens.decode(ids) == text and len(ids) == len(text.split())
    assert (text_base.streams(2, 9, np.random.default_rng(1)) < tokens.size).all()
