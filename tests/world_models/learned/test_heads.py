"""Scalars as classes and bins, and choices among classes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from atari_vlm.world_models.learned.heads import (
    Categorical,
    ScalarValue,
    SignScalar,
    SymlogTwoHot,
    categorical,
    mlp,
    scalar_head,
    symexp,
    symlog,
)


@given(st.floats(-1e6, 1e6))
def test_symexp_undoes_symlog_and_signs_are_kept(x):
    value = torch.tensor(x, dtype=torch.float64)
    assert torch.allclose(symexp(symlog(value)), value, rtol=1e-9, atol=1e-12)
    assert torch.equal(symlog(-value), -symlog(value))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-2e4, 2e4), min_size=1, max_size=5), st.sampled_from([2, 17, 255]))
def test_encoded_scalars_are_read_back_for_any_number_of_bins(xs, bins):
    head, x = SymlogTwoHot(bins), torch.tensor(xs)
    encoded = head.encode(x)
    assert encoded.shape == (len(xs), bins) and bool((encoded >= 0).all())
    assert torch.allclose(encoded.sum(-1), torch.ones(len(xs)))
    symlogs = (encoded * head.centres).sum(-1)
    assert torch.allclose(symlogs, symlog(x), atol=2e-5)


def test_what_lies_beyond_the_bins_is_their_last():
    head = SymlogTwoHot(5, limit=2.0)
    ends = head.encode(torch.tensor([-1e9, 1e9]))
    assert ends.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert head.encode(torch.zeros(2, 3)).shape == (2, 3, 5)


def test_uniform_logits_mean_zero_and_the_right_ones_cost_least():
    head = SymlogTwoHot(33)
    assert torch.allclose(head.mean(torch.zeros(4, 33)), torch.zeros(4), atol=1e-5)
    target = torch.tensor([0.7, -40.0])
    best = (head.encode(target) + 1e-12).log().requires_grad_()
    loss = head.loss(best, target)
    entropy = -(head.encode(target) * (head.encode(target) + 1e-12).log()).sum(-1)
    assert torch.allclose(loss, entropy, atol=1e-5)
    (gradient,) = torch.autograd.grad(loss.sum(), best)
    assert float(gradient.abs().max()) < 1e-5
    assert bool((head.loss(best + torch.randn(2, 33), target) > loss).all())


def test_a_layer_begins_at_zero_for_every_input():
    head, layer = SymlogTwoHot(21), nn.Linear(4, 21)
    head.begin(layer)
    outputs = layer(torch.randn(6, 4)).detach()
    assert torch.allclose(head.mean(outputs), torch.zeros(6), atol=1e-4)
    assert int(outputs[0].argmax()) == 10 and float(outputs.softmax(-1)[0, 8:13].sum()) > 0.95


def test_signs_are_three_classes():
    head = SignScalar()
    certain = torch.full((3, 3), -50.0)
    certain[torch.arange(3), torch.tensor([0, 1, 2])] = 50.0
    assert head.mean(certain).tolist() == [-1, 0, 1]
    assert head.sample(certain, torch.Generator()).tolist() == [-1, 0, 1]
    assert float(head.loss(certain, torch.tensor([-7.0, 0.0, 0.2])).max()) < 1e-6
    assert head.loss(torch.zeros(2, 5, 3), torch.ones(2, 5)).shape == (2, 5)


@pytest.mark.parametrize(("kind", "size"), [("sign", 3), ("two-hot", 9)])
def test_a_scalar_head_by_name(kind, size):
    head = scalar_head(kind, 9)
    logits = mlp(4, head.size)(torch.randn(2, 3, 4))
    assert head.size == size and head.mean(logits).shape == (2, 3)
    assert head.sample(logits, torch.Generator().manual_seed(0)).shape == (2, 3)


def test_draws_follow_the_logits_at_their_temperature():
    logits = torch.tensor([0.0, 1.0, 3.0]).expand(20_000, 3)
    for temperature in (0.5, 1.0, 4.0):
        drawn = categorical(logits, torch.Generator().manual_seed(1), temperature)
        shares = torch.bincount(drawn, minlength=3) / len(drawn)
        assert torch.allclose(shares, (logits[0] / temperature).softmax(-1), atol=0.02)


def test_the_likeliest_is_taken_without_a_draw():
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    logits = torch.randn(4, 7, 5)
    assert torch.equal(categorical(logits, generator, 0.0), logits.argmax(-1))
    assert torch.equal(generator.get_state(), before)
    impossible = torch.tensor([[0.0, -torch.inf]]).expand(500, 2)
    assert not categorical(impossible, generator).any()


def test_a_choice_knows_its_chances():
    logits = torch.randn(2, 4, 6, requires_grad=True)
    choice, twin = Categorical(logits), torch.distributions.Categorical(logits=logits)
    actions = choice.sample(torch.Generator().manual_seed(0))
    assert actions.shape == (2, 4) and not actions.requires_grad
    assert torch.allclose(choice.log_prob(actions), twin.log_prob(actions))
    assert torch.allclose(choice.entropy(), twin.entropy())
    assert torch.equal(choice.sample(None, 0.0), logits.argmax(-1))


def test_a_plain_value_is_itself():
    outputs, head = torch.tensor([[1.0], [3.0]]), ScalarValue()
    assert head.mean(outputs).tolist() == [1, 3]
    assert head.loss(outputs, torch.tensor([0.0, 5.0])).tolist() == [1, 4]
