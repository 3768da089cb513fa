"""A Dreamer as a world model: the protocol and what it can do besides, with several kinds of spaces."""

import numpy as np
import pytest
import torch
from dreamers import BOTH, FLOATS, PARTS, PICTURE, SMALL, STATE, TWO, small

from atari_vlm.checker import check_world_model
from atari_vlm.trees import map_leaves
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.dreamer.config import CoreConfig
from atari_vlm.world_models.dreamer.model import new_model


def start_of(model, rows=4, length=2, seed=0):
    """Contexts drawn from the spaces."""
    model.observation_space.seed(seed)
    model.action_space.seed(seed)
    seen = [[model.observation_space.sample() for _ in range(length)] for _ in range(rows)]
    stacked = [map_leaves(lambda *leaves: np.stack(leaves), *row) for row in seen]
    observations = map_leaves(lambda *leaves: np.stack(leaves), *stacked)
    observations = map_leaves(lambda a: a if a.dtype == np.uint8 else a.clip(-5, 5), observations)
    actions = np.array(
        [[model.action_space.sample() for _ in range(length - 1)] for _ in range(rows)]
    )
    return StartFrames(
        observations, actions.astype(np.int64) if actions.dtype.kind == "i" else actions
    )


@pytest.mark.parametrize("observation_space", [STATE, PICTURE, BOTH])
@pytest.mark.parametrize("action_space", [TWO, FLOATS, PARTS])
def test_it_keeps_the_protocol(observation_space, action_space):
    model = new_model(SMALL, observation_space, action_space, seed=0)
    check_world_model(model, start_of(model), steps=3)


@pytest.mark.parametrize("posterior", ["coupled", "observation"])
def test_it_keeps_the_protocol_with_positions_above_a_core(posterior):
    config = small(core=CoreConfig("mamba", 3, {"width": 16, "layers": 1}), posterior=posterior)
    model = new_model(config, STATE, TWO, seed=0)
    check_world_model(model, start_of(model), steps=3)


def test_one_seed_makes_one_model():
    one, same, other = (new_model(SMALL, STATE, TWO, seed=seed) for seed in (1, 1, 2))
    weights = [model.networks.actor[0][0].weight for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_next_z_depends_on_the_action_and_is_a_distribution():
    model = new_model(SMALL, STATE, TWO, seed=0)
    start = start_of(model)
    state = model.init(start.observations, start.actions, rng=np.random.default_rng(0))
    logits = [model.prior_logits(state, np.full(4, action)) for action in (3, 4)]
    assert logits[0].shape == (4, SMALL.groups, SMALL.classes)
    assert np.allclose(np.exp(logits[0]).sum(-1), 1, atol=1e-5)
    assert np.abs(logits[0] - logits[1]).max() > 1e-4


def test_an_end_is_drawn_without_the_discount_that_is_learned_with_it():
    """A head that is sure of no end says 1 - 1 / horizon: no dream ends by chance."""
    model = new_model(small(horizon=5.0), STATE, TWO, seed=0)
    last = model.networks.goes_on[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(float(np.log(0.8 / 0.2)))  # sigmoid is 0.8, which is 1 - 1 / 5
    start = start_of(model, rows=1)
    rng = np.random.default_rng(0)
    state = model.init(
        np.repeat(start.observations, 500, 0), np.repeat(start.actions, 500, 0), rng=rng
    )
    assert not model.step(state, np.full(500, 3), rng=rng).terminated.any()
    with torch.no_grad():
        last.bias.fill_(float(np.log(0.4 / 0.6)))  # half of that
    share = model.step(state, np.full(500, 3), rng=rng).terminated.mean()
    assert 0.4 < share < 0.6


def test_policy_and_value_are_those_of_the_player():
    model = new_model(SMALL, STATE, TWO, seed=0)
    start = start_of(model)
    state = model.init(start.observations, start.actions, rng=np.random.default_rng(0))
    with torch.no_grad():
        likely = model.networks.policy(state.features).log_probabilities.exp().numpy()
    assert np.allclose(model.policy(state), likely) and model.policy(state).shape == (4, 2)
    assert model.value(state).shape == (4,)
    floats = new_model(SMALL, STATE, FLOATS, seed=0)
    start = start_of(floats)
    state = floats.init(start.observations, start.actions, rng=np.random.default_rng(0))
    assert all(FLOATS.contains(row) for row in floats.policy(state))


def test_reading_on_is_reading_the_longer_context():
    model = new_model(SMALL, BOTH, TWO, seed=0)
    longer, rng = start_of(model, length=4), np.random.default_rng(0)
    state = model.init(
        map_leaves(lambda leaf: leaf[:, :3], longer.observations), longer.actions[:, :2], rng=rng
    )
    last = map_leaves(lambda leaf: leaf[:, 3], longer.observations)
    state = model.observe(state, longer.actions[:, 2], last, rng=rng)
    wanted = model.init(longer.observations, longer.actions, rng=rng)
    assert torch.allclose(state.features, wanted.features, atol=1e-6)
