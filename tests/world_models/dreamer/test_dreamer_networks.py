"""A Dreamer's networks: sizes that others have published, what they see and show, and what reaches them."""

import dataclasses

import numpy as np
import pytest
import torch
from dreamers import BOTH, FLOATS, PARTS, PICTURE, SMALL, STATE, TWO, small
from gymnasium.spaces import Box, Dict, Discrete

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.world_models.dreamer.actions import ActionCode, Choices, Normal
from atari_vlm.world_models.dreamer.config import PRESETS, CoreConfig, KeysConfig, preset
from atari_vlm.world_models.dreamer.keys import by_name
from atari_vlm.world_models.dreamer.networks import build_networks
from atari_vlm.world_models.dreamer.pictures import doubled
from atari_vlm.world_models.dreamer.rssm import Observed
from atari_vlm.world_models.learned.heads import symlog

CART_POLE = Box(-np.inf, np.inf, (4,), np.float32)
RGB = Box(0, 255, (64, 64, 3), np.uint8)


def count(network):
    return sum(p.numel() for name, p in network.named_parameters() if "slow" not in name)


def test_1m_has_the_parameters_that_are_published():
    networks = build_networks(preset("1m"), CART_POLE, Discrete(2))
    assert count(networks) == 637_381
    parts = {
        "encoder": 8_832, "rssm": 364_160, "decoder": 49_796, "reward": 57_663,
        "goes_on": 41_153, "actor": 49_666, "critic": 66_111,
    }  # fmt: skip
    assert {name: count(getattr(networks, name)) for name in parts} == parts
    slow = [p for name, p in networks.named_parameters() if "slow" in name]
    assert slow and not any(p.requires_grad for p in slow)
    assert sum(p.numel() for p in networks.trained()) == 637_381


def test_1m_of_pictures_has_the_parameters_that_are_published():
    networks = build_networks(preset("1m"), RGB, Discrete(2))
    parts = {"encoder": 14_304, "rssm": 376_448, "decoder": 80_595}
    assert {name: count(getattr(networks, name)) for name in parts} == parts
    assert count(networks) == 685_940


SHEEPRL = {  # 0.8.4, dreamer_v3_5_* and dreamer_v3_*, on CartPole-v1: world model, actor and critic, counted there
    "12m": 9_724_165, "25m": 21_762_181, "50m": 38_584_325, "100m": 86_580_997, "xs": 3_157_509, "s": 9_726_469,
}  # fmt: skip


@pytest.mark.parametrize(("name", "parameters"), SHEEPRL.items())
def test_other_sizes_have_those_of_sheeprl(name, parameters):
    with torch.device("meta"):
        assert count(build_networks(preset(name), CART_POLE, Discrete(2))) == parameters


def test_every_preset_is_one_of_frozen_sizes():
    for name in PRESETS:
        with pytest.raises(dataclasses.FrozenInstanceError):
            preset(name).deter = 1
    with pytest.raises(UnknownNameError, match="12m"):
        preset("12")


def test_sizes_are_in_order():
    sizes = [preset(name) for name in ("1m", "12m", "25m", "50m", "100m", "200m", "400m")]
    assert [s.deter for s in sizes] == [512, 2048, 3072, 4096, 6144, 8192, 12288]
    assert all(s.hidden == s.units == 16 * s.depth and s.groups == 32 for s in sizes)
    assert [s.classes for s in sizes] == [4, 16, 24, 32, 48, 64, 96]


@pytest.mark.parametrize("generation", ["nature", "2023"])
def test_pictures_and_vectors_go_in_and_come_out(generation):
    core = CoreConfig("gru" if generation == "2023" else "block_gru")
    networks = build_networks(small(generation=generation, core=core), BOTH, TWO)
    inputs = {
        "camera": torch.randint(0, 256, (6, 16, 16, 3), dtype=torch.uint8),
        "joints": torch.randn(6, 3),
    }
    assert networks.encoder(inputs).shape == (6, networks.encoder.outputs)
    latent = networks.rssm.begin(6)
    shown = networks.decoder(latent.h, latent.z)
    assert {name: tuple(values.shape) for name, values in shown.items()} == {
        "camera": (6, 16, 16, 3),
        "joints": (6, 3),
    }
    losses = networks.decoder.losses(shown, inputs)
    assert {name: tuple(loss.shape) for name, loss in losses.items()} == {
        "camera": (6,),
        "joints": (6,),
    }
    made = networks.decoder.observations(shown)
    assert made["camera"].dtype == torch.uint8 and made["joints"].dtype == torch.float32


