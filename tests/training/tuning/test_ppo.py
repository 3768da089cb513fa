"""One-pass PPO against a computation by hand, on a model that has two answers of one token each."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from atari_vlm.errors import ConfigError, RunError  # noqa: E402
from atari_vlm.training.tuning.playing import Played  # noqa: E402
from atari_vlm.training.tuning.ppo import (  # noqa: E402
    PPOConfig,
    Turns,
    generalised_advantages,
    ppo_loss,
)
from atari_vlm.training.tuning.values import ValueHead, ValueHeads, explained  # noqa: E402
from atari_vlm.vlm.local.choices import ChoiceTree  # noqa: E402

END, LEFT, RIGHT = 0, 1, 2  # the whole vocabulary


def scores_of(logits):
    """Log-probabilities of the answers LEFT and RIGHT from logits (B, 3, V): prompt, LEFT, RIGHT."""
    tree = ChoiceTree.of([[LEFT], [RIGHT]])
    return [tree.log_probs(row, [END]) for row in logits]


def gradient_by_hand(logits, turns, config):
    """d loss / d logits of the policy's part, the entropy and the KL, in numpy, one answer of one token at a time."""
    gradient = np.zeros_like(logits)
    count = len(logits)
    for b, z in enumerate(logits):
        softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)  # (3, V)
        log = np.log(softmax)
        s = np.array([log[0, LEFT] + log[1, END], log[0, RIGHT] + log[2, END]])
        p = np.exp(s) / np.exp(s).sum()
        ratio = p[turns.actions[b]] / np.exp(turns.log_probs[b])
        a = turns.advantages[b]
        free = ratio * a <= np.clip(ratio, 1 - config.clip, 1 + config.clip) * a
        one = np.eye(2)[turns.actions[b]]
        d_s = -a * ratio * (one - p) * free  # the clipped ratio
        logp = np.log(p)
        d_s += config.entropy * p * (logp - (p * logp).sum())  # minus the entropy
        gap = logp - turns.reference[b]
        d_s += config.kl * p * (gap - (p * gap).sum())
        for answer, token, place in ((0, LEFT, 1), (1, RIGHT, 2)):
            gradient[b, 0] += d_s[answer] * (np.eye(3)[token] - softmax[0]) / count
            gradient[b, place] += d_s[answer] * (np.eye(3)[END] - softmax[place]) / count
    return gradient


@pytest.mark.parametrize("clip", [0.05, 0.5, 5.0])
def test_the_gradient_equals_one_by_hand(clip):
    rng = np.random.default_rng(0)
    config = PPOConfig(clip=clip, entropy=0.03, kl=0.1)
    logits = rng.normal(size=(6, 3, 3))
    reference = rng.dirichlet([1, 1], 6)
    turns = Turns(
        rng.integers(2, size=6),
        np.log(rng.uniform(0.2, 0.8, 6)),
        rng.normal(size=6),
        tuple(np.log(reference)),
    )
    given = torch.from_numpy(logits.astype(np.float32)).requires_grad_()
    loss, parts = ppo_loss(scores_of(given), turns, config)
    loss.backward()
    wanted = gradient_by_hand(logits.astype(np.float32).astype(np.float64), turns, config)
    np.testing.assert_allclose(given.grad.numpy(), wanted, atol=1e-6)
    assert parts["kl"] > 0 and (parts["clipped"] == 0) == (clip == 5)


def test_advantages_equal_the_sum_that_defines_them():
    rng = np.random.default_rng(0)
    config = PPOConfig(discount=0.9, trace=0.7)
    rewards, values = rng.normal(size=(7, 2)), rng.normal(size=(8, 2))
    ends = np.zeros((7, 2))
    ends[3, 0] = ends[6, 1] = 1
    found = generalised_advantages(rewards, values, ends, config)
    for n in range(2):
        for t in range(7):
            total, weight = 0.0, 1.0
            for k in range(t, 7):
                after = 0.0 if ends[k, n] else values[k + 1, n]
                total += weight * (rewards[k, n] + 0.9 * after - values[k, n])
                weight *= 0.9 * 0.7
                if ends[k, n]:
                    break
            assert found[t, n] == pytest.approx(total)


def test_a_value_head_finds_what_the_states_say_of_returns_and_no_more():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(400, 8)).astype(np.float32)
    truth = rng.normal(size=8)
    returns = states @ truth + 2 + 0.1 * rng.normal(size=400)
    head = ValueHead(8)
    assert (head(states) == 0).all()
    head.fit(states, returns)
    np.testing.assert_allclose(head.weight, truth, atol=0.05)
    new = rng.normal(size=(400, 8)).astype(np.float32)
    assert explained(head(new), new @ truth + 2) > 0.99
    wide, noise = rng.normal(size=(60, 500)).astype(np.float32), rng.normal(size=60)
    head = ValueHead(500)  # more features than decisions, and nothing to find
    head.fit(wide, noise)
    assert np.std(head(rng.normal(size=(300, 500)))) < 0.7 * noise.std()
    head.fit(np.ones((3, 500), np.float32), np.ones(3))
    np.testing.assert_allclose(head(wide), 1)


def test_every_game_has_a_value_head_of_its_own():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(400, 8)).astype(np.float32)
    games = np.arange(400) % 2
    truth = rng.normal(size=(2, 8)) * [[1], [100]]  # rewards of another size
    returns = (states * truth[games]).sum(1)
    heads = ValueHeads(8, 2)
    heads.fit(states, returns, games)
    new = rng.normal(size=(100, 8)).astype(np.float32)
    for game in (0, 1):
        assert explained(heads(new, [game] * 100), new @ truth[game]) > 0.99
    shared = ValueHead(8)
    shared.fit(states, returns)
    assert explained(shared(new), new @ truth[0]) < 0  # which is why
    other = ValueHeads(8, 2)
    other.restore(heads.arrays())
    np.testing.assert_array_equal(other(states, games), heads(states, games))
    heads.fit(states[games == 1], returns[games == 1], [1] * 200)
    np.testing.assert_array_equal(heads.heads[0].weight, other.heads[0].weight)
    once = {"head.weight": np.zeros(8), "head.bias": np.array(0.0)}
    ValueHeads(8, 1).restore(once)
    with pytest.raises(RunError, match="1 value heads for 2 games"):
        ValueHeads(8, 2).restore(once)


def test_games_of_different_rewards_weigh_alike():
    rng = np.random.default_rng(0)
    ppo = PPOConfig(discount=0.0)
    rewards = rng.normal(size=(5, 4)) * [1, 100, 1, 100]  # lanes take two games in turn
    played = Played(actions=[0] * 20, scores=[np.zeros(2)] * 20)
    played.rewards.extend(rewards)
    played.ends.extend(np.zeros((5, 4)))
    played.values.extend(np.zeros((6, 4)))
    turns, returns = played.turns([0, 1, 0, 1], ppo)
    np.testing.assert_allclose(returns, rewards.ravel())
    for game in (0, 1):
        advantages = turns.advantages.reshape(5, 4)[:, game::2]
        assert abs(advantages.mean()) < 1e-9 and advantages.std() == pytest.approx(1)
    part = turns.part([3, 1])
    np.testing.assert_array_equal(part.advantages, turns.advantages[[3, 1]])


def test_constants_that_make_no_sense_are_refused():
    wrongs = ({"discount": 1.1}, {"trace": -0.1}, {"clip": 0}, {"kl": -1}, {"envs": 0})
    for wrong in (*wrongs, {"value_warm_up": -1}):
        with pytest.raises(ConfigError):
            PPOConfig(**wrong)
