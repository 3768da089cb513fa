"""Two-hot values in raw space, returns, their scale, and LaProp: against hand tables and torchrl."""

import math

import numpy as np
import pytest
import torch

from atari_vlm.errors import ConfigError
from atari_vlm.world_models.learned.actor_critic import ReturnScale, lambda_returns
from atari_vlm.world_models.learned.heads import SymexpTwoHot, symexp, symlog
from atari_vlm.world_models.learned.optimizers import LaProp


def test_bins_lie_at_symexp_of_even_points_and_are_symmetric():
    centres = SymexpTwoHot(bins=5, limit=2.0).centres
    wanted = [-(math.e**2 - 1), -(math.e - 1), 0.0, math.e - 1, math.e**2 - 1]
    assert centres.tolist() == pytest.approx(wanted, rel=1e-6)
    centres = SymexpTwoHot().centres
    assert len(centres) == 255 and torch.equal(centres, -centres.flip(0))
    assert float(centres[-1]) == pytest.approx(math.expm1(20), rel=1e-5)


def test_a_value_lies_on_the_two_bins_around_it():
    head = SymexpTwoHot(bins=5, limit=2.0)
    step = math.e - 1
    encoded = head.encode(torch.tensor([0.0, step / 4, -step, 100.0]))
    wanted = [[0, 0, 1, 0, 0], [0, 0, 0.75, 0.25, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert torch.allclose(encoded, torch.tensor(wanted, dtype=torch.float32), atol=1e-6)


def test_equal_logits_mean_exactly_zero():
    head = SymexpTwoHot()
    for level in (0.0, 3.7, -50.0):
        assert head.mean(torch.full((3, 255), level)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("value", [0.0, 0.01, -1.5, 333.0, -7e4, 1e6, 1e8, -1e8])
def test_values_go_through_encoding_and_mean(value):
    head = SymexpTwoHot()
    logits = head.encode(torch.tensor(value)).clamp(min=1e-30).log()
    assert float(head.mean(logits)) == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_two_hot_is_that_of_torchrl():
    modules = pytest.importorskip("torchrl.modules")
    theirs, ours = modules.SymExpTwoHot(), SymexpTwoHot()
    target, logits = 100 * torch.randn(64), torch.randn(64, 255)
    assert torch.allclose(ours.encode(target), theirs.encode(target), atol=1e-4)
    assert torch.allclose(ours.loss(logits, target), theirs.loss(logits, target), atol=1e-4)
    assert torch.allclose(ours.mean(logits), theirs.decode(logits), rtol=1e-4, atol=1.0)


def test_bins_far_away_that_begin_less_likely_do_not_drown_the_mean():
    """Equal bins: rounding of the size of float32's moves the mean by thousandths and more. With a fall-off it does not."""
    head, generator = SymexpTwoHot(), torch.Generator().manual_seed(0)
    rounding = 1e-6 * torch.randn(100, 255, generator=generator)
    assert float(head.mean(rounding).abs().median()) > 1
    begun = head.start(2.0)
    assert head.mean(begun) == 0 and torch.equal(begun, begun.flip(0))
    near = head.centres.abs() < math.expm1(3)
    assert (begun[near] == 0).all() and float(begun[-1]) == pytest.approx(-34, rel=1e-5)
    assert float(head.mean(rounding + begun).abs().max()) < 1e-4


def test_bins_are_an_odd_number():
    with pytest.raises(ConfigError, match="odd"):
        SymexpTwoHot(bins=254)


def test_symlog_and_back():
    x = torch.tensor([-1e6, -3.0, 0.0, 0.5, 1e6])
    assert torch.allclose(symexp(symlog(x)), x, rtol=1e-5)


def test_lambda_returns_of_a_hand_table():
    rewards, values = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[5.0, 4.0, 3.0, 2.0]])
    discounts = torch.tensor([[0.5, 0.0, 0.5]])  # an end after the second step
    third = 2 + 0.5 * 2.0
    second = 0.0
    first = 1 + 0.5 * (0.2 * 4.0 + 0.8 * second)
    returns = lambda_returns(rewards, discounts, values, 0.8)
    assert returns.tolist() == [pytest.approx([first, second, third])]


def test_lambda_of_a_step_cuts_the_returns_there():
    rewards, values = torch.ones(1, 3), torch.tensor([[0.0, 10.0, 20.0, 30.0]])
    discounts, lam = torch.ones(1, 3), torch.tensor([[1.0, 0.0, 1.0]])
    assert lambda_returns(rewards, discounts, values, lam).tolist() == [[22.0, 21.0, 31.0]]
    whole = lambda_returns(rewards, discounts, values, torch.full((1, 3), 0.7))
    assert torch.allclose(whole, lambda_returns(rewards, discounts, values, 0.7))


def test_the_scale_is_a_running_range_of_percentiles():
    scale, returns = ReturnScale(), torch.linspace(0, 100, 101)
    assert scale.update(returns) == 1.0  # 0.01 of 90, and 1 at least
    assert scale.update(returns) == pytest.approx(90 * (1 - 0.99**2))


def _trained(optimizer, parameters, updates=10):
    torch.manual_seed(3)
    for _ in range(updates):
        optimizer.zero_grad()
        scale = 10 ** (4 * torch.rand(()) - 2)  # some gradients are clipped, some are not
        (scale * sum((p * torch.randn_like(p)).sum() for p in parameters)).backward()
        optimizer.step()
    return [p.detach().clone() for p in parameters]


def _parameters():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.zeros(5))]


