"""The networks arranged for inference against the networks themselves: the same step, the same frames."""

import dataclasses

import numpy as np
import pytest
import torch

from atari_vlm.bench.plain_rem import PlainStepper
from atari_vlm.errors import ConfigError
from atari_vlm.world_models.learned.imagination import imagine
from atari_vlm.world_models.learned.model import LearnedOptions, ModelFacts
from atari_vlm.world_models.rem import stepper as stepper_module
from atari_vlm.world_models.rem.actor_critic import ActorCritic
from atari_vlm.world_models.rem.decoding import FrameDecoder
from atari_vlm.world_models.rem.model import RemWorldModel
from atari_vlm.world_models.rem.policy import burned_in
from atari_vlm.world_models.rem.settings import (
    ActorCriticConfig,
    RemConfig,
    TokenizerConfig,
    WorldModelConfig,
)
from atari_vlm.world_models.rem.stepper import Stepper
from atari_vlm.world_models.rem.tokenizer import Tokenizer
from atari_vlm.world_models.rem.world_model import TokenWorldModel

SIZES = {
    "rem's kind": WorldModelConfig(width=32, num_layers=3, num_heads=4, ffn_width=48),
    "one layer": WorldModelConfig(width=16, num_layers=1, num_heads=2, ffn_width=32),
    "places, blocks, two-hot": WorldModelConfig(
        width=32,
        num_layers=2,
        num_heads=2,
        ffn_width=64,
        place_embedding=True,
        decay_unit="block",
        reward="two-hot",
    ),
}


def networks(sizes, frame_px=16, seed=0):
    """A tokenizer and a world model whose weights, norms and biases included, are all drawn."""
    torch.manual_seed(seed)
    tokenizer = TokenizerConfig(frame_px=frame_px, channels=(8, 16), code_dim=16, num_codes=12)
    actor = ActorCriticConfig(conv_channels=(8, 8), width=16)
    config = RemConfig(num_actions=3, tokenizer=tokenizer, world_model=sizes, actor_critic=actor)
    made = Tokenizer(config.tokenizer).eval(), TokenWorldModel(config).eval()
    with torch.no_grad():
        for parameter in (p for network in made for p in network.parameters()):
            if parameter.dim() < 2 or parameter.shape[-1] == 16:
                parameter.add_(0.3 * torch.randn_like(parameter))
    made[1].use_codes(torch.randn(12, 16))
    return config, *made


def some_blocks(rows, blocks, tokens=64):
    return torch.randint(12, (rows, blocks, tokens)), torch.randint(3, (rows, blocks))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("part_rows", [1, 2, 100])
def test_a_step_is_reading_and_predicting(sizes, part_rows):
    _, _, network = networks(sizes)
    stepper = Stepper(network)
    stepper.part_rows = part_rows
    tokens, actions = some_blocks(5, 4)
    memory = network.empty_state(5)
    with torch.no_grad():
        for t in range(4):
            before = memory.clone()
            step = stepper.step(memory, tokens[:, t], actions[:, t])
            assert torch.equal(memory, before)
            memory, reward, end = network.read(memory, tokens[:, t], actions[:, t])
            wanted = (memory, reward, end, network.predict(memory))
            for ours, theirs in zip(dataclasses.astuple(step), wanted, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)


def test_rows_are_independent_and_the_plain_reference_agrees():
    _, _, network = networks(SIZES["rem's kind"])
    tokens, actions = some_blocks(4, 2)
    with torch.no_grad():
        memory, _, _ = network.read(network.empty_state(4), tokens[:, 0], actions[:, 0])
    whole = Stepper(network).step(memory, tokens[:, 1], actions[:, 1])
    some = Stepper(network).step(memory[2:3], tokens[2:3, 1], actions[2:3, 1])
    plain = PlainStepper(network).step(memory, tokens[:, 1], actions[:, 1])
    for a, b, c in zip(*(dataclasses.astuple(step) for step in (whole, some, plain)), strict=True):
        torch.testing.assert_close(a[2:3], b, rtol=1e-5, atol=2e-5)
        torch.testing.assert_close(a, c, rtol=1e-5, atol=2e-5)


def test_without_onednn_the_step_is_the_same(monkeypatch):
    _, _, network = networks(SIZES["rem's kind"])
    tokens, actions = some_blocks(2, 1)
    steps = []
    for there in (True, False):
        monkeypatch.setattr(
            stepper_module, "ONEDNN", there and torch.backends.mkldnn.is_available()
        )
        steps.append(Stepper(network).step(network.empty_state(2), tokens[:, 0], actions[:, 0]))
    for a, b in zip(*(dataclasses.astuple(step) for step in steps), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)


