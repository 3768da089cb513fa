"""What learned models share: devices, temperatures, schedules, heads, and actions that do not begin at 0."""

import itertools

import gymnasium
import numpy as np
import pytest
import torch
from rem_helpers import NETWORKS, facts, toy_settings
from replay_helpers import add_step, picture_replay

from atari_vlm.agents.policy_agent import PolicyAgent
from atari_vlm.errors import ConfigError
from atari_vlm.world_models.checkpoint import load_world_model, save_checkpoint
from atari_vlm.world_models.learned.actor_critic import lambda_returns
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.heads import SymlogTwoHot, symexp, symlog
from atari_vlm.world_models.learned.learner import GameFacts, Workplace
from atari_vlm.world_models.learned.schedule import ReplayRatio, Updates
from atari_vlm.world_models.learned.team import Team
from atari_vlm.world_models.rem.decoding import FrameDecoder
from atari_vlm.world_models.rem.learner import make_learner

ABSENT = (
    "cuda:7",
    "xla",
    "meta",
    "mps",
    "hpu",
    "xpu:1",
    "ipu",
    "vulkan",
    "privateuseone",
    "quantum",
    "",
    "cuda:x",
)


def learner_of(game_facts):
    replay = picture_replay(100, 16)
    rng = np.random.default_rng(0)
    first = int(game_facts.action_space.start)
    for n in range(60):
        frame = rng.integers(0, 256, (16, 16, 3), np.uint8)
        add_step(replay, frame, first + n % 3, float(n % 2), n % 9 == 8, False)
    return make_learner(
        toy_settings(), game_facts, Workplace(lambda columns: replay, Device(), Team(), 0)
    )


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """A learner of a game whose actions are 5, 6, 7, and its checkpoint."""
    space = gymnasium.spaces.Discrete(3, start=5)
    learner = learner_of(GameFacts("Shifted", {}, space, ("a", "b", "c")))
    for stage in learner.stages:
        learner.update(stage.name)
    config = {
        "game": "Shifted",
        "action_names": ["a", "b", "c"],
        "frame_skip": 1,
        **learner.config(),
    }
    folder = tmp_path_factory.mktemp("models") / "shifted"
    save_checkpoint(folder, kind="rem", config=config, tensors=learner.weights())
    return learner, folder


@pytest.mark.parametrize("name", ABSENT)
def test_a_device_that_is_none_is_refused_wherever_one_is_taken(shifted, name):
    takers = (
        Device,
        lambda n: load_world_model(shifted[1], device=n),
        lambda n: PolicyAgent(shifted[1], device=n),
    )
    for take in takers:
        with pytest.raises(ConfigError, match="no device"):
            take(name)


@pytest.mark.parametrize("temperature", [-1.0, float("nan"), float("inf"), "warm", None, True])
def test_a_temperature_that_is_none_is_refused_wherever_one_is_taken(shifted, temperature):
    takers = (
        lambda t: load_world_model(shifted[1], temperature=t),
        lambda t: PolicyAgent(shifted[1], temperature=t),
    )
    for take in takers:
        with pytest.raises(ConfigError, match="temperature"):
            take(temperature)


def test_unknown_options_of_a_model_name_the_nearest(shifted):
    with pytest.raises(ConfigError, match="temperature"):
        load_world_model(shifted[1], temperatur=0.5)
    with pytest.raises(ConfigError, match="f32"):
        load_world_model(shifted[1], precision="f16")


def test_actions_keep_their_start(shifted):
    learner, folder = shifted
    model = load_world_model(folder, temperature=0.0)
    assert (
        model.action_space == learner.policy().action_space == gymnasium.spaces.Discrete(3, start=5)
    )
    frames = np.zeros((2, 2, 16, 16, 3), np.uint8)
    state = model.init(frames, np.array([[5], [7]]), rng=np.random.default_rng(0))
    for wrong in (4, 8, 0):
        with pytest.raises(ConfigError, match="5 to 7"):
            model.step(state, np.array([wrong, 5]), rng=np.random.default_rng(0))
    unshifted = learner_of(facts())
    unshifted.restore(learner.arrays())
    other = unshifted.world_model(0.0)
    same = other.init(frames, np.array([[0], [2]]), rng=np.random.default_rng(0))
    assert torch.equal(state.memory, same.memory)
    policy = learner.policy()
    actions, after = policy.act(
        {"image": frames[:, 0]}, policy.begin(2), generator=None, temperature=0.0
    )
    assert ((actions >= 5) & (actions <= 7)).all()
    told, plain = (
        policy.executed(np.array([5, 7]), after),
        unshifted.policy().executed(np.array([0, 2]), after),
    )
    assert all(map(torch.equal, told, plain))


def test_updates_by_ratio_add_up_wherever_a_run_is_cut():
    ratio = ReplayRatio(0.3, prefill=7)
    cuts = [0, 3, 10, 11, 12, 40, 41, 100]
    counts = [ratio.due(epoch, pair) for epoch, pair in enumerate(itertools.pairwise(cuts), 1)]
    assert sum(counts) == ratio.due(1, (0, 100)) == 27 and counts[0] == 0
    assert (
        Updates(steps=4, first_epoch=2).due(1, (0, 9)) == 0
        and Updates(steps=4, first_epoch=2).due(2, (9, 9)) == 4
    )
    for wrong in ({"ratio": 0}, {"ratio": 1.0, "prefill": -1}):
        with pytest.raises(ConfigError):
            ReplayRatio(**wrong)


def test_two_hot_targets_have_the_mean_that_they_encode():
    head = SymlogTwoHot(65)
    values = torch.tensor([-1000.0, -3.5, 0.0, 0.01, 1.0, 250.0])
    encoded = head.encode(values)
    assert torch.allclose(encoded.sum(-1), torch.ones(6)) and ((encoded > 0).sum(-1) <= 2).all()
    assert torch.allclose(symexp((encoded * head.centres).sum(-1)), values, rtol=1e-3, atol=1e-4)
    assert torch.allclose(head.mean((encoded + 1e-30).log()), values, rtol=1e-3, atol=1e-4)
    assert torch.allclose(symexp(symlog(values)), values, rtol=1e-5)


def test_each_step_has_its_own_discount():
    rewards, values = torch.tensor([[1.0, 2.0]]), torch.tensor([[9.0, 4.0, 8.0]])
    # t=1: 2 + 0.5 * 8 = 6;  t=0: 1 + 0.25 * (0.5 * 4 + 0.5 * 6) = 2.25
    assert torch.equal(
        lambda_returns(rewards, torch.tensor([[0.25, 0.5]]), values, 0.5),
        torch.tensor([[2.25, 6.0]]),
    )


def test_showing_frames_draws_no_numbers():
    from atari_vlm.world_models.rem.networks import Networks

    tokenizer, before = Networks.of(NETWORKS, 0).tokenizer, torch.get_rng_state()
    FrameDecoder(tokenizer)
    assert torch.equal(before, torch.get_rng_state())
