"""What must hold between the two processes of a run. Every rank asserts."""

import dataclasses
import functools

import numpy as np
import torch
from dreamers import SMALL, dreamer_trainer
from rem_helpers import NETWORKS, StopAt, rem_learner, rem_trainer, toy_settings
from replay_helpers import add_step, picture_replay
from torch.nn.functional import one_hot

from atari_vlm.errors import ConfigError, MismatchError, StoppedError
from atari_vlm.training.imagination.checkpoints import Checkpoints
from atari_vlm.trees import map_leaves
from atari_vlm.world_models.dreamer import rssm
from atari_vlm.world_models.dreamer.language import networks as language
from atari_vlm.world_models.learned import heads
from atari_vlm.world_models.learned.actor_critic import ReturnScale
from atari_vlm.world_models.learned.team import Team
from atari_vlm.world_models.rem import learner as learner_module

BATCH = 8
EPOCHS = 4  # of the Dreamer


def settings():
    """Batches of eight, no clipping, no dropout, standardised advantages."""
    toy = toy_settings()
    world = dataclasses.replace(NETWORKS.world_model, dropout=0.0)
    changed = {"networks": dataclasses.replace(NETWORKS, world_model=world)}
    for name in ("tokenizer", "world_model", "actor_critic"):
        part = getattr(toy, name)
        updates = dataclasses.replace(part.updates, batch=BATCH, micro_batch=3, max_norm=1e9)
        more = {"normalise": True} if name == "actor_critic" else {}
        more |= {"restart_unused": 0} if name == "tokenizer" else {}
        changed[name] = dataclasses.replace(part, updates=updates, **more)
    return dataclasses.replace(toy, **changed)


def replay_of_noise():
    rng, replay = np.random.default_rng(0), picture_replay(100, 16)
    for n in range(60):
        frame = rng.integers(0, 256, (16, 16, 3), np.uint8)
        add_step(replay, frame, n % 3, float(n % 2), n % 9 == 8, False)
    return replay


def gradients(team, monkey):
    """The gradient of each network's update on fixed rows, of which ``team``'s rank has its part."""
    learner = rem_learner(settings(), replay_of_noise(), 0, team)
    rng, part = (
        np.random.default_rng(1),
        slice(team.rank * team.share(BATCH), (team.rank + 1) * team.share(BATCH)),
    )
    slots = learner.replay.any_slots(BATCH, rng)
    segments = learner.replay.segments(BATCH, 5, rng, least=3)
    starts = learner.start_states(BATCH)  # of stream 0: rank 1 is given rank 0's below
    starts = map_leaves(team.from_first, starts)
    learner.replay.any_slots = lambda count, _: slots[part]
    learner.replay.segments = lambda count, *_, **__: segments.rows(part)
    learner.start_states = lambda count: starts

    def imagined_part(*whole, generator, **options):
        every = monkey(*whole, generator=torch.Generator().manual_seed(5), **options)
        return map_leaves(lambda leaf: leaf[part], every)

    learner_module.imagine = imagined_part
    found, metrics = {}, {}
    for name in ("tokenizer", "world_model", "actor_critic"):
        optimizer = learner.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]

        def keep(name=name, parameters=parameters):
            found[name] = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])

        optimizer.step = keep
        metrics[name] = getattr(learner, f"improve_{name}")()
    learner_module.imagine = monkey
    return found, metrics, learner.replay.arrays()["priority"]


def check_gradients(team):
    whole, of_whole, priority = (
        gradients(Team(), learner_module.imagine) if team.rank == 0 else (None, None, None)
    )
    parts, of_parts, shared_priority = gradients(team, learner_module.imagine)
    for name, gradient in parts.items():
        true = team.from_first(whole[name] if whole is not None else gradient)
        gap = float((gradient - true).abs().max() / true.abs().max())
        assert gap < 1e-5 and float(true.abs().max()) > 0, (name, gap)
        if of_whole is not None:
            for key, value in of_whole[name].items():
                assert abs(of_parts[name][key] - value) <= 1e-4 * max(abs(value), 1e-2), (name, key)
    every = team.gather(torch.from_numpy(shared_priority)[None])
    assert (every[0] == every[1]).all()
    if priority is not None:
        assert np.allclose(priority, shared_priority, rtol=1e-5) and len(np.unique(priority)) > 2


def check_disagreement(team):
    learner = rem_learner(settings(), replay_of_noise(), 0, team)
    team.check_equal(learner.weights())
    if team.rank == 1:
        learner.networks.actor.policy_head.bias.data[0] += 1e-7
    try:
        team.check_equal(learner.weights())
    except MismatchError as error:
        assert "differ between the processes" in str(error)
    else:
        raise AssertionError("different weights were not noticed")
    try:
        team.share(7)
    except ConfigError as error:
        assert "batch of 7" in str(error)
    else:
        raise AssertionError("a batch of 7 was shared by 2")