def test_bfloat16_is_as_near_as_autocast():
    _, _, network = networks(SIZES["rem's kind"])
    tokens, actions = some_blocks(4, 2)
    with torch.no_grad():
        memory, _, _ = network.read(network.empty_state(4), tokens[:, 0], actions[:, 0])
        exact = network.predict(network.read(memory, tokens[:, 1], actions[:, 1])[0])
        with torch.autocast("cpu", torch.bfloat16):
            autocast = network.predict(network.read(memory, tokens[:, 1], actions[:, 1])[0])
            step = Stepper(network, torch.bfloat16).step(memory, tokens[:, 1], actions[:, 1])
    assert step.memory.dtype == torch.float32 and step.tokens.dtype == torch.bfloat16
    assert (step.tokens - exact).std() < 1.5 * (autocast - exact).std()


def test_imagined_rollouts_use_the_present_weights():
    config, tokenizer, network = networks(SIZES["rem's kind"])
    torch.manual_seed(5)
    actor = ActorCritic(config)
    tokens, actions = some_blocks(3, 4)

    def rollout(stepper=None):
        model = RemWorldModel(config, tokenizer, network, ModelFacts(("A", "B", "C")))
        model.stepper = stepper or model.stepper
        memory = burned_in(
            actor, tokenizer, tokens[:, :-1], actions[:, :-1], torch.ones(3, 3, dtype=torch.bool)
        )
        with torch.no_grad():
            start = model.read_tokens(tokens[:, -2:], actions[:, -2:-1])
        return imagine(
            model, start, actor, memory, steps=3, generator=torch.Generator().manual_seed(0)
        ).rewards

    stale = Stepper(network)
    assert torch.equal(rollout(), rollout(PlainStepper(network)))
    with torch.no_grad():
        network.reward_head[2].bias += torch.tensor([50.0, 0.0, 0.0])
    assert (rollout() == -1).all() and not (rollout(stale) == -1).all()


@pytest.mark.parametrize("norm", ["frame", "place"])
@pytest.mark.parametrize("channels", [(8, 16), (8, 16, 24)])
def test_frames_are_the_tokenizers(channels, norm):
    torch.manual_seed(1)
    tokenizer = Tokenizer(
        TokenizerConfig(frame_px=16, channels=channels, code_dim=8, num_codes=12, norm=norm)
    ).eval()
    with torch.no_grad():
        for parameter in tokenizer.decoder.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    tokens = torch.randint(12, (3, tokenizer.config.num_tokens))
    ours, theirs = FrameDecoder(tokenizer).decode(tokens), tokenizer.decode(tokens)
    assert ours.shape == theirs.shape and ours.dtype == torch.uint8
    assert len(theirs.unique()) > 20 and (ours.int() - theirs.int()).abs().max() <= 1
    assert (ours != theirs).float().mean() < 0.01
    near = FrameDecoder(tokenizer, torch.bfloat16).decode(tokens)
    assert (near.float() - theirs.float()).abs().mean() < 2


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_model_behind_the_protocol_steps_with_it(precision):
    config, tokenizer, network = networks(SIZES["places, blocks, two-hot"])
    facts, options = ModelFacts(("A", "B", "C")), LearnedOptions(precision=precision, temperature=0)
    model = RemWorldModel(config, tokenizer, network, facts, options)
    frames = np.random.default_rng(0).integers(0, 255, (2, 2, 16, 16, 3), np.uint8)
    state = model.init(frames, np.zeros((2, 1), np.int64), rng=np.random.default_rng(0))
    step = model.step(state, np.array([1, 2]), rng=np.random.default_rng(0))
    with torch.no_grad():
        memory, reward, _ = network.read(state.memory, state.tokens, torch.tensor([1, 2]))
        if precision == "f32":
            assert torch.equal(step.state.tokens, network.predict(memory).argmax(-1))
        wanted = network.reward.mean(reward).numpy()
    np.testing.assert_allclose(
        step.reward, wanted, rtol=1e-4 if precision == "f32" else 0.3, atol=0.1
    )
    assert model.decode(step.state).shape == (2, 16, 16, 3)
    for wrong in (-1, 3):
        with pytest.raises(ConfigError, match="whole numbers from 0 to 2"):
            model.step(state, np.array([0, wrong]), rng=np.random.default_rng(0))


def test_no_rows_are_no_rows():
    _, tokenizer, network = networks(SIZES["rem's kind"])
    step = Stepper(network).step(
        network.empty_state(0), torch.zeros(0, 64, dtype=torch.int64), torch.zeros(0).long()
    )
    assert step.memory.shape == (0, 3, 4, 8, 8) and step.tokens.shape == (0, 64, 12)
    assert FrameDecoder(tokenizer).decode(torch.zeros(0, 64, dtype=torch.int64)).shape == (
        0,
        16,
        16,
        3,
    )
