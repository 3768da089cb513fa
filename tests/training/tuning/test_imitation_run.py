"""A run of imitation: what it writes, the same bytes again, and after any stop the same as without."""

import json
import os
import signal
import time

import pytest
import tuning_helpers as helpers
import tuning_runs

from atari_vlm.runs.journal import Journal
from atari_vlm.training.tuning.learner import UpdateConfig
from atari_vlm.training.tuning.sft import ImitationTrainer
from atari_vlm.tune import main


def lora(bases):
    return "--base", "qwen-vl", "--model", bases("qwen2-vl")


def test_what_a_run_writes(tuned, bases):
    results = json.loads((tuned / "results.json").read_text())
    assert 0 <= results["held_out_accuracy"] <= 1
    assert results["decisions"] == 14 and results["held_out_decisions"] == 7
    lines = [json.loads(line) for line in (tuned / "metrics.jsonl").read_text().splitlines()]
    assert [line["updates"] for line in lines] == [2, 4, 6]
    assert sorted(path.name for path in (tuned / "adapter").iterdir()) == sorted(helpers.ADAPTER)
    card = json.loads((tuned / "adapter" / "atari_vlm.json").read_text())
    assert card["base"] == "qwen-vl" and card["games"] == ["Catch"] and card["seed"] == 3
    assert card["answer_form"] == "choice" and len(card["weights"]) == 64
    config = json.loads((tuned / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert all("language_model" in name for name in config["target_modules"])


def test_equal_seeds_give_equal_bytes(tuned, bases, tmp_path):
    assert helpers.sft(tmp_path, "again", *lora(bases)) == 0
    assert helpers.digests(tmp_path / "again") == helpers.digests(tuned)


def test_a_finished_run_is_not_trained_again(tuned, bases, capsys):
    before = helpers.digests(tuned)
    assert helpers.sft(tuned.parent, "whole", *lora(bases)) == 0
    assert "is finished" in capsys.readouterr().err
    assert helpers.digests(tuned) == before
    assert helpers.sft(tuned.parent, "whole", *lora(bases), "--batch-size", "4") != 0
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize("after", [1, 4])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(after, tuned, bases, tmp_path, monkeypatch):
    update = ImitationTrainer.update

    def stopping(trainer):
        if trainer.learner.updates == after:
            trainer.run.stop.set()
        return update(trainer)

    with monkeypatch.context() as patched:
        patched.setattr(ImitationTrainer, "update", stopping)
        assert helpers.sft(tmp_path, "stopped", *lora(bases)) == 130
    assert not (tmp_path / "stopped" / "results.json").exists()
    assert helpers.sft(tmp_path, "stopped", *lora(bases)) == 0
    assert helpers.digests(tmp_path / "stopped") == helpers.digests(tuned)


def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(tuned, bases, tmp_path):
    words = [*helpers.SMALL, *lora(bases), "--save-dir", str(tmp_path), "--run-name", "killed"]
    child = os.fork()
    if not child:
        os._exit(main(["sft", *words]))
    checkpoint = tmp_path / "killed" / "checkpoints" / "update-00000002.safetensors"
    while not checkpoint.exists() and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert main(["sft", *words]) == 0
    assert helpers.digests(tmp_path / "killed") == helpers.digests(tuned)


def test_whole_weights_of_16_bits_go_on_exactly(bases, tmp_path):
    updates = UpdateConfig(updates=3, batch_size=2, learning_rate=0.01, warm_up=0.0)

    def trainer(name, **more):
        (tmp_path / name).mkdir(exist_ok=True)
        base = tuning_runs.qwen(bases("qwen2-vl"), dtype="bfloat16")
        lessons = tuning_runs.catch_lessons()
        return tuning_runs.imitation(base, lessons, tmp_path / name, "full", updates, **more)

    whole = trainer("whole")
    whole.train()
    assert {str(w.dtype) for w in whole.learner.weights.values()} == {"torch.bfloat16"}
    trainer("parts")._next_round()
    trainer("parts").train()  # from the checkpoint
    assert helpers.digests(tmp_path / "parts") == helpers.digests(tmp_path / "whole")


def test_a_damaged_checkpoint_is_passed_over(tuned, bases, tmp_path, monkeypatch):
    update = ImitationTrainer.update

    def stopping(trainer):
        if trainer.learner.updates == 4:
            trainer.run.stop.set()
        return update(trainer)

    with monkeypatch.context() as patched:
        patched.setattr(ImitationTrainer, "update", stopping)
        assert helpers.sft(tmp_path, "cut", *lora(bases)) == 130
    newest = tmp_path / "cut" / "checkpoints" / "update-00000004.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert helpers.sft(tmp_path, "cut", *lora(bases)) == 0
    assert helpers.digests(tmp_path / "cut") == helpers.digests(tuned)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--base", "gpt-4o"), "one-pass scores"),
        (("--base", "qwen-vl", "--model", "new"), "--base tiny"),
        (("--game", "Tetriss"), "Tetriss"),
        (("--from", "nowhere"), "none of them"),
        (("--updates", "0"), "updates"),
        (("--learning-rate", "-1"), "learning_rate"),
        (("--explore", "1.5"), "explore"),
        (("--method", "qlora", "--base", "tiny", "--model", "new"), "4 bits"),
        (("--model", "nobody/has-this"), "not on this machine"),
    ],
)
def test_bad_input_is_one_sentence(words, said, bases, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    given = [*helpers.SMALL, *lora(bases), "--save-dir", str(tmp_path), "--run-name", "bad", *words]
    assert main(["sft", *given]) != 0
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    assert not (tmp_path / "bad").exists()


def test_an_empty_run_and_another_game_teach_nothing(bases, tmp_path, capsys):
    from atari_vlm import VLMTrainer

    played = VLMTrainer("Catch", "scripted", save_dir=tmp_path, run_name="played", videos=0)
    played.close()
    words = ["sft", *helpers.SMALL, *lora(bases), "--save-dir", str(tmp_path), "--run-name", "t"]
    assert main([*words, "--from", str(tmp_path / "played")]) == 2
    assert "empty" in capsys.readouterr().err
    with VLMTrainer("Catch", "scripted", save_dir=tmp_path, run_name="two", videos=0) as trainer:
        trainer.train(2, eval_interval=0, save_interval=0)
    with Journal(tmp_path / "two" / "journal.sqlite", read_only=True) as journal:
        assert len(journal.episodes()) == 2
    run = str(tmp_path / "two")
    assert main([*words, "--from", run, "--game", "SoloPong"]) == 2
    assert "played Catch" in capsys.readouterr().err
    assert main([*words, "--from", run]) == 0
    card = json.loads((tmp_path / "t" / "adapter" / "atari_vlm.json").read_text())
    assert card["source"] == run and card["frames"] == 2
    study = tmp_path / "study"
    study.mkdir()
    agents = {"games": ["Catch"], "agents": ["scripted", "random"]}
    (study / "config.yaml").write_text(json.dumps({"identity": "", "settings": agents}))
    (study / "journal.sqlite").write_bytes((tmp_path / "two" / "journal.sqlite").read_bytes())
    assert main([*words[:-1], "u", "--from", str(study)]) == 2
    assert "several agents (scripted, random)" in capsys.readouterr().err
