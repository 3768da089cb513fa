"""What training sees is what play sees: the same token ids, made by the agent that plays."""

import dataclasses

import numpy as np
import pytest

from atari_vlm import VLMTrainer
from atari_vlm.errors import ConfigError, NotSupportedError
from atari_vlm.runs.game_names import parse_games
from atari_vlm.runs.journal import Journal
from atari_vlm.training.tuning import decisions
from atari_vlm.training.tuning.bases import load_base
from atari_vlm.training.tuning.learner import TuningLearner, UpdateConfig
from atari_vlm.training.tuning.sources import TeachingConfig, played_episodes
from atari_vlm.vlm import load_vlm
from atari_vlm.vlm.local.options import LocalOptions

FAMILIES = ("qwen2-vl", "llava-next", "idefics2", "video-llava", "glm4v")
CPU = LocalOptions(device="cpu", offline=True)


def listened(vlm):
    """The prompts that a VLM scores from now on, token ids in the order of play."""
    heard, score = [], vlm._engine.score

    def noting(requests):
        heard.extend(tuple(request.prompt.ids.tolist()) for request in requests)
        return score(requests)

    vlm._batcher._works["score"] = noting
    return heard


def played(vlm, folder, **options):
    """A run of two episodes of Catch by a model; its folder, and what was asked in it."""
    heard = listened(vlm)
    trainer = VLMTrainer(
        "Catch", vlm, prompt_type="basic", save_dir=folder, run_name="played", videos=0, **options
    )
    trainer.train(2, eval_interval=0, save_interval=0)
    trainer.close()
    return folder / "played", heard


@pytest.mark.parametrize("icl", [False, True], ids=["plain", "with examples"])
def test_token_ids_of_training_and_playing_are_equal(icl, bases, tmp_path):
    model = bases("qwen2-vl")
    vlm = load_vlm("qwen-vl", model=model, device="cpu", offline=True)
    run, heard = played(vlm, tmp_path, use_in_context_learning=icl, round_size=1)
    vlm.close()
    seen = decisions(run, base="qwen-vl", model=model, game="Catch", prompt_type="basic")
    assert [decision.token_ids for decision in seen] == heard
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        steps = [step for row in journal.episodes() for step in journal.steps(row.episode)]
    assert [decision.action for decision in seen] == [step.action for step in steps]
    few = decisions(run, base="qwen-vl", model=model, game="Catch", prompt_type="basic", limit=4)
    assert few == seen[:4]
    other = decisions(run, base="qwen-vl", model=model, game="Catch", prompt_type="cot", limit=1)
    assert other[0].token_ids != seen[0].token_ids


def test_the_bundled_player_teaches_what_it_does(bases):
    taught = decisions(
        "scripted",
        base="qwen-vl",
        model=bases("qwen2-vl"),
        game="Catch",
        prompt_type="basic",
        limit=20,
    )
    assert len(taught) == 20
    again = decisions(
        "scripted",
        base="qwen-vl",
        model=bases("qwen2-vl"),
        game="Catch",
        prompt_type="basic",
        limit=20,
    )
    assert taught == again
    config = TeachingConfig(episodes=3, held_out=2, explore=0.0)
    episodes = list(played_episodes("scripted", parse_games("Catch,SoloPong"), config))
    assert [e.episode_return for e in episodes] == [1.0] * 5 + [3.0] * 5  # the best there is
    assert [e.held_out for e in episodes] == [False, False, False, True, True] * 2


def test_what_is_explored_is_not_what_is_taught():
    config = TeachingConfig(episodes=6, held_out=1, explore=0.5)
    episodes = list(played_episodes("scripted", parse_games("Catch"), config))
    astray = [e for e in episodes if e.episode_return < 1]
    assert astray  # random actions miss the ball
    for episode in episodes:
        for decision in episode.decisions:
            names, picture = decision.names, decision.messages[-1].images[-1].pixels
            ball = np.argwhere((picture == 236).all(-1))[0][1] // 8
            paddle = np.argwhere((picture == (92, 186, 92)).all(-1))[0][1] // 8
            wanted = "RIGHT" if ball > paddle else "LEFT" if ball < paddle else "NOOP"
            assert names[decision.action] == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_of_training_equal_those_of_play(family, bases):
    base = load_base("qwen-vl", bases(family), CPU)
    config = TeachingConfig(episodes=1, held_out=1, explore=0.0)
    episode = next(iter(played_episodes("scripted", parse_games("Catch"), config)))
    some = episode.decisions[:3]
    vlm = load_vlm("qwen-vl", model=bases(family), device="cpu", offline=True)
    in_play = [vlm.score_choices(decision.messages, decision.names) for decision in some]
    vlm.close()
    learner = TuningLearner(base, "lora", UpdateConfig(updates=4, batch_size=3))
    np.testing.assert_allclose(learner.log_probs(some), in_play, atol=1e-5)
    before = learner.update(some, np.ones(3))
    for _ in range(3):
        after = learner.update(some, np.ones(3))
    assert after["loss"] < before["loss"]
    assert all(np.abs(row).sum() > 0 for name, row in learner.arrays().items() if "lora_B" in name)


def test_micro_batches_change_nothing(bases):
    config = TeachingConfig(episodes=1, held_out=1, explore=0.0)
    some = next(iter(played_episodes("scripted", parse_games("Catch"), config))).decisions[:4]
    losses = []
    for size in (None, 1):
        base = load_base("qwen-vl", bases("qwen2-vl"), CPU)
        learner = TuningLearner(
            base,
            "lora",
            dataclasses.replace(UpdateConfig(updates=2, batch_size=4), micro_batch=size),
        )
        losses.append([learner.update(some, np.ones(4))["loss"] for _ in range(2)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ({"base": "gpt-4o"}, NotSupportedError, "one-pass scores"),
        ({"base": "qwen3.5"}, ConfigError, "base"),
        ({"source": "nowhere"}, ConfigError, "mcts@emulator, minari:ID and run folders"),
        ({"prompt_type": "rude"}, ConfigError, "prompt"),
        ({"limit": 0}, ConfigError, "limit"),
        ({"base": "qwen-vl", "model": "new"}, ConfigError, "--base tiny"),
    ],
)
def test_what_cannot_be_meant_is_refused(words, error, said, bases):
    asked = {
        "source": "scripted",
        "base": "qwen-vl",
        "model": bases("qwen2-vl"),
        "game": "Catch",
        "prompt_type": "basic",
        "limit": 1,
        **words,
    }
    with pytest.raises(error, match=said):
        decisions(asked.pop("source"), **asked)


def test_a_base_without_one_pass_scores_is_refused(bases):
    with pytest.raises(NotSupportedError, match="one-pass scores"):
        load_base("qwen-vl", bases("qwen3.5"), CPU)
