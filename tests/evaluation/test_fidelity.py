"""What is measured on held-out play, against models whose errors are known by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from replay_helpers import add_step, picture_replay
from torch import nn

from atari_vlm.errors import ConfigError
from atari_vlm.evaluation.fidelity import HeldOutConfig, dream, measure, one_step_ratios, read, segments
from atari_vlm.world_models.learned.heads import SignScalar
from atari_vlm.world_models.rem.world_model import Predictions

CONFIG = HeldOutConfig(context=2, ahead=(1, 3), draws=2, batch=3)
BRIGHT = 200


def ring(replay, steps, seed):
    """A light goes round four pixels, one on by action 0, two on by action 1; +1 for landing on pixel 0, -1 on pixel 2."""
    rng, place = np.random.default_rng(seed), seed % 4
    for t in range(steps):
        frame = np.zeros((4, 3), np.uint8)
        frame[place] = BRIGHT
        action = int(rng.integers(2))
        place = (place + 1 + action) % 4
        ends = t == steps - 1
        add_step(
            replay,
            frame.reshape(2, 2, 3),
            action,
            {0: 1.0, 2: -1.0}.get(place, 0.0),
            ends and seed < 2,
            ends and seed >= 2,
        )


def replay_of(*lengths):
    replay = picture_replay(200, 2)
    for seed, steps in enumerate(lengths):
        ring(replay, steps, seed)
    return replay


class RingTokenizer:
    """One token a pixel; decoding is off by ``off``."""

    def __init__(self, off=0):
        self.codes, self.off = nn.Embedding(2, 1), off

    def encode(self, frames):
        return (frames[..., 0] > 100).long().flatten(-2)

    def decode(self, tokens):
        picture = tokens * (BRIGHT - 2 * self.off) + self.off
        return picture.to(torch.uint8).unflatten(-1, (2, 2))[..., None].expand(*picture.shape[:-1], 2, 2, 3)


class RingWorld:
    """Knows the game; ``move`` False: foretells what it has just seen, no reward and no end; ``sign`` turns rewards round."""

    def __init__(self, move=True, sign=1):
        self.move, self.sign, self.reward, self.config = move, sign, SignScalar(), SimpleNamespace(reward="sign")

    def use_codes(self, codes):
        self.codes = codes

    def empty_state(self, rows):
        return torch.zeros(rows, 4)

    def read(self, state, tokens, actions):
        if not self.move:
            return tokens.float(), None, None
        rolled = [torch.roll(row, 1 + int(action)) for row, action in zip(tokens, actions, strict=True)]
        return torch.stack(rolled).float(), None, None

    def draw_frame(self, state, generator, temperature=1.0):
        return state.long()

    def __call__(self, tokens, actions):
        b, t, k = tokens.shape
        following = self.read(None, tokens.flatten(0, 1), actions.flatten())[0].view(b, t, k)
        before = torch.cat([tokens[:, :1].float(), following[:, :-1]], 1)
        place = following.argmax(-1)
        reward = ((place == 0).long() - (place == 2).long()) * self.sign * int(self.move)
        ends = torch.stack([torch.ones(b, t), torch.zeros(b, t)], -1)
        logits = [torch.stack([1 - before, before], -1), nn.functional.one_hot(reward + 1, 3).float(), ends]
        return Predictions(*(50 * one for one in logits))


def measured(world, tokenizer=None, config=CONFIG, held_out=(12, 9, 4)):
    networks = SimpleNamespace(tokenizer=tokenizer or RingTokenizer(), world_model=world)
    return measure(networks, replay_of(*held_out), replay_of(30), config)


def test_a_perfect_model_has_no_error():
    found = measured(RingWorld())
    values = {name: one.value for name, one in found.estimates.items()}
    for k in (1, 3):
        for who in ("sampled", "likeliest", "tokenizer"):
            assert values[f"changed/{who}/{k}"] == values[f"all/{who}/{k}"] == 0
        assert values[f"changed/copy/{k}"] == BRIGHT
        assert values[f"sampled_to_copy/{k}"] == found.estimates[f"sampled_to_copy/{k}"].high == 0
    assert values["all/copy/1"] == BRIGHT / 2  # the light is gone from one pixel of four and has come to another
    assert values["reward_f1"] == values["token_accuracy"] == values["changed_token_accuracy"] == 1
    assert values["copy_token_accuracy"] == 0.5 and values["end_f1"] == 0 and values["reward_squared_error"] < 1e-6
    assert found.counts["steps"] == 25 and found.counts["ends"] == 2
    assert found.counts["positive_rewards"] > 0 < found.counts["negative_rewards"]


def test_a_model_that_copies_is_as_good_as_the_copy():
    found = measured(RingWorld(move=False))
    for k in (1, 3):
        assert found.estimates[f"changed/sampled/{k}"] == found.estimates[f"changed/copy/{k}"]
        assert found.estimates[f"all/likeliest/{k}"] == found.estimates[f"all/copy/{k}"]
        ratio = found.estimates[f"sampled_to_copy/{k}"]
        assert (ratio.value, ratio.low, ratio.high) == (1, 1, 1)
    assert found.estimates["changed_token_accuracy"].value == 0 and found.estimates["reward_f1"].value == 0
    replay = replay_of(12, 9, 4)
    scored = np.concatenate([replay.read("reward", np.arange(a, b)) for a, b in ((1, 12), (13, 21), (22, 25))])
    assert found.estimates["reward_squared_error"].value == pytest.approx((scored**2).mean())
    mean = replay_of(30).read("reward", np.arange(30)).mean()
    assert found.estimates["mean_reward_squared_error"].value == pytest.approx(((scored - mean) ** 2).mean(), rel=1e-4)
    share = (scored**2).mean() / ((scored - mean) ** 2).mean()
    assert found.estimates["reward_error_to_mean"].value == pytest.approx(share, rel=1e-4)


def test_rewards_of_the_wrong_sign_are_no_hits():
    assert measured(RingWorld(sign=-1)).estimates["reward_f1"].value == 0


def test_the_tokenizer_bounds_the_model():
    found = measured(RingWorld(), RingTokenizer(off=10))
    for who in ("sampled", "likeliest", "tokenizer"):
        assert found.estimates[f"changed/{who}/3"].value == found.estimates[f"all/{who}/3"].value == 10
    assert found.estimates["sampled_to_copy/3"].value == pytest.approx(0.05)


def test_every_step_after_a_context_is_scored_once():
    for every in (1, 2, 3):
        config = HeldOutConfig(context=3, ahead=(1, 3), every=every)
        replay = replay_of(12, 9, 2, 3)
        networks = SimpleNamespace(tokenizer=RingTokenizer(), world_model=RingWorld())
        _, blocks = read(networks, replay, segments(replay, config))
        ratios = one_step_ratios(networks, blocks, 0.0, config)
        assert ratios["reward_squared_error"][1].sum() == (12 - 2) + (9 - 2) + 0 + 1
        assert ratios["token_accuracy"][1].sum() == 4 * ((12 - 3) + (9 - 3))


def test_dreams_follow_the_real_actions():
    replay = replay_of(12)
    networks = SimpleNamespace(tokenizer=RingTokenizer(), world_model=RingWorld())
    _, blocks = read(networks, replay, segments(replay, HeldOutConfig(context=2, ahead=(10,))))
    assert (dream(networks, blocks, 2, 10, None)[0] == blocks.tokens[0, 2:]).all()


def test_intervals_are_the_same_every_time_and_hold_the_value():
    first, again = (
        measured(RingWorld(move=False), config=HeldOutConfig(context=2, ahead=(2,)), held_out=(30, 40)) for _ in "ab"
    )
    assert first == again
    error = first.estimates["mean_reward_squared_error"]
    assert error.low < error.value < error.high


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ConfigError, match="5 steps"):
        measured(RingWorld(), held_out=(4, 3))
    for wrong in ({"context": 0}, {"draws": 0}, {"ahead": ()}, {"ahead": (0,)}, {"ahead": (1, 5), "every": 6}):
        with pytest.raises(ConfigError):
            HeldOutConfig(**wrong)