def test_errors_of_pictures_are_summed_over_channels_and_places():
    networks = build_networks(SMALL, PICTURE, TWO)
    target = torch.full((1, 16, 16, 3), 255, dtype=torch.uint8)
    loss = networks.decoder.losses({"image": torch.zeros(1, 16, 16, 3)}, {"image": target})
    assert loss["image"].tolist() == [16 * 16 * 3]


def test_a_doubled_convolution_is_one_of_repeated_places():
    convolution, x = torch.nn.Conv2d(3, 4, 5, padding=2), torch.randn(2, 3, 6, 5)
    repeated = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(doubled(x, convolution), convolution(repeated), atol=1e-5)


@pytest.mark.parametrize("fall_off", [0.0, 2.0])
def test_at_first_rewards_and_values_are_zero_and_choices_nearly_equal(fall_off):
    config = dataclasses.replace(preset("tiny"), fall_off=fall_off)
    networks = build_networks(config, CART_POLE, Discrete(3))
    features = torch.randn(9, config.features)
    assert not networks.value(features).any()
    assert not networks.scalar.mean(networks.reward(features)).any()
    likely = networks.policy(features).log_probabilities.exp()
    assert torch.allclose(likely, torch.full_like(likely, 1 / 3), atol=0.02)


@pytest.mark.parametrize("name, value", [("1m", -1.0), ("xs", 2.0)])
def test_what_is_not_official_is_not_negative_and_not_of_2023(name, value):
    with pytest.raises(ConfigError, match="fall_off is 0 or more nats, and 0 for the bins of 2023"):
        dataclasses.replace(preset(name), fall_off=value)
    with pytest.raises(ConfigError, match="spread is 0 or more, and 0 for the layers of 2023"):
        dataclasses.replace(preset(name), spread=value)


def test_the_length_of_a_vector_is_seen_where_biases_are_spread():
    """At the official start two vectors of one direction are nearly one; with spread biases they are not."""
    states = torch.tensor([[0.3, 0, 0, 0], [2.4, 0, 0, 0]])
    apart = {}
    for spread in (0.0, 0.5):
        torch.manual_seed(0)
        config = dataclasses.replace(preset("1m"), spread=spread)
        first = build_networks(config, CART_POLE, Discrete(2)).encoder.parts["vectors"].layers[0]
        one, other = first(symlog(states)).detach()
        apart[spread] = float((one - other).norm() / one.norm())
    assert apart[0.0] < 0.01 and apart[0.5] > 0.3


def test_actions_are_mixed_with_a_share_of_chance():
    code = ActionCode(Discrete(4), small(actor_unimix=0.2))
    likely = code.distribution(torch.tensor([[99.0, 0, 0, 0]])).log_probabilities.exp()
    assert likely.tolist() == [pytest.approx([0.85, 0.05, 0.05, 0.05])]
    never = ActionCode(Discrete(4), small(actor_unimix=0.0))
    assert never.distribution(torch.tensor([[99.0, 0, 0, 0]])).log_probabilities.exp()[0, 0] == 1


