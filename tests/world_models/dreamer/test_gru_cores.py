"""The GRU and the block-GRU: hand tables, torchrl's cell, parameter counts, and the promises of every core."""

import math

import pytest
import torch
from torch.nn import functional

from atari_vlm.errors import ConfigError
from atari_vlm.world_models.dreamer.cores import check_core, make_core
from atari_vlm.world_models.dreamer.cores.layers import (
    NORM_EPS,
    BlockLinear,
    CentredSilu,
    NormedSilu,
    draw_weights,
)

SIZES = {
    "gru": {"hidden": 12},
    "block_gru": {"hidden": 6, "blocks": 4},
}


@pytest.mark.parametrize("kind", SIZES)
def test_a_core_keeps_its_promises(kind):
    torch.manual_seed(1)
    core = make_core(kind, (5, 3), 16, **SIZES[kind])
    for parameter in core.parameters():  # norms and biases away from where they begin
        parameter.data += 0.3 * torch.randn_like(parameter)
    check_core(core, 8)


def test_a_learned_start_is_what_a_reset_goes_back_to():
    core = make_core("gru", (4,), 6, learned_start=True)
    core.start.data.normal_()
    check_core(core, 4)
    assert torch.equal(core.init(2)["h"][1], core.start.tanh())
    y, _ = core.step(torch.ones(1, 4), {"h": torch.full((1, 6), math.nan)}, torch.tensor([True]))
    y.sum().backward()
    assert core.start.grad.isfinite().all() and core.start.grad.any()


def test_one_unit_of_a_gru_by_hand():
    core = make_core("gru", (1,), 1, hidden=1)
    core.norm = torch.nn.Identity()
    core.inputs = torch.nn.Identity()
    core.input_gates.weight.data[:] = torch.tensor([[0.5], [2.0], [-1.0]])
    core.memory_gates.weight.data[:] = torch.tensor([[1.0], [0.0], [3.0]])
    y, state = core.step(torch.tensor([[2.0]]), {"h": torch.tensor([[0.5]])}, torch.tensor([False]))
    reset = 1 / (1 + math.exp(-(0.5 * 2 + 0.5)))
    update = 1 / (1 + math.exp(-(-2 + 1.5 - 1)))
    expected = update * math.tanh(reset * 4) + (1 - update) * 0.5
    assert y.item() == pytest.approx(expected, abs=1e-6) and torch.equal(state["h"], y)


def test_blocks_do_not_mix():
    layer = BlockLinear(6, 4, 2)
    assert layer.weight.shape == (2, 3, 2)
    dense = torch.block_diag(*layer.weight)
    x = torch.randn(5, 2, 6)
    layer.bias.data.normal_()
    assert torch.allclose(layer(x), x @ dense + layer.bias, atol=1e-6)
    with pytest.raises(ConfigError, match="7 inputs and 4 outputs do not fall into 2 blocks"):
        BlockLinear(7, 4, 2)


def test_weights_begin_within_two_deviations_and_with_the_right_spread():
    weight = torch.empty(400, 300)
    draw_weights(weight, 300)
    assert weight.std().item() == pytest.approx(300**-0.5, rel=0.01)
    assert weight.abs().max().item() <= 2 * 1.1368 * 300**-0.5


def test_the_size_of_the_smallest_preset():
    """The 1m core on CartPole-v1, of the 364,160 parameters of its state-space model."""
    core = make_core("block_gru", (32 * 4, 2), 512, hidden=64)
    assert sum(parameter.numel() for parameter in core.parameters()) == 273_408


def test_large_actions_are_brought_to_one():
    core = make_core("block_gru", (3, 2), 8, hidden=4)
    latent, state = torch.randn(1, 3), core.init(1)
    no = torch.tensor([False])
    ys = [
        core.step(torch.cat([latent, torch.tensor([action])], 1), state, no)[0]
        for action in ([7.0, -0.5], [1.0, -0.5], [0.9, -0.5])
    ]
    assert torch.equal(ys[0], ys[1]) and not torch.equal(ys[1], ys[2])


@pytest.mark.parametrize("blocks", [1, 8])
def test_the_block_gru_is_torchrls(blocks):
    modules = pytest.importorskip("torchrl.modules")
    torch.manual_seed(2)
    ours = make_core("block_gru", (5,), 16, hidden=6, blocks=blocks)
    theirs = modules.DreamerV3BlockGRU(5, 16, projection_size=6, num_blocks=blocks)
    give_weights(theirs.cell, ours)
    x, reset = torch.rand(3, 11, 5) * 2 - 1, torch.rand(3, 11) < 0.3
    h = torch.randn(3, 16)
    y, state = ours.scan(x, {"h": h}, reset)
    expected, last = theirs(x, h, reset)
    assert torch.allclose(y, expected, atol=2e-6) and torch.allclose(state["h"], last, atol=2e-6)
    y.square().sum().backward()
    expected.square().sum().backward()
    pairs = [
        (ours.memory[0].weight, theirs.cell.hidden_linear.weight),
        (ours.inputs[0][0].weight, theirs.cell.input_linear.weight),
        (ours.gates.weight, theirs.cell.gates.weight),
        (ours.mix[1].weight, theirs.cell.dynamic_norms[0].weight),
    ]
    for mine, other in pairs:
        assert torch.allclose(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


def give_weights(cell, core):
    """Give torchrl's cell, which shows its blocks the input before the memory, the weights of ours."""
    with torch.no_grad():
        for norm in (core.memory[1], core.inputs[0][1], core.mix[1]):
            norm.weight.uniform_(0.5, 1.5)
        for linear, norm, layer in (
            (cell.hidden_linear, cell.hidden_norm, core.memory),
            (cell.input_linear, cell.input_norm, core.inputs[0]),
        ):
            linear.weight.copy_(layer[0].weight)
            linear.bias.copy_(layer[0].bias)
            norm.weight.copy_(layer[1].weight)
        own, memory, inputs = core.mix[0].weight.split(
            [
                core.output_size // core.blocks,
                len(core.memory[1].weight),
                len(core.inputs[0][1].weight),
            ],
            1,
        )
        cell.dynamic_linears[0].weight.copy_(torch.cat([own, inputs, memory], 1))
        cell.dynamic_linears[0].bias.copy_(core.mix[0].bias)
        cell.dynamic_norms[0].weight.copy_(core.mix[1].weight)
        cell.gates.weight.copy_(core.gates.weight)
        cell.gates.bias.copy_(core.gates.bias)


@pytest.mark.parametrize("kind", [NormedSilu, CentredSilu])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_and_their_derivatives_are_those_of_autograd(kind, dtype):
    layer, sizes = kind(6), (6,)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-2, 2)
    x = (3 * torch.randn(4, 6, 5)).to(dtype).transpose(1, 2).requires_grad_()
    far, weight = x.double(), layer.weight.double()
    if kind is NormedSilu:
        normed = functional.rms_norm(far, sizes, weight, NORM_EPS)
    else:
        normed = functional.layer_norm(far, sizes, weight, layer.bias.double(), layer.eps)
    wanted, gradient = functional.silu(normed), torch.randn(4, 5, 6)
    made = layer(x)
    assert made.dtype == dtype and made.shape == x.shape
    inputs, within = (x, *layer.parameters()), 1e-5 if dtype == torch.float32 else 0.05
    assert torch.allclose(made.double(), wanted, atol=within)
    ours = torch.autograd.grad(made, inputs, gradient.to(dtype))
    theirs = torch.autograd.grad(wanted, inputs, gradient.double())
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=within, rtol=within)