def test_laprop_is_that_of_torchrl_over_ten_steps():
    algorithms = pytest.importorskip("torchrl.trainers.algorithms")
    ours, theirs = _parameters(), _parameters()
    one = _trained(LaProp(ours, lr=0.01, warm_up=4), ours)
    other = _trained(algorithms.DreamerV3Optimizer(theirs, lr=0.01, warmup_steps=4), theirs)
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)


def test_the_first_update_of_a_warm_up_changes_nothing():
    parameters = _parameters()
    before = [p.detach().clone() for p in parameters]
    assert all(map(torch.equal, before, _trained(LaProp(parameters, 0.1, 5), parameters, 1)))
    assert not torch.equal(before[0], _trained(LaProp(parameters, 0.1, 5), parameters, 2)[0])


def test_laprop_by_hand():
    """One number: the clipped gradient over its own size is its sign, whatever its size."""
    parameter = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = LaProp([parameter], lr=0.1, warm_up=0)
    parameter.grad = torch.tensor([50.0])  # cut to 0.6
    optimizer.step()
    assert parameter.item() == pytest.approx(1.9)
    square = optimizer.state[parameter]["square"].item()
    assert square == pytest.approx(0.001 * 0.6**2, rel=1e-5)


def test_the_rate_falls_to_a_tenth():
    """With equal gradients every update is as long as the rate: 0, 1/2, then from 1 down to 0.1 at the sixth."""
    parameter = torch.nn.Parameter(torch.tensor([100.0]))
    optimizer, moved = LaProp([parameter], lr=1.0, warm_up=2, decay=6), []
    for _ in range(8):
        before = parameter.item()
        parameter.grad = torch.ones(1)
        optimizer.step()
        moved.append(before - parameter.item())
    assert moved == pytest.approx([0.0, 0.5, 0.775, 0.55, 0.325, 0.1, 0.1, 0.1], abs=1e-4)


@pytest.mark.parametrize("wrong", [{"warm_up": -1}, {"warm_up": 5, "decay": 5}])
def test_laprop_refuses_what_makes_no_sense(wrong):
    with pytest.raises(ConfigError):
        LaProp(_parameters(), lr=0.1, **wrong)


def test_a_restored_laprop_goes_on():
    from atari_vlm.world_models.learned.arrays import optimizer_arrays, restore_optimizers

    whole, halves = _parameters(), _parameters()
    optimizer = LaProp(whole, 0.01, 3)
    _trained(optimizer, whole, 3)
    kept = {k: np.copy(v) for k, v in optimizer_arrays({"all": optimizer}).items()}
    with torch.no_grad():
        for a, b in zip(halves, whole, strict=True):
            a.copy_(b)
    again = LaProp(halves, 0.01, 3)
    restore_optimizers({"all": again}, kept)
    for a, b in zip(_trained(optimizer, whole), _trained(again, halves), strict=True):
        assert torch.equal(a, b)
