"""Mixed classes and the two divergences: by hand and against torchrl."""

import math

import pytest
import torch

from atari_vlm.world_models.dreamer.losses import drawn, kl_losses, unimix


def test_unimix_of_a_certain_class():
    mixed = unimix(torch.tensor([100.0, 0.0, 0.0, 0.0]), 0.2).exp()
    assert mixed.tolist() == pytest.approx([0.85, 0.05, 0.05, 0.05])


def test_no_share_is_no_mixing():
    logits = torch.randn(3, 5)
    assert torch.equal(unimix(logits, 0.0), logits.log_softmax(-1))


@pytest.mark.parametrize("classes", [2, 4, 8, 32])
def test_unimix_and_its_derivative_are_those_of_autograd(classes):
    logits = (10 * torch.randn(5, 3, classes)).requires_grad_()
    wanted = (logits.double().softmax(-1) * 0.99 + 0.01 / classes).log()
    mixed, gradient = unimix(logits, 0.01), torch.randn(5, 3, classes)
    assert torch.allclose(mixed.double(), wanted, atol=2e-5)
    ours, theirs = (torch.autograd.grad(made, logits, gradient) for made in (mixed, wanted))
    assert torch.allclose(ours[0], theirs[0], atol=1e-5)


def test_draws_are_one_hot_and_as_likely_as_said():
    shares = torch.tensor([[0.64, 0.09, 0.23, 0.04], [0.0, 1.0, 0.0, 0.0]])
    hot = drawn(shares.log().expand(50_000, 2, 4), torch.Generator().manual_seed(0))
    assert hot.dtype == torch.float32 and torch.equal(hot.sum(-1), torch.ones(50_000, 2))
    assert set(hot.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(hot.mean(0), shares, atol=0.01)


def test_a_draw_beyond_a_sum_that_rounding_left_below_1_is_the_last_class():
    hot = drawn(torch.tensor([1e-9, 1e-9]).log().expand(100, 2), None)
    assert torch.equal(hot, torch.tensor([0.0, 1.0]).expand(100, 2))


def test_divergence_by_hand_summed_over_groups():
    posterior = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    prior = torch.tensor([[0.25, 0.75], [0.1, 0.9]]).log()
    wanted = 0.5 * math.log(2) + 0.5 * math.log(2 / 3) + 0.8 * math.log(9)
    dynamics, representation = kl_losses(posterior, prior)
    assert dynamics.shape == () and float(dynamics) == pytest.approx(wanted)
    assert float(representation) == pytest.approx(wanted)


def test_below_the_free_nats_nothing_is_learned():
    posterior = torch.zeros(2, 3, 4, requires_grad=True)
    prior = (0.01 * torch.randn(2, 3, 4)).requires_grad_()
    dynamics, representation = kl_losses(posterior, prior)
    assert dynamics.tolist() == [1.0, 1.0]
    (dynamics + representation).sum().backward()
    assert not posterior.grad.any() and not prior.grad.any()


def test_each_loss_moves_its_own_side():
    posterior, prior = (torch.randn(3, 4, 5, requires_grad=True) for _ in range(2))
    dynamics, representation = kl_losses(posterior, prior, 0.0)
    dynamics.sum().backward(retain_graph=True)
    assert posterior.grad is None and prior.grad.any()
    prior.grad = None
    representation.sum().backward()
    assert posterior.grad.any() and prior.grad is None


def test_it_is_that_of_torchrl():
    objectives = pytest.importorskip("torchrl.objectives")
    posterior, prior = torch.randn(2, 6, 8, 4)
    ours = kl_losses(unimix(posterior, 0.01), unimix(prior, 0.01))
    theirs = objectives.categorical_kl_terms(posterior, prior, free_nats=1.0)
    assert torch.allclose(ours[0].mean(), theirs[0].mean(), atol=1e-5)
    assert torch.allclose(ours[1].mean(), theirs[1].mean(), atol=1e-5)
