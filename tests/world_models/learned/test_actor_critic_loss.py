"""Lambda-returns, the scale of returns, and the actor-critic's loss, against hand tables and written-out sums."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.world_models.learned.actor_critic import (
    ReturnScale,
    actor_critic_loss,
    lambda_returns,
)
from atari_vlm.world_models.learned.heads import Categorical, ScalarValue, SymlogTwoHot
from atari_vlm.world_models.learned.imagination import Imagination
from atari_vlm.world_models.learned.schedule import PolicyGradient


@pytest.mark.parametrize(
    ("lam", "expected"),
    [
        # V = 10, 20, 30, 40; r = 1, 2, 3; discount 0.5
        (0.0, [1 + 0.5 * 20, 2 + 0.5 * 30, 3 + 0.5 * 40]),
        (1.0, [1 + 0.5 * (2 + 0.5 * 23), 2 + 0.5 * 23, 23]),
        (0.5, [1 + 0.5 * (10 + 0.5 * 15.25), 2 + 0.5 * (15 + 0.5 * 23), 3 + 0.5 * 40]),
    ],
)
def test_lambda_mixes_one_step_and_the_whole_rollout(lam, expected):
    rewards, discounts = torch.tensor([[1.0, 2.0, 3.0]]), torch.full((1, 3), 0.5)
    values = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    if lam == 0.5:
        expected[0] = 1 + 0.5 * (0.5 * 20 + 0.5 * expected[1])
    assert torch.allclose(
        lambda_returns(rewards, discounts, values, lam)[0], torch.tensor(expected)
    )


def test_nothing_after_an_end_reaches_what_was_before_it():
    discounts = torch.tensor([[0.9, 0.0, 0.9]])
    rewards, values = torch.tensor([[1.0, 5.0, 7.0]]), torch.rand(1, 4)
    before = lambda_returns(rewards, discounts, values, 0.95)
    rewards[0, 2], values[0, 2:] = -1e6, 1e6
    after = lambda_returns(rewards, discounts, values, 0.95)
    assert torch.equal(before[0, :2], after[0, :2]) and float(after[0, 1]) == 5.0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.floats(0, 1), st.integers(0, 999))
def test_values_that_are_true_are_their_own_returns(steps, lam, seed):
    """Bellman: with V_t = r_t + d_t V_{t+1} every mixture of estimates is V itself."""
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(3, steps, generator=generator, dtype=torch.float64)
    discounts = torch.rand(3, steps, generator=generator, dtype=torch.float64)
    values = [torch.randn(3, generator=generator, dtype=torch.float64)]
    for t in reversed(range(steps)):
        values.insert(0, rewards[:, t] + discounts[:, t] * values[0])
    true = torch.stack(values, 1)
    assert torch.allclose(lambda_returns(rewards, discounts, true, lam), true[:, :-1])


def test_small_returns_are_never_blown_up_and_large_ones_are_brought_to_one():
    scale = ReturnScale(momentum=0.5)
    assert scale.update(torch.full((8,), 3.0)) == 1.0  # no range at all
    spread = torch.linspace(0, 100, 101)  # 5th percentile 5, 95th 95
    assert scale.update(spread) == pytest.approx(45.0)
    assert scale.update(spread) == pytest.approx(67.5)
    assert scale.update(torch.zeros(4)) == pytest.approx(33.75)


def test_one_outlier_does_not_set_the_scale():
    returns = torch.linspace(0, 10, 1001)
    plain = ReturnScale(momentum=0.0).update(returns)
    returns[-1] = 1e9
    assert ReturnScale(momentum=0.0).update(returns) == pytest.approx(plain, rel=1e-3) == 9.0


def rollouts(rows, steps=4, seed=0, ends=None):
    """Random imagination whose logits and value outputs are leaves."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, steps, 3, generator=generator, requires_grad=True)
    outputs = torch.randn(rows, steps + 1, 1, generator=generator, requires_grad=True)
    actions = torch.randint(3, (rows, steps), generator=generator)
    rewards = torch.randn(rows, steps, generator=generator)
    ended = torch.zeros(rows, steps, dtype=torch.bool) if ends is None else ends
    return Imagination(Categorical(logits), actions, outputs, rewards, ended), logits, outputs


