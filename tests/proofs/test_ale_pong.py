"""The proof on ALE Pong in small: everything but the learning."""

import dataclasses
import json

from atari_vlm.proofs import ale_pong
from atari_vlm.proofs.ale_pong import Pieces, PongConfig, beaten, collect, pong_settings, prove_one
from atari_vlm.proofs.ale_pong_page import to_markdown
from atari_vlm.world_models.learned.schedule import Updates
from atari_vlm.world_models.rem.settings import (
    RemConfig,
    TokenizerConfig,
    TokenizerTraining,
    WorldModelConfig,
    WorldModelTraining,
)

SMALL = dataclasses.replace(
    pong_settings(6),
    networks=RemConfig(
        6,
        TokenizerConfig(64, (8, 8, 8, 8), 8, 16),
        WorldModelConfig(16, 1, 2, 16, 0.0, place_embedding=True),
    ),
    tokenizer=TokenizerTraining(Updates(batch=2, steps=1, last_epoch=1), moving=0.5),
    world_model=WorldModelTraining(Updates(batch=2, steps=1, first_epoch=2), length=4),
    epochs=2,
    checkpoint_every=1,
)


def test_the_same_seeds_play_the_same_and_others_do_not():
    first, again, other = collect(3, 2, 20), collect(3, 2, 20), collect(50, 2, 20)
    for one, same, different in zip(first.episodes, again.episodes, other.episodes, strict=True):
        assert (one.pictures == same.pictures).all() and (one.actions == same.actions).all()
        assert (one.actions != different.actions).any() and (
            one.pictures != different.pictures
        ).any()
        assert (
            one.pictures.shape == (20, 64, 64, 3) and one.truncated[-1] and not one.terminated.any()
        )
    assert len(first.episodes) == 2 and first.action_names[2] == "RIGHT"


def test_a_seed_is_played_trained_measured_and_not_again(tmp_path, monkeypatch):
    config, pieces = PongConfig(save_dir=tmp_path), Pieces(2, 2, 20)
    monkeypatch.setattr(ale_pong, "MEASURED", dataclasses.replace(ale_pong.MEASURED, draws=1))
    stopped = dataclasses.replace(SMALL, epochs=1)
    ale_pong.train(
        tmp_path / "seed-0",
        ale_pong.recorded(tmp_path / "seed-0" / "steps.npz", 0, 2, 20),
        stopped,
        0,
    )
    row = prove_one(config, 0, SMALL, pieces)
    assert [line["epoch"] for line in row["lines"]] == [1, 2] and row["training_steps"] == row[
        "counts"
    ]["steps"] == 40
    assert "world_model/tokens" in row["lines"][1] and "tokenizer/total" not in row["lines"][1]
    assert row["changed/copy/10"]["value"] > 0 and row["changed/tokenizer/1"]["value"] > 0
    for name in ("curves", "frames"):
        assert (tmp_path / "seed-0" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "seed-0" / "metrics.jsonl").read_bytes()
    assert (
        prove_one(config, 0, SMALL, pieces) == row
        and (tmp_path / "seed-0" / "metrics.jsonl").read_bytes() == before
    )
    page = to_markdown([row])
    assert "| right tokens |" in page and "40 steps" in page
    json.dumps(row)


def test_what_counts_as_beaten():
    row = {f"sampled_to_copy/{k}": {"high": 0.9} for k in (1, 5, 10)}
    row |= {"reward_error_to_mean": {"high": 0.9}, "reward_f1": {"low": 0.3}}
    assert beaten(row)
    assert not beaten(row | {"sampled_to_copy/5": {"high": 1.01}})
    assert not beaten(row | {"reward_error_to_mean": {"high": 1.0}}) and not beaten(
        row | {"reward_f1": {"low": 0.0}}
    )
