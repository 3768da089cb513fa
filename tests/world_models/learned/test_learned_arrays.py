"""Weights, optimisers and random streams as arrays of a checkpoint, and back."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from atari_vlm.errors import CheckpointError, UnknownNameError
from atari_vlm.world_models.learned.arrays import (
    load_weights,
    optimizer_arrays,
    restore_optimizers,
    subtree,
    weights_of,
)
from atari_vlm.world_models.learned.optimizers import apply_gradients, optimizer_for
from atari_vlm.world_models.learned.random_streams import Streams, pack_rng, unpack_rng
from atari_vlm.world_models.learned.schedule import Updates
from atari_vlm.world_models.learned.team import Team


def networks(seed=0):
    torch.manual_seed(seed)
    seen = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    return {"eye": seen, "head": nn.Linear(5, 2)}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def test_a_subtree_is_cut_at_whole_names():
    arrays = {"replay.a": 1, "replay.b.c": 2, "replays.a": 3, "replay": 4}
    assert subtree(arrays, "replay") == {"a": 1, "b.c": 2}
    assert subtree(arrays, "replay.b") == {"c": 2} and subtree(arrays, "none") == {}


def test_weights_go_out_and_come_back_with_their_buffers():
    one, other = networks(0), networks(1)
    one["eye"](torch.randn(8, 3, 4, 4))  # the running mean moves
    arrays = weights_of(one)
    assert "eye.1.running_mean" in arrays and "head.weight" in arrays
    load_weights(other, arrays)
    assert same(weights_of(other), arrays)


def test_only_the_named_parts_are_taken():
    one, other = networks(0), networks(1)
    before = weights_of(copy.deepcopy(other))
    load_weights(other, weights_of(one), only=["head"])
    after = weights_of(other)
    assert same(subtree(after, "head"), subtree(weights_of(one), "head"))
    assert same(subtree(after, "eye"), subtree(before, "eye"))


def test_a_part_that_is_none_names_the_nearest():
    with pytest.raises(UnknownNameError, match="head"):
        load_weights(networks(), weights_of(networks()), only=["heat"])


@pytest.mark.parametrize("fault", ["shape", "missing", "more"])
def test_weights_of_another_size_are_refused(fault):
    arrays = weights_of(networks())
    if fault == "shape":
        arrays["head.weight"] = arrays["head.weight"][:, :3]
    elif fault == "missing":
        del arrays["head.bias"]
    else:
        arrays["head.third"] = arrays["head.bias"]
    with pytest.raises(CheckpointError, match="the weights of head do not fit"):
        load_weights(networks(), arrays)


def learn(nets, optimizers, steps, generator):
    for _ in range(steps):
        picture = torch.randn(6, 3, 4, 4, generator=generator)
        nets["head"](nets["eye"](picture)).square().mean().backward()
        for optimizer in optimizers.values():
            apply_gradients(optimizer, 1.0, Team())


def test_restored_optimizers_go_on_to_the_bit():
    settings, stream = Updates(learning_rate=1e-2), torch.Generator().manual_seed(0)
    nets = networks()
    optimizers = {name: optimizer_for(net, settings) for name, net in nets.items()}
    learn(nets, optimizers, 3, stream)
    arrays = {n: a.copy() for n, a in (weights_of(nets) | optimizer_arrays(optimizers)).items()}
    again = networks(7)
    optimizers_again = {name: optimizer_for(net, settings) for name, net in again.items()}
    load_weights(again, arrays)
    restore_optimizers(optimizers_again, arrays)
    learn(nets, optimizers, 2, torch.Generator().manual_seed(5))
    learn(again, optimizers_again, 2, torch.Generator().manual_seed(5))
    assert same(weights_of(nets), weights_of(again))
    assert same(optimizer_arrays(optimizers), optimizer_arrays(optimizers_again))


def test_an_optimizer_that_never_stepped_has_nothing_to_keep():
    optimizers = {"head": optimizer_for(nn.Linear(2, 2), Updates())}
    assert optimizer_arrays(optimizers) == {}
    restore_optimizers(optimizers, {})
    assert optimizers["head"].param_groups[0]["lr"] == Updates().learning_rate


def test_weights_of_products_decay_and_nothing_else():
    net = nn.ModuleList(
        [nn.Linear(3, 3), nn.Conv2d(1, 1, 3), nn.LayerNorm(3), nn.Embedding(4, 3), nn.GRUCell(3, 3)]
    )
    net[3].weight.requires_grad_(False)
    decayed, plain = optimizer_for(net, Updates(weight_decay=0.3)).param_groups
    assert {id(p) for p in decayed["params"]} == {id(net[0].weight), id(net[1].weight)}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    kept = {id(p) for group in (decayed, plain) for p in group["params"]}
    assert kept == {id(p) for p in net.parameters() if p.requires_grad}


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_gradients_are_clipped_by_their_norm_which_is_told_unclipped(scale):
    parameter = nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    parameter.grad = torch.full((4,), scale)
    assert apply_gradients(optimizer, 1.0, Team()) == pytest.approx(2 * scale)
    assert float(parameter.detach().norm()) == pytest.approx(min(1.0, 2 * scale), rel=1e-4)
    assert parameter.grad is None


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_streams_go_on_where_they_were(cut):
    streams = Streams(3, 0, "cpu", 11)
    torch.manual_seed(9)

    def draw(one):
        return [
            one.rng.random(),
            float(one.rng.integers(9, dtype=np.uint32)),
            float(torch.rand(1, generator=one.generator)),
            float(torch.rand(1)),
        ]

    for _ in range(cut):
        draw(streams)
    arrays = {name: array.copy() for name, array in streams.arrays().items()}
    expected = [draw(streams) for _ in range(3)]
    other = Streams(99, 4, "cpu", 1)
    other.restore(arrays)
    assert [draw(other) for _ in range(3)] == expected


def test_seeds_ranks_and_families_draw_different_numbers():
    made = [Streams(*key) for key in ((0, 0, "cpu", 1), (1, 0, "cpu", 1), (0, 1, "cpu", 1))]
    made.append(Streams(0, 0, "cpu", 2))
    assert len({one.rng.random() for one in made}) == 4
    assert len({float(torch.rand(1, generator=one.generator)) for one in made[:3]}) == 3


def test_half_used_words_of_a_generator_are_kept():
    rng = np.random.default_rng(4)
    rng.integers(2**31, dtype=np.uint32)  # leaves half a word behind
    packed = pack_rng(rng)
    assert packed.dtype == np.uint64 and packed.shape == (6,) and packed[4] == 1
    again = unpack_rng(packed)
    draws = [one.integers(2**31, dtype=np.uint32, size=5).tolist() for one in (rng, again)]
    assert draws[0] == draws[1]