def test_gradients_reach_only_steps_that_were_lived():
    ends = torch.tensor([[False, True, False, False], [False] * 4])
    imagined, logits, outputs = rollouts(2, ends=ends)
    actor_critic_loss(imagined, ScalarValue(), PolicyGradient()).total.backward()
    assert not logits.grad[0, 2:].any() and logits.grad[0, :2].any(-1).all()
    assert logits.grad[1].any(-1).all()
    assert not outputs.grad[0, 2:].any() and outputs.grad[1, :-1].any(-1).all()
    assert not outputs.grad[:, -1].any()  # a value at the horizon is an estimate, not a pupil


def test_the_loss_is_the_sum_that_the_equations_say():
    config = PolicyGradient(discount=0.9, lam=0.8, entropy=0.1, value_weight=0.5)
    imagined, logits, outputs = rollouts(3)
    loss = actor_critic_loss(imagined, ScalarValue(), config)
    values = outputs.detach().squeeze(-1)
    returns = lambda_returns(imagined.rewards, torch.full((3, 4), 0.9), values, 0.8)
    chances = logits.detach().log_softmax(-1)
    taken = chances.gather(-1, imagined.actions[..., None]).squeeze(-1)
    policy = -(taken * (returns - values[:, :-1])).mean()
    entropy = -(chances.exp() * chances).sum(-1).mean()
    value = ((values[:, :-1] - returns) ** 2).mean()
    assert torch.allclose(loss.policy, policy, atol=1e-6)
    assert torch.allclose(loss.entropy, entropy) and torch.allclose(loss.value, value)
    assert torch.allclose(loss.total, policy + 0.5 * value - 0.1 * entropy, atol=1e-6)
    assert torch.allclose(loss.imagined_return, imagined.rewards.sum(1).mean())
    assert float(loss.alive) == 1.0


@pytest.mark.parametrize("normalise", [False, True])
def test_parts_of_a_batch_add_up_to_the_whole(normalise):
    config = PolicyGradient(normalise=normalise, entropy=0.05)
    ends = torch.zeros(6, 4, dtype=torch.bool)
    ends[0, 0] = ends[4, 2] = True
    whole, logits, outputs = rollouts(6, ends=ends)
    actor_critic_loss(whole, ScalarValue(), config, ReturnScale(0.0)).total.backward()
    grads = []
    for mine in (slice(0, 2), slice(2, 6)):  # two processes with unlike shares
        part, own_logits, own_outputs = rollouts(6, ends=ends)
        cut = Imagination(
            Categorical(own_logits[mine]),
            part.actions[mine],
            own_outputs[mine],
            part.rewards[mine],
            part.ends[mine],
        )
        gathers = iter(gathered(part, config, normalise))
        loss = actor_critic_loss(
            cut, ScalarValue(), config, ReturnScale(0.0), lambda rows, g=gathers: next(g)
        )
        loss.total.backward()
        grads.append((own_logits.grad, own_outputs.grad))
    assert torch.allclose(grads[0][0] + grads[1][0], logits.grad, atol=1e-6)
    assert torch.allclose(grads[0][1] + grads[1][1], outputs.grad, atol=1e-6)


def gathered(whole, config, normalise):
    """What all processes together would give: steps that count, their returns, their advantages."""
    values = whole.outputs.detach().squeeze(-1)
    discounts = config.discount * (1 - whole.ends.float())
    returns = lambda_returns(whole.rewards, discounts, values, config.lam)
    counted = returns[whole.alive > 0]
    scale = ReturnScale(0.0).update(counted)
    advantage = ((returns - values[:, :-1]) / scale)[whole.alive > 0]
    return [whole.alive.sum()[None], counted, *([advantage] if normalise else [])]


def test_a_single_step_that_counts_gives_numbers():
    ends = torch.tensor([[True, False]])
    imagined, logits, _ = rollouts(1, steps=2, ends=ends)
    loss = actor_critic_loss(imagined, ScalarValue(), PolicyGradient(normalise=True))
    loss.total.backward()
    assert torch.isfinite(loss.total) and torch.isfinite(logits.grad).all()


def test_a_two_hot_critic_is_taught_the_returns():
    torch.manual_seed(0)
    head = SymlogTwoHot(41)
    imagined, _, _ = rollouts(5)
    outputs = torch.zeros(5, 5, head.size, requires_grad=True)
    imagined = Imagination(
        imagined.policies, imagined.actions, outputs, imagined.rewards, imagined.ends
    )
    config = PolicyGradient(discount=1.0, lam=1.0)
    before = actor_critic_loss(imagined, head, config)
    before.total.backward()
    with torch.no_grad():
        outputs -= 5 * outputs.grad
    after = actor_critic_loss(imagined, head, config)
    assert float(after.value.detach()) < float(before.value.detach())
