"""A Dreamer's learner: held to the contract, and what each of its losses teaches whom."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from dreamers import BOTH, FLOATS, PARTS, SMALL, STATE, TWO, facts_of, settings_of, small

from atari_vlm.actions import random_actions
from atari_vlm.checker import check_learner
from atari_vlm.errors import ConfigError, DivergedError, RunError, UnknownNameError
from atari_vlm.experience.replay import Replay
from atari_vlm.training.imagination.options import train_options
from atari_vlm.world_models.dreamer.config import CoreConfig
from atari_vlm.world_models.dreamer.learner import make_learner
from atari_vlm.world_models.dreamer.learning import dreamed, player_losses, read
from atari_vlm.world_models.dreamer.settings import preset
from atari_vlm.world_models.learned.device import Device
from atari_vlm.world_models.learned.learner import Workplace
from atari_vlm.world_models.learned.team import Team

KINDS = {
    "vector": (STATE, TWO, {}),
    "picture and vector, floats": (BOTH, FLOATS, {}),
    "parts": (STATE, PARTS, {}),
    "of 2023": (STATE, TWO, {"generation": "2023", "core": CoreConfig("gru", sizes={"learned_start": True})}),
    "mamba": (
        STATE,
        TWO,
        {"core": CoreConfig("mamba", 3, {"width": 16, "layers": 1}), "posterior": "observation"},
    ),
}  # fmt: skip


def learner_of(observation_space=STATE, action_space=TWO, networks=SMALL, steps=60, **changes):
    """A learner with some random play."""
    facts = facts_of(observation_space, action_space)

    def opened(columns, *, arrivals=False):
        return Replay(columns, 500, arrivals=arrivals)

    workplace = Workplace(opened, Device(), Team(), 0)
    learner = make_learner(settings_of(facts, networks, **changes), facts, workplace)
    rng = np.random.default_rng(0)
    actions = random_actions(action_space, (steps,), rng)
    for t in range(steps):
        learner.replay.add(step(learner, rng, actions[t], t % 7 == 6), after=seen(learner, rng))
    return learner


def seen(learner, rng):
    columns = learner.networks.keys.columns
    return {
        name: rng.integers(256, size=c.shape).astype(np.uint8)
        if c.dtype == "uint8"
        else rng.normal(size=c.shape).astype(np.float32)
        for name, c in columns.items()
    }


def step(learner, rng, action, ends):
    ended = {"terminated": ends, "truncated": False}
    return {**seen(learner, rng), "action": action, "reward": float(rng.integers(3)), **ended}


def batch_of(learner, rows=3):
    return learner._batch(learner.replay, rows, np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_contract(kind):
    observation_space, action_space, sizes = KINDS[kind]
    facts = facts_of(observation_space, action_space)
    changes = {"learning": {"optimizer": "adam"}} if kind == "of 2023" else {}
    settings = settings_of(facts, small(**sizes), **changes)
    check_learner(functools.partial(make_learner, settings, facts), updates=1)


def test_a_batch_says_what_led_to_each_observation():
    """Episodes of seven steps: on arrival the end stands, the reward of the last step, and no reward on a beginning."""
    learner = learner_of()
    rewards = []
    for env_step in range(7):
        slot = learner.replay.slots(np.array([env_step]))
        rewards.append(float(learner.replay.read("reward", slot)[0]))
    segments = learner.replay.segments(1, 9, np.random.default_rng(0), across_episodes=True)
    begin = dataclasses.replace(
        segments, slots=np.arange(9)[None], is_first=np.isin(np.arange(9), [0, 8])[None]
    )
    from atari_vlm.world_models.dreamer.batches import read_batch

    batch = read_batch(learner.replay, begin, learner.networks, "cpu")
    assert batch.rewards[0].tolist() == [
        0.0,
        *rewards[1:],
        0.0,
    ]  # nothing is known of what led to the first
    assert batch.terminal[0].tolist() == [False] * 6 + [True, False]
    assert batch.reset[0].tolist() == [True] + [False] * 6 + [True]
    codes = learner.replay.read("action", np.arange(8)) - 3
    assert batch.actions[0].argmax(-1).tolist() == codes.tolist()


def test_latents_are_kept_and_a_sequence_goes_on_from_them():
    learner = learner_of()
    assert batch_of(learner).reset[:, 0].all()  # nothing is known yet
    for _ in range(40):
        learner.update("dreamer")
    batch = batch_of(learner)
    known = ~batch.reset[:, 0]
    assert known.any()
    assert (batch.latent.z[known].view(-1, SMALL.groups, SMALL.classes).sum(-1) == 1).all()
    assert batch.latent.h[known].abs().sum() > 0


def test_fresh_sequences_are_learned_from_once_and_first():
    learner = learner_of()
    rows = learner.settings.learning.rows
    assert len(learner.fresh.waiting()) > 3
    slots = [learner.fresh.waiting()[:3]]
    seen_first = []
    learner._keep = lambda batch, reading: seen_first.append(batch.slots)
    learner.update("dreamer")
    begins = learner.replay.slots(slots[0])
    assert np.array_equal(seen_first[0], begins[:, None] + np.arange(1, rows))
    while len(learner.fresh.waiting()):
        learner.update("dreamer")
    learner.update("dreamer")  # and then drawn ones


def test_without_a_context_every_sequence_begins_anew():
    learner = learner_of(learning={"context": 0})
    learner.update("dreamer")
    assert "latent_h" not in learner.replay.columns and batch_of(learner).reset[:, 0].all()


@pytest.mark.parametrize("action_space", [TWO, PARTS, FLOATS])
def test_the_player_learns_from_dreams_and_the_world_model_does_not(action_space):
    """REINFORCE: a gradient for every actor, also of floats (which got none in the source system), none for the dream."""
    learner = learner_of(action_space=action_space)
    networks, batch = learner.networks, batch_of(learner)
    with torch.no_grad():  # rewards that differ, so that advantages do
        networks.reward[-1].weight.normal_()
        networks.critic[-1].weight.normal_()
    reading = read(networks, batch, learner.streams.generator, 2)
    dream = dreamed(networks, batch, reading.kept, 3, learner.streams.generator)
    losses, returns = player_losses(
        networks, dream, learner.settings.behaviour, learner.scale, lambda rows: rows
    )
    assert returns.shape == (6, 3) and dream.features.shape == (6, 4, SMALL.features)
    losses["policy"].backward(retain_graph=True)
    assert all(p.grad is not None and p.grad.any() for p in networks.actor[-1].parameters())
    losses["value"].backward()
    assert all(p.grad is not None for p in networks.critic.parameters())
    for part in (networks.rssm, networks.encoder, networks.reward, networks.goes_on):
        assert all(p.grad is None for p in part.parameters())


def test_replayed_values_reach_the_world_model():
    learner = learner_of(losses={name: 0.0 for name in (
        "reconstruction", "reward", "goes_on", "dynamics", "representation", "policy", "value")})  # fmt: skip
    with torch.no_grad():
        learner.networks.critic[-1].weight.normal_()
    total, parts, _ = learner.losses(batch_of(learner))
    assert float(total.detach()) == pytest.approx(0.3 * float(parts["replay_value"].detach()))
    total.backward()
    assert learner.networks.encoder.parts["vectors"].layers[0][0].weight.grad.any()


def test_it_learns_what_follows():
    """A counter that goes up by the action: after some updates its next value is foretold, and the reward."""
    learner = learner_of(steps=0, learning={"learning_rate": 3e-3, "warm_up": 10, "batch": 8})
    rng, at = np.random.default_rng(0), 0
    for t in range(300):
        action = int(rng.integers(2))
        shown = {"state": np.full(3, at, np.float32)}
        at = (at + action) % 3
        ended = {"terminated": False, "truncated": t == 299}
        learner.replay.add({**shown, "action": action + 3, "reward": float(at == 0), **ended})
    first = [learner.update("dreamer") for _ in range(5)]
    for _ in range(80):
        last = learner.update("dreamer")
    assert last["reconstruction"] < 0.2 * first[0]["reconstruction"]
    assert last["reward"] < 0.5 * first[0]["reward"]


def test_a_loss_that_is_no_number_stops_before_anything_is_learned():
    learner = learner_of()
    with torch.no_grad():
        learner.networks.reward[-1].bias.fill_(float("nan"))
    before = learner.weights()
    with pytest.raises(DivergedError, match="reward") as caught:
        learner.update("dreamer")
    assert {"slots", "rewards", "inputs/state"} <= caught.value.arrays.keys()
    after = learner.weights()
    assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in before)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("can't allocate memory"),
    ],
)
def test_too_small_a_memory_is_told_with_what_to_lower(error, monkeypatch):
    learner = learner_of()
    monkeypatch.setattr(learner, "losses", lambda batch: (_ for _ in ()).throw(error))
    with pytest.raises(
        RunError, match=r"3 x 5 observations .* from 6 of them; lower learning.batch"
    ):
        learner.update("dreamer")


def test_another_fault_of_torch_stays_what_it_is(monkeypatch):
    learner = learner_of()
    fault = RuntimeError("shapes")
    monkeypatch.setattr(learner, "losses", lambda batch: (_ for _ in ()).throw(fault))
    with pytest.raises(RuntimeError, match="shapes"):
        learner.update("dreamer")


def test_warm_start_takes_some_networks():
    one, other = learner_of(), learner_of(networks=SMALL)
    other.update("dreamer")
    other.update("dreamer")
    one.warm_start(other.weights(), ("actor",))
    ours, theirs = one.weights(), other.weights()
    assert np.array_equal(ours["dreamer.actor.1.weight"], theirs["dreamer.actor.1.weight"])
    assert not np.array_equal(
        ours["dreamer.rssm.prior.0.0.weight"], theirs["dreamer.rssm.prior.0.0.weight"]
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning": {"length": 1}, "behaviour": {"imag_last": 0}}, "follow one another"),
        ({"capacity": 5}, "lower learning.length or raise capacity"),
        ({"behaviour": {"imag_last": 9}}, "at most at all of them"),
        ({"learning": {"optimizer": "sgd"}}, "laprop"),
        ({"learning": {"decay": 50}}, "beyond warm_up"),
        ({"learning": {"decay": 5000, "optimizer": "adam"}}, "with laprop"),
        ({"learning": {"context": 2}}, "context 0 or 1"),
    ],
)
def test_settings_that_cannot_be_meant(changes, said):
    with pytest.raises(ConfigError, match=said):
        settings_of(facts_of(), **changes)


def test_presets_of_2023_are_learned_with_its_constants():
    settings = preset("xs", facts_of())
    assert settings.learning.optimizer == "adam" and settings.losses.dynamics == 0.5
    assert not settings.losses.replay_value and settings.networks.generation == "2023"
    assert preset("paper-v1-xs", facts_of()) == settings
    assert preset("paper-v1", facts_of()) == preset("s", facts_of())
    options = train_options("dreamer")(game="CartPole-v1", preset="xs", paper_v1=True)
    assert options.preset == "paper-v1-xs"
    with pytest.raises(UnknownNameError, match="paper-v1-m"):
        preset("paper-v1-12m", facts_of())
    nature = preset("12m", facts_of())
    assert (nature.learning.batch, nature.learning.length, nature.behaviour.steps) == (16, 64, 15)
    assert nature.losses.dynamics == 1.0 and nature.learning.learning_rate == 4e-5
