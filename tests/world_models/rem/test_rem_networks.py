"""REM's networks against their equations: retention's three forms, POP, leaks, returns, sizes."""

import dataclasses

import pytest
import torch
from rem_helpers import facts

from atari_vlm.errors import UnknownNameError
from atari_vlm.world_models.learned.actor_critic import actor_critic_loss, lambda_returns
from atari_vlm.world_models.learned.heads import Categorical
from atari_vlm.world_models.learned.imagination import Imagination
from atari_vlm.world_models.learned.schedule import PolicyGradient
from atari_vlm.world_models.rem.actor_critic import ActorCritic
from atari_vlm.world_models.rem.losses import Blocks, world_model_loss
from atari_vlm.world_models.rem.retention import Retention, block_decays, token_decays
from atari_vlm.world_models.rem.settings import (
    ActorCriticConfig,
    RemConfig,
    TokenizerConfig,
    WorldModelConfig,
    preset,
)
from atari_vlm.world_models.rem.tokenizer import Tokenizer
from atari_vlm.world_models.rem.world_model import TokenWorldModel

CONSTANTS = PolicyGradient(discount=0.9, lam=0.9, entropy=0.01)
SMALL = RemConfig(
    num_actions=3,
    tokenizer=TokenizerConfig(frame_px=16, channels=(8, 8, 8), code_dim=16, num_codes=12),
    world_model=WorldModelConfig(width=16, num_layers=2, num_heads=2, ffn_width=32, dropout=0.0),
    actor_critic=ActorCriticConfig(conv_channels=(8, 8), width=16),
)


def small_world_model(**changes):
    torch.manual_seed(3)
    network = TokenWorldModel(
        RemConfig(3, SMALL.tokenizer, WorldModelConfig(**{**vars(SMALL.world_model), **changes}))
    )
    network.use_codes(torch.randn(12, 16))
    return network.eval()