def check_sequences(team, folder):
    """A Dreamer's gradient of a batch is the sum of those of its parts, where nothing is drawn by chance."""
    trainer = dreamer_trainer(folder, epochs=1, team=team)
    for _ in range(2):
        trainer.collect(1)
        trainer.replay.saved()
    learner, fresh = trainer.learner, trainer.learner.fresh
    rows = learner.settings.learning.batch
    begins = fresh.waiting()[:rows]
    with (
        torch.no_grad()
    ):  # values that differ, so that their range matters, which is that of the whole batch
        for head in (learner.networks.reward, learner.networks.critic):
            head[-1].weight.normal_(generator=torch.Generator().manual_seed(1))
            head[-1].bias[SMALL.bins // 2 - 1 : SMALL.bins // 2 + 2] = 40.0  # -16, 0, 16
    likeliest = torch.Tensor.argmax
    for module in (rssm, heads, language):
        module.categorical = lambda logits, *_: likeliest(logits, -1)
    rssm.drawn = lambda logits, *_: one_hot(likeliest(logits, -1), logits.shape[-1]).float()
    rssm.drawn = lambda likely, _: likely.ge(likely.amax(-1, keepdim=True)).to(likely.dtype)
    learner.networks.follow = lambda rate: None
    drawn, found = learner._batch, {}

    def gradient_of(team, part):
        learner.team, learner.rows = team, len(begins[part])
        learner.scale = ReturnScale()
        learner._batch = lambda replay, count, rng, _: drawn(replay, count, rng, begins[part])
        parameters = learner.networks.trained()

        def keep(_):
            team.sum_gradients(parameters)
            found[team.size] = torch.cat([p.grad.flatten() for p in parameters])
            learner.networks.zero_grad()
            return 0.0

        learner.optimizers.apply = keep
        metrics = learner.update("dreamer")
        return {**metrics, "range": float(learner.scale.range)}

    own = slice(team.rank * rows // 2, (team.rank + 1) * rows // 2)
    learner._keep = lambda batch, reading: None  # both read what nobody has read before
    of_whole = gradient_of(Team(), slice(rows))
    del learner._keep
    of_parts = gradient_of(team, own)
    kept = trainer.replay.kept()  # latents of all parts are kept by every rank
    team.check_equal({name: trainer.replay.read(name, kept) for name in ("latent_h", "latent_z")})
    assert trainer.replay.read("latent_z", kept).any()
    gap = float((found[1] - found[2]).abs().max() / found[1].abs().max())
    assert len(begins) == rows and gap < 1e-3, gap  # norms of small numbers
    assert of_parts.keys() == of_whole.keys()
    for name, value in of_whole.items():
        assert abs(of_parts[name] - value) <= 1e-4 * max(abs(value), 1e-2), name
    assert of_whole["range"] > 0.1
    trainer.close()


def check_training(team, folder, make_trainer):
    """Stopped and resumed is uninterrupted, weights, replays and codes are equal; only rank 0 writes."""
    whole = make_trainer(folder / "whole", seed=4, team=team)
    found = whole.train()
    team.check_equal(whole.learner.weights())
    replay, slots = whole.replay, whole.replay.kept()
    team.check_equal({name: replay.read(name, slots) for name in replay.columns})
    team.check_equal({name: replay.arrays()[name] for name in ("cursor", "starts", "priority")})
    streams = team.gather(
        torch.from_numpy(whole.learner.streams.arrays()["numpy"].view(np.uint8).copy())[None]
    )
    assert (streams[0] != streams[1]).any()  # each rank draws its own rows
    assert ("evaluation/return" in found) == (team.rank == 0)
    for updates in (3, 9):
        stop = StopAt(updates) if team.rank == 0 else None  # one rank is told: all stop
        trainer = make_trainer(folder / "parts", seed=4, team=team, stop=stop)
        try:
            trainer.train()
        except StoppedError:
            continue
        raise AssertionError("no stop")
    make_trainer(folder / "parts", seed=4, team=team).train()
    if team.rank == 0:
        a, b = (
            Checkpoints(folder / name / "checkpoints").newest()[1].tensors
            for name in ("whole", "parts")
        )
        assert a.keys() == b.keys() and "ranks.numpy" in a
        assert [name for name in a if not np.array_equal(a[name], b[name])] == []


def check(team, folder):
    """All of it; files go into the folder."""
    torch.set_num_threads(1)
    check_gradients(team)
    check_disagreement(team)
    check_training(team, folder / "rem", rem_trainer)
    check_training(team, folder / "dreamer", functools.partial(dreamer_trainer, epochs=EPOCHS))
    check_sequences(team, folder / "sequences")
