"""What a teacher writes before its answers is learned beside them; play stays one pass."""

import json

import tuning_helpers as helpers

from atari_vlm import VLMTrainer
from atari_vlm.runs.game_names import parse_games
from atari_vlm.training.tuning.lessons import TeachingConfig
from atari_vlm.training.tuning.sources import played_episodes
from atari_vlm.tune import main


def test_a_run_teaches_what_was_written_in_it_and_so_does_a_player(tmp_path):
    with VLMTrainer("Catch", "scripted", save_dir=tmp_path, run_name="run", videos=0) as trainer:
        trainer.train(2, eval_interval=0, save_interval=0)
    config = TeachingConfig(episodes=1, held_out=1, explore=0.0)
    for source in (tmp_path / "run", "scripted"):
        episode = next(iter(played_episodes(source, parse_games("Catch"), config)))
        written = [decision.reasoning for decision in episode.decisions]
        assert all("ball" in text for text in written) and len(set(written)) > 1


def test_the_program_learns_reasoning_where_there_is_some(bases, tmp_path, capsys):
    words = ("--base", "qwen-vl", "--model", bases("qwen2-vl"), "--reasoning")
    assert helpers.sft(tmp_path, "thinking", *words) == 0
    lines = (tmp_path / "thinking" / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["reasoning"] > 0 for line in lines)
    given = [*helpers.SMALL, *words, "--save-dir", str(tmp_path), "--run-name", "none"]
    assert main(["sft", *given, "--from", "mcts@catch,num_simulations=2"]) == 2
    assert "wrote nothing before its answers" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