def some_blocks(rows=3, blocks=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(12, (rows, blocks, 16), generator=generator)
    actions = torch.randint(3, (rows, blocks), generator=generator)
    return tokens, actions


def by_the_definition(retention, x):
    """Outputs straight from the sum over earlier tokens, token by token in float64, without masks or states."""
    q, k, v, gate = retention.double().project(x.double())
    length, dim = q.shape[-2:]
    frequency = 10000.0 ** -torch.linspace(0, 1, dim // 2, dtype=torch.float64)
    decays = retention.table_power[:, 1]
    out = torch.zeros_like(v)
    for n in range(length):
        for m in range(n + 1):
            angle = (n - m) * frequency
            even, odd = q[..., n, 0::2], q[..., n, 1::2]
            turned = torch.stack(
                (even * angle.cos() - odd * angle.sin(), odd * angle.cos() + even * angle.sin()), -1
            )
            score = (turned.flatten(-2) * k[..., m, :]).sum(-1) * decays ** (n - m)
            out[..., n, :] += score[..., None] * v[..., m, :]
    return retention.finish(out, gate).float()


@pytest.mark.parametrize(
    "decays", [token_decays(4), block_decays(4, 65, (4.0, 16.0))], ids=["token", "block"]
)
@pytest.mark.parametrize("chunk", [1, 7, 8, 23])
def test_three_forms_agree_and_are_the_definition(decays, chunk):
    torch.manual_seed(0)
    retention = Retention(64, decays, 64)
    x = torch.randn(2, 23, 64)
    whole, final = retention.chunk(x, retention.empty_state(2))
    state, pieces = retention.empty_state(2), []
    for begin in range(0, 23, chunk):  # odd remainders: 23 = 7 + 7 + 7 + 2 = 8 + 8 + 7
        out, state = retention.chunk(x[:, begin : begin + chunk], state)
        pieces.append(out)
    step_state, steps = retention.empty_state(2), []
    for token in x.unbind(1):
        out, step_state = retention.recurrent(token, step_state)
        steps.append(out)
    assert torch.allclose(retention.parallel(x), whole, atol=1e-6)
    assert (torch.cat(pieces, 1) - whole).abs().max() < 1e-4 and (state - final).abs().max() < 1e-4
    assert (torch.stack(steps, 1) - whole).abs().max() < 1e-4 and (
        step_state - final
    ).abs().max() < 1e-4
    assert (by_the_definition(retention, x) - whole).abs().max() < 1e-4


def test_block_form_from_a_nonzero_start_is_chunk_after_chunk():
    torch.manual_seed(1)
    retention = Retention(64, token_decays(4), 65)
    past = torch.randn(2, 13, 64)
    _, start = retention.chunk(past, retention.empty_state(2))
    x = torch.randn(2, 4, 65, 64)
    outputs, states = retention.blocks(x, start)
    assert torch.equal(states[:, 0], start)
    state = start
    for i in range(4):
        out, state = retention.chunk(x[:, i], state)
        assert (outputs[:, i] - out).abs().max() < 1e-4 and (
            states[:, i + 1] - state
        ).abs().max() < 1e-4


@pytest.mark.parametrize("unit", ["token", "block"])
def test_training_outputs_are_the_step_by_step_ones(unit):
    network, (tokens, actions) = small_world_model(decay_unit=unit), some_blocks()
    with torch.no_grad():
        trained = network(tokens, actions)
        state = network.empty_state(3)
        for t in range(tokens.shape[1]):
            before = state.clone()
            assert (network.predict(state) - trained.tokens[:, t]).abs().max() < 1e-5
            assert torch.equal(state, before)  # prediction leaves no trace
            state, reward, end = network.read(state, tokens[:, t], actions[:, t])
            assert (reward - trained.reward[:, t]).abs().max() < 1e-5
            assert (end - trained.end[:, t]).abs().max() < 1e-5


def test_training_in_two_halves_with_carried_state_is_training_at_once():
    network, (tokens, actions) = small_world_model(), some_blocks()
    with torch.no_grad():
        whole = network(tokens, actions)
        state = network.empty_state(3)
        for t in range(2):
            state, _, _ = network.read(state, tokens[:, t], actions[:, t])
        rest = network(tokens[:, 2:], actions[:, 2:], state)
    assert (rest.tokens - whole.tokens[:, 2:]).abs().max() < 1e-5
    assert (rest.end - whole.end[:, 2:]).abs().max() < 1e-5


def test_nothing_leaks_from_the_block_that_is_predicted():
    network, (tokens, actions) = small_world_model(), some_blocks()
    other = tokens.clone()
    other[:, 3] = (other[:, 3] + 1) % 12
    with torch.no_grad():
        first, second = network(tokens, actions).tokens, network(other, actions).tokens
    assert torch.equal(first[:, :4], second[:, :4])  # up to and including block 3 itself
    assert (first[:, 4] - second[:, 4]).abs().max() > 1e-4


def masked_blocks():
    tokens, actions = some_blocks()
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, 4:] = False
    mask[2, 1:] = False  # an episode of one step: shorter than the context
    rewards = torch.randint(-1, 2, (3, 6), generator=torch.Generator().manual_seed(5)).float()
    return Blocks(tokens, actions, rewards, torch.zeros(3, 6, dtype=torch.bool), mask)


def test_context_padding_and_action_slots_have_no_loss_gradient():
    network, blocks = small_world_model(), masked_blocks()
    predicted = []
    network.register_forward_hook(lambda module, args, out: predicted.append(out))
    loss = world_model_loss(network, blocks, context=2)
    for leaf in (predicted[0].tokens, predicted[0].reward, predicted[0].end):
        leaf.retain_grad()
    loss.total.backward()
    tokens = predicted[0].tokens.grad.abs().sum((-1, -2)) > 0
    assert tokens.tolist() == [
        [False, False, True, True, True, True],
        [False, False, True, True, False, False],
        [False] * 6,
    ]
    assert predicted[0].tokens.shape[2] == 16  # the action's slot is never predicted
    for leaf in (
        predicted[0].reward,
        predicted[0].end,
    ):  # the last context action is the first imagined one
        scored = leaf.grad.abs().sum(-1) > 0
        assert scored.tolist() == [
            [False] + [True] * 5,
            [False, True, True, True, False, False],
            [False] * 6,
        ]


def test_loss_of_padding_does_not_depend_on_what_lies_there():
    network, blocks = small_world_model(), masked_blocks()
    other = Blocks(
        torch.where(blocks.mask[..., None], blocks.tokens, 7),
        blocks.actions, torch.where(blocks.mask, blocks.rewards, 1.0), blocks.ends | ~blocks.mask, blocks.mask,
    )  # fmt: skip
    assert torch.allclose(
        world_model_loss(network, blocks, 2).total, world_model_loss(network, other, 2).total
    )


@pytest.mark.parametrize("reward", ["sign", "two-hot"])
def test_micro_batches_add_up_to_the_batch(reward):
    network, blocks = small_world_model(reward=reward), masked_blocks()
    world_model_loss(network, blocks, 2).total.backward()
    whole = [p.grad.clone() for p in network.parameters() if p.requires_grad and p.grad is not None]
    network.zero_grad()
    counts = tuple(where.sum() for where in blocks.scored(2))
    for row in range(3):
        world_model_loss(network, blocks.rows(row, row + 1), 2, counts).total.backward()
    parts = [p.grad for p in network.parameters() if p.requires_grad and p.grad is not None]
    assert len(whole) == len(parts) > 10
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, parts, strict=True))


