"""Mixed classes and the two divergences: by hand and against torchrl."""

import math

import pytest
import torch

from atari_vlm.world_models.dreamer.losses import kl_losses, unimix


def test_unimix_of_a_certain_class():
    mixed = unimix(torch.tensor([100.0, 0.0, 0.0, 0.0]), 0.2).exp()
    assert mixed.tolist() == pytest.approx([0.85, 0.05, 0.05, 0.05])


def test_no_share_is_no_mixing():
    logits = torch.randn(3, 5)
    assert torch.equal(unimix(logits, 0.0), logits.log_softmax(-1))


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
