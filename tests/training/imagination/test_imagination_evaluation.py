"""What REM's evaluation measures besides the return, and the media that it leaves; training notices nothing of it."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from rem_helpers import NETWORKS, rem_learner, rem_trainer, toy_settings
from replay_helpers import add_step, picture_replay

from atari_vlm import play
from atari_vlm.errors import ConfigError
from atari_vlm.experience.episode_files import read_episodes
from atari_vlm.experience.episodes import Episode, as_replay, newest_episodes
from atari_vlm.training.imagination import media
from atari_vlm.training.imagination.evaluation import as_episodes, beginnings, imagined_returns
from atari_vlm.training.imagination.lanes import GameStep
from atari_vlm.training.imagination.media import MediaConfig, keep_newest, save_episodes
from atari_vlm.training.imagination.playing import EpisodeKeeper
from atari_vlm.training.imagination.trainer import WorldModelTrainer
from atari_vlm.world_models.learned.heads import Categorical
from atari_vlm.world_models.learned.imagination import DreamConfig, Imagination, dream
from atari_vlm.world_models.rem.learner import make_learner
from atari_vlm.world_models.rem.losses import world_model_loss

FILMS = media.can_write_videos()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    settings = dataclasses.replace(toy_settings(), epochs=4)
    settings = dataclasses.replace(settings, play=dataclasses.replace(settings.play, eval_every=2))
    media = MediaConfig(episodes=2, steps=5, kept=1)
    trainer = rem_trainer(folder, settings=settings, seed=2, media=media)
    trainer.train()
    return folder, trainer


def episode(length, px=16, seed=0, lost=()):
    rng = np.random.default_rng(seed)
    ends = np.arange(length) == length - 1
    pictures = rng.integers(0, 256, (length + 1, px, px, 3), np.uint8)
    rewards = rng.integers(-3, 4, length).astype(np.float32)
    return Episode(
        {"image": pictures},
        rng.integers(3, size=length),
        rewards,
        ends,
        ~ends & False,
        np.isin(range(length), lost),
    )


def test_media_of_the_newest_evaluations_stay_and_can_be_browsed(trained, tmp_path):
    folder, _ = trained
    suffixes = {".npz", ".mp4"} if FILMS else {".npz"}
    for kind in ("train", "test", "imagination"):
        found = {path.name for path in (folder / "media" / kind).iterdir()}
        assert found == {f"epoch-000004{suffix}" for suffix in suffixes}
    episodes = read_episodes(folder / "media")
    assert {e.kind for e in episodes} == {"train", "test", "imagination"} and len(episodes) == 6
    assert all(len(e.actions) <= 5 and len(e.pictures) == len(e.actions) + 1 for e in episodes)
    assert episodes[0].action_names == ("NOOP", "RIGHT", "LEFT") and episodes[0].pictures.shape[
        1:
    ] == (16, 16, 3)
    if FILMS:
        line = [
            "--episodes",
            str(folder / "media"),
            "--record",
            str(tmp_path / "all.mp4"),
            "--steps",
            "12",
        ]
        assert play.main(line) == 0 and (tmp_path / "all.mp4").stat().st_size > 500


def test_test_media_are_what_the_evaluation_played(trained):
    folder, trainer = trained
    keeper = EpisodeKeeper(2, 5)
    returns = trainer.play(3, watch=keeper.see)
    played = keeper.episodes()
    assert [len(e) for e in played] == [5, 5] and returns.lengths == [8, 8, 8]
    saved = [e for e in read_episodes(folder / "media" / "test" / "epoch-000004.npz")]
    for was, now in zip(saved, played, strict=True):
        assert np.array_equal(was.pictures[0], now.pictures[0])  # same seed: the same game
        for t in range(4):
            assert not np.array_equal(now.pictures[t], now.pictures[t + 1])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "evaluation/imagined_return" in line] == [2, 4]
    names = {
        "held_out/tokens",
        "held_out/reward",
        "held_out/end",
        "held_out/accuracy",
        "held_out/reconstruction",
    }
    assert names <= lines[-1].keys() and np.isfinite([lines[-1][name] for name in names]).all()


def test_media_change_nothing_of_the_training(trained, tmp_path):
    _, trainer = trained
    run = dataclasses.replace(trainer.run, folder=tmp_path, media=MediaConfig(episodes=0))
    other = WorldModelTrainer(run, make_learner)
    other.train()
    a, b = trainer.learner.arrays(), other.learner.arrays()
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []
    assert not (tmp_path / "media").exists()


def test_media_that_cannot_be_written_do_not_end_a_run(tmp_path):
    (tmp_path / "media").write_text("a file where the folder should be")
    settings = dataclasses.replace(toy_settings(), epochs=1)
    with pytest.warns(RuntimeWarning, match="media of epoch 1 could not be written"):
        rem_trainer(tmp_path, settings=settings).train()
    assert (tmp_path / "model" / "manifest.json").is_file()


def test_held_out_losses_are_the_losses_of_training_and_disturb_nothing(trained):
    _, trainer = trained
    learner, before = trainer.learner, {k: v.copy() for k, v in trainer.learner.arrays().items()}
    played = [episode(9, seed=n) for n in range(4)]
    replay = as_replay(played)
    first, again = learner.held_out(replay, 3), learner.held_out(replay, 3)
    assert first == again and learner.held_out(replay, 4) != first
    after = learner.arrays()
    assert [name for name in before if not np.array_equal(before[name], after[name])] == []
    # the same segments through the update's own path
    replay = as_replay(played)
    copy = rem_learner(learner.settings, replay)
    for mine, other in zip(
        copy.networks.named().values(), learner.networks.named().values(), strict=True
    ):
        mine.load_state_dict(other.state_dict())
    rng = np.random.default_rng(3)
    frames = torch.from_numpy(replay.read("image", replay.any_slots(256, rng)))
    assert first["reconstruction"] == pytest.approx(
        float(copy.networks.tokenizer.loss(frames).reconstruction.detach()), rel=1e-5
    )
    blocks = copy.blocks(replay.segments(64, learner.settings.world_model.length, rng, least=3))
    loss = world_model_loss(copy.networks.world_model, blocks, learner.settings.world_model.context)
    for name in ("tokens", "reward", "end"):
        assert first[name] == pytest.approx(float(getattr(loss, name).detach()), rel=1e-4)
    assert "tokens" not in learner.held_out(replay, 1)  # the world model begins in epoch 2


def test_a_lost_life_is_an_end_of_held_out_games():
    replay = as_replay([episode(6, lost=[2]), episode(4)])
    assert replay.lengths.tolist() == [3, 3, 4]
    assert np.flatnonzero(replay.read("terminated", np.arange(10))).tolist() == [2, 5, 9]


def test_a_game_that_only_began_has_no_end():
    whole = episode(6)
    replay = as_replay([whole.first(4)])
    assert (
        not replay.read("terminated", np.arange(4)).any()
        and replay.read("truncated", np.arange(4))[-1]
    )


def test_the_keeper_keeps_beginnings():
    keeper, frames = (
        EpisodeKeeper(2, 3),
        np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(3, -1),
    )
    for t in range(5):
        for row in (0, 2):
            before, after = {"image": frames[t]}, {"image": frames[t + 1]}
            keeper.see(row, GameStep(0, before, t, float(t), t == 4, False, t == 1, after))
    kept = keeper.episodes()
    assert len(kept) == 1 and kept[0].pictures[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert kept[0].rewards.tolist() == [0, 1, 2] and kept[0].lost_life.tolist() == [
        False,
        True,
        False,
    ]


def test_the_newest_ended_episodes_of_a_replay():
    replay, serial = picture_replay(12, 4), 0
    for length in (4, 3, 5, 2):  # the first gives way; the last goes on
        for t in range(length):
            add_step(
                replay,
                np.full((4, 4, 3), serial, np.uint8),
                serial % 3,
                1.0,
                t == length - 1 and length < 5,
                length == 5 == t + 1,
            )
            serial += 1
    add_step(replay, np.full((4, 4, 3), serial, np.uint8), 0, 1.0, False, False)
    found = newest_episodes(replay, 2, 3)
    assert [e.pictures[:, 0, 0, 0].tolist() for e in found] == [[7, 8, 9, 10], [12, 13]]
    assert [len(e) for e in found] == [3, 2] and found[1].terminated.tolist() == [False, True]
    assert newest_episodes(picture_replay(5, 4), 2, 3) == []


def test_a_dream_ends_at_its_end_and_counts_no_more():
    dreams = Imagination(
        Categorical(torch.zeros(3, 3, 3)),
        torch.tensor([[0, 1, 2]] * 3),
        torch.zeros(3, 4, 1),
        torch.tensor([[1.0, 2.0, 4.0]] * 3),
        torch.tensor([[False, True, False], [False, False, False], [True, True, False]]),
    )
    assert dreams.lengths.tolist() == [2, 3, 1] and dreams.returns.tolist() == [3.0, 7.0, 1.0]
    first, second, third = as_episodes(dreams, {"image": np.zeros((3, 4, 16, 16, 3), np.uint8)})
    assert first.pictures.shape == (3, 16, 16, 3) and first.terminated.tolist() == [False, True]
    assert second.truncated.tolist() == [False, False, True] and len(third) == 1


@pytest.mark.parametrize("reward", ["sign", "two-hot"])
def test_the_imagined_return_stands_beside_the_real_one_of_the_same_games(reward):
    world = dataclasses.replace(NETWORKS.world_model, reward=reward)
    settings = toy_settings(networks=dataclasses.replace(NETWORKS, world_model=world))
    learner = rem_learner(settings, picture_replay(5, 16))
    learner.networks.world_model.end_head[2].bias.data = torch.tensor([30.0, -30.0])
    played = [episode(7, seed=1), episode(4, seed=2), episode(1, seed=3)]
    policy, model = learner.policy(), learner.world_model()
    found = imagined_returns(
        policy, model, played, DreamConfig(5), torch.Generator().manual_seed(0)
    )
    real = [played[0].rewards[1:6], played[1].rewards[1:6]]
    real = [np.sign(r) for r in real] if reward == "sign" else real
    assert found["matched_return"] == pytest.approx(np.mean([r.sum() for r in real]))
    assert found["matched_length"] == 4.0 and found["imagined_length"] == 5.0
    assert np.isfinite(found["imagined_return"])
    assert imagined_returns(policy, model, played[2:], DreamConfig(5), torch.Generator()) == {}
    greedy, config, at = (
        model.at_temperature(0.0),
        DreamConfig(5, 0.0),
        beginnings(policy, played[:2], 2),
    )
    one, two = [], []
    for seed, tokens in enumerate((one, two)):
        generator = torch.Generator().manual_seed(seed)
        dreams = dream(
            policy, greedy, at, config, generator, lambda state, to=tokens: to.append(state.tokens)
        )
        tokens.append(dreams.actions)
    assert len(one) == 7 and all(map(torch.equal, one, two))


def test_wrong_media_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="kept >= 1"):
        MediaConfig(kept=0)
    with pytest.raises(ConfigError, match="a finite number"):
        DreamConfig(temperature=-1)
    with pytest.raises(ConfigError, match="train, test, imagination"):
        save_episodes(tmp_path, "other", 1, [episode(3)], ("A",))
    with pytest.raises(ConfigError, match="0 of 'test'"):
        save_episodes(tmp_path, "test", 1, [], ("A",))


def test_without_ffmpeg_there_are_npz_alone_and_unfinished_films_go(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "can_write_videos", lambda: False)
    for epoch in range(1, 5):
        save_episodes(tmp_path, "test", epoch, [episode(3, px=15)], ("A", "B", "C"))
    (tmp_path / "test" / ".epoch-000001.mp4.0123456789abcdef").write_bytes(b"half")
    keep_newest(tmp_path, 3)
    assert sorted(p.name for p in (tmp_path / "test").iterdir()) == [
        f"epoch-00000{n}.npz" for n in (2, 3, 4)
    ]