def test_choices_in_parts_are_drawn_and_counted_together():
    code = ActionCode(PARTS, SMALL)
    does = code.distribution(torch.randn(500, 5))
    assert isinstance(does, Choices)
    drawn = does.sample(torch.Generator().manual_seed(0))
    assert drawn.shape == (500, 2) and drawn[:, 0].max() == 2 and drawn[:, 1].max() == 1
    parts = [torch.distributions.Categorical(logits=logits) for logits in does.logits]
    log_prob = sum(part.log_prob(drawn[:, n]) for n, part in enumerate(parts))
    assert torch.allclose(does.log_prob(drawn), log_prob, atol=1e-5)
    assert torch.allclose(does.entropy(), sum(part.entropy() for part in parts), atol=1e-5)
    assert code.encode(drawn).shape == (500, 5) and (code.encode(drawn).sum(-1) == 2).all()


def test_floats_are_normal_around_what_lies_in_the_space():
    code = ActionCode(FLOATS, SMALL)
    does = code.distribution(torch.randn(50, 4, generator=torch.Generator().manual_seed(1)))
    assert isinstance(does, Normal)
    assert all(FLOATS.contains(row) for row in does.sample(None, 0.0).numpy())
    drawn = does.sample(torch.Generator().manual_seed(0))
    assert all(FLOATS.contains(row) for row in code.within(drawn.numpy()))
    other = torch.distributions.Normal(does.mean, does.std)
    assert torch.allclose(does.log_prob(drawn), other.log_prob(drawn).sum(-1), atol=1e-5)
    assert torch.allclose(does.entropy(), other.entropy().sum(-1), atol=1e-5)
    ends = code.encode(torch.tensor([[-2.0, 0.0], [2.0, 0.5], [0.0, 9.0]]))
    assert ends.tolist() == [[-1.0, -1.0], [1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    "space", [Box(-np.inf, np.inf, (2,), np.float32), Box(-1, 1, (2, 2), np.float32), BOTH]
)
def test_spaces_that_cannot_be_acted_with(space):
    with pytest.raises(ConfigError, match="Discrete, MultiDiscrete or a bounded Box"):
        build_networks(SMALL, STATE, space)


def test_keys_are_chosen_and_refused_by_name():
    blind = small(cnn_keys=KeysConfig(encoder=()))
    assert build_networks(blind, BOTH, TWO).encoder.names == ()
    unseen = small(mlp_keys=KeysConfig(decoder=()))
    networks = build_networks(unseen, BOTH, TWO)
    assert networks.keys.shown == ("camera",) and "joints" in networks.keys.columns
    with pytest.raises(UnknownNameError, match="did you mean joints"):
        build_networks(small(mlp_keys=KeysConfig(encoder=("joint",))), BOTH, TWO)
    nothing = small(cnn_keys=KeysConfig(encoder=()), mlp_keys=KeysConfig(encoder=()))
    with pytest.raises(ConfigError, match="nothing is left to learn from"):
        build_networks(nothing, BOTH, TWO)


def test_keys_of_a_game_are_the_names_of_its_inputs():
    asked = small(mlp_keys=KeysConfig(("joints",), ("joints",)), cnn_keys=KeysConfig(("image",)))
    named = by_name(asked, {"joints": "state", "camera": "image"})
    assert named.mlp_keys == KeysConfig(("state",), ("state",))
    assert named.cnn_keys == KeysConfig(("image",)) and named.text_keys == KeysConfig()


def test_single_numbers_go_in_and_come_out():
    networks = build_networks(SMALL, Dict({"floor": Discrete(9), "joints": STATE}), TWO)
    inputs = {"floor": torch.arange(4), "joints": torch.zeros(4, *STATE.shape)}
    latent = networks.rssm.begin(4)
    losses = networks.decoder.losses(networks.decoder(latent.h, latent.z), inputs)
    assert {name: tuple(loss.shape) for name, loss in losses.items()} == {
        "floor": (4,),
        "joints": (4,),
    }


@pytest.mark.parametrize("seq_len", [1, 2, 4, 8])
@pytest.mark.parametrize("posterior", ["coupled", "observation"])
def test_the_prior_sees_the_action_before(seq_len, posterior):
    config = small(core=CoreConfig("gru", seq_len), posterior=posterior)
    torch.manual_seed(0)
    rssm = build_networks(config, STATE, TWO).rssm
    latent = rssm.begin(1)
    one, other = (rssm.advance(latent, action)[0] for action in torch.eye(2)[:, None])
    assert (rssm.foretold(one) - rssm.foretold(other)).abs().max() > 1e-4


@pytest.mark.parametrize("kind", ["block_gru", "gru", "mamba"])
@pytest.mark.parametrize("seq_len", [1, 3])
def test_a_scanned_sequence_is_a_stepped_one(kind, seq_len):
    """z from the observation alone: reading at once, cut for kept states, equals moving step by step."""
    sizes = {"width": 16, "layers": 1} if kind == "mamba" else {}
    config = small(core=CoreConfig(kind, seq_len, sizes), posterior="observation")
    torch.manual_seed(0)
    rssm = build_networks(config, STATE, TWO).rssm
    embedding, actions = torch.randn(2, 6, 16), torch.rand(2, 6, 2)
    reset = torch.zeros(2, 6, dtype=torch.bool)
    reset[0, 3] = reset[1, 0] = True
    drawn = torch.Generator().manual_seed(1)
    reading = rssm.read(Observed(embedding, actions, reset), rssm.begin(2), drawn, keep=(2, 4, 5))
    latent = rssm.begin(2)
    for t in range(6):
        h, core = rssm.advance(latent, actions[:, t], reset[:, t])
        latent = type(latent)(core, h, reading.z[:, t])
        assert torch.allclose(h, reading.h[:, t], atol=1e-5)
        if t in (2, 4, 5):
            kept = (2, 4, 5).index(t)
            for name, values in core.items():
                assert torch.allclose(values, reading.kept.core[name][:, kept], atol=1e-5)


@pytest.mark.parametrize("posterior", ["coupled", "observation"])
def test_the_version_of_2023_begins_with_the_likeliest_z_of_its_learned_start(posterior):
    start = CoreConfig("gru", sizes={"learned_start": True})
    config = small(generation="2023", core=start, posterior=posterior)
    torch.manual_seed(0)
    rssm = build_networks(config, STATE, TWO).rssm
    torch.nn.init.normal_(rssm.core.start)
    first, likely = rssm.begin(2), rssm.prior(rssm.begin(2).h).view(2, config.groups, -1)
    assert torch.equal(first.z.view(likely.shape).argmax(-1), likely.argmax(-1))
    assert first.z.sum(-1).tolist() == pytest.approx([config.groups] * 2)
    # whatever was before, an episode begins so: in one step, and in the midst of a sequence
    embedding, actions = torch.randn(1, 3, rssm.posterior[0][0].in_features), torch.rand(1, 3, 2)
    embedding = embedding[..., : -config.deter] if posterior == "coupled" else embedding
    reset = torch.tensor([[False, True, False]])
    reading = rssm.read(Observed(embedding, actions, reset), rssm.begin(1), None, keep=(2,))
    alone, _ = rssm.advance(rssm.begin(1), torch.zeros(1, 2))
    assert torch.allclose(reading.h[:, 1], alone, atol=1e-6)
    reading.h[:, 1].sum().backward()
    assert rssm.core.start.grad.any()
    assert not build_networks(SMALL, STATE, TWO).rssm.begin(1).z.any()  # today's begins with none


def test_no_gradient_crosses_a_reset():
    torch.manual_seed(0)
    rssm = build_networks(SMALL, STATE, TWO).rssm
    embedding = torch.randn(1, 4, 16, requires_grad=True)
    reset = torch.tensor([[False, False, True, False]])
    reading = rssm.read(
        Observed(embedding, torch.rand(1, 4, 2), reset), rssm.begin(1), None, keep=(3,)
    )
    reading.h[:, 3].sum().backward()
    assert not embedding.grad[:, :2].any() and embedding.grad[:, 2].any()


def test_the_slow_critic_follows():
    networks = build_networks(SMALL, STATE, TWO)
    with torch.no_grad():
        networks.critic[-1].weight.fill_(1.0)
    networks.follow(0.25)
    assert torch.allclose(networks.slow_critic[-1].weight, torch.tensor(0.25))