def test_lambda_returns_against_a_table():
    # discount 0.5, lambda 0.5; row 0 by hand from the right: G3 = V3 = 8
    # t=2: 1 + 0.5 * (0.5*8 + 0.5*8) = 5;  t=1: end, so 2;  t=0: 0 + 0.5 * (0.5*2 + 0.5*2) = 1
    # row 1, no end: t=2: 0 + 0.5 * 4 = 2;  t=1: 1 + 0.5 * (0.5*6 + 0.5*2) = 3;  t=0: -1 + 0.5 * (0.5*2 + 0.5*3) = 0.25
    rewards = torch.tensor([[0.0, 2.0, 1.0], [-1.0, 1.0, 0.0]])
    ends = torch.tensor([[False, True, False], [False, False, False]])
    values = torch.tensor([[9.0, 2.0, 7.0, 8.0], [9.0, 2.0, 6.0, 4.0]])
    found = lambda_returns(rewards, 0.5 * (1 - ends.float()), values, 0.5)
    assert torch.equal(found, torch.tensor([[1.0, 2.0, 5.0], [0.25, 3.0, 2.0]]))


def test_two_hot_values_begin_at_zero_and_weigh_what_they_are_told():
    torch.manual_seed(0)
    config = dataclasses.replace(
        SMALL, actor_critic=dataclasses.replace(SMALL.actor_critic, value="two-hot")
    )
    actor = ActorCritic(config)
    picture = torch.randn(
        2, config.tokenizer.code_dim, config.tokenizer.grid, config.tokenizer.grid
    )
    _, outputs, _ = actor.observe(picture, actor.begin(2))
    assert actor.value.mean(outputs).abs().max() < 1e-5
    assert outputs.softmax(-1)[:, actor.value.centres.abs() > 1].sum(-1).max() < 0.05
    actions, ends = torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3, dtype=torch.bool)
    policies, outputs = Categorical(torch.randn(2, 3, 3)), outputs[:, None].expand(2, 4, -1)
    imagined = Imagination(policies, actions, outputs, torch.ones(2, 3), ends)
    constants = (CONSTANTS, dataclasses.replace(CONSTANTS, value_weight=0.25))
    full, part = (actor_critic_loss(imagined, actor.value, some) for some in constants)
    assert torch.allclose(full.total - part.total, 0.75 * full.value) and full.value > 0


def test_steps_after_an_imagined_end_teach_nothing():
    torch.manual_seed(0)
    actor = ActorCritic(SMALL)
    logits = torch.randn(2, 4, 3, requires_grad=True)
    outputs = torch.randn(2, 5, 1, requires_grad=True)
    ends = torch.tensor([[False, True, False, False], [False, False, False, False]])
    imagined = Imagination(
        Categorical(logits), torch.zeros(2, 4, dtype=torch.long), outputs, torch.ones(2, 4), ends
    )
    actor_critic_loss(imagined, actor.value, CONSTANTS).total.backward()
    assert (logits.grad.abs().sum(-1) > 0).tolist() == [[True, True, False, False], [True] * 4]
    assert (outputs.grad.abs().sum(-1) > 0).tolist() == [
        [True, True, False, False, False],
        [True] * 4 + [False],
    ]


def test_parameter_counts_of_the_paper():
    config = preset("rem", facts(4)).networks
    counts = [
        sum(p.numel() for p in network.parameters())
        for network in (Tokenizer(config.tokenizer), TokenWorldModel(config), ActorCritic(config))
    ]
    for count, millions in zip(counts, (3.19, 4.76, 4.57), strict=True):
        assert abs(count / 1e6 - millions) < 0.01 * millions


def test_rows_do_not_see_one_another():
    network, (tokens, actions) = small_world_model(), some_blocks()
    with torch.no_grad():
        together, alone = network(tokens, actions), network(tokens[1:2], actions[1:2])
    assert (together.tokens[1:2] - alone.tokens).abs().max() < 1e-5


def test_a_token_depends_on_its_neighbourhood_alone_with_norms_per_place():
    """What changes in one corner of a frame leaves the opposite corner's features as they were; with the paper's norms it
    does not.
    """
    frames = torch.randint(0, 256, (1, 3, 64, 64)).float() / 127.5 - 1
    other = frames.clone()
    other[:, :, :8, :8] = 1.0
    for norm, far_is_equal in (("place", True), ("frame", False)):
        torch.manual_seed(0)
        tokenizer = Tokenizer(
            dataclasses.replace(preset("tiny", facts()).networks.tokenizer, norm=norm)
        )
        before, after = tokenizer.encoder(frames), tokenizer.encoder(other)
        assert not torch.equal(before[..., :2, :2], after[..., :2, :2])
        assert torch.equal(before[..., 6:, 6:], after[..., 6:, 6:]) == far_is_equal
        counts = sum(parameter.numel() for parameter in tokenizer.parameters())
        assert counts == sum(
            p.numel() for p in Tokenizer(preset("tiny", facts()).networks.tokenizer).parameters()
        )
        assert tokenizer.decode(torch.zeros(1, 64, dtype=torch.long)).shape == (1, 64, 64, 3)
    with pytest.raises(UnknownNameError, match="frame, place"):
        dataclasses.replace(preset("tiny", facts()).networks.tokenizer, norm="batch")
