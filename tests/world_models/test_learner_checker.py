"""``check_learner`` on REM, which keeps every promise, and on learners that break one each."""

import functools
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from rem_helpers import facts, toy_settings

from atari_vlm.checker import check_learner
from atari_vlm.errors import ContractError
from atari_vlm.world_models import families
from atari_vlm.world_models.rem.learner import RemLearner
from atari_vlm.world_models.rem.policy import RemPolicy


def made(kind, workplace):
    return kind(toy_settings(), facts(), workplace)


def test_rem_keeps_its_promises():
    check_learner(functools.partial(made, RemLearner), updates=1)


class Infinite(RemLearner):
    """A loss that is no number."""

    def update(self, stage):
        return {**super().update(stage), "total": float("nan")}


class Forgetful(RemLearner):
    """Restores everything but its random streams."""

    def restore(self, arrays):
        own = self.streams.arrays()
        super().restore(arrays)
        self.streams.restore(own)


class Unfinished(RemLearner):
    """Keeps a count that no checkpoint knows, and learns by it."""

    calls = 0

    def improve_tokenizer(self):
        self.calls += 1
        with torch.no_grad():
            self.networks.tokenizer.codes.weight += 1e-3 * self.calls
        return super().improve_tokenizer()


class Neighbours(RemPolicy):
    """Rows see the mean of all rows."""

    def act(self, observations, state, *, generator, temperature=1.0):
        image = observations["image"]
        mixed = (image // 2 + image.mean(0).astype(np.uint8) // 2).astype(np.uint8)
        return super().act({"image": mixed}, state, generator=generator, temperature=temperature)


class Mixed(RemLearner):
    """Has such a policy."""

    def policy(self):
        return Neighbours(self.networks.tokenizer, self.networks.actor)


class Unpublished(RemLearner):
    """Publishes other weights than it has."""

    def weights(self):
        weights = super().weights()
        for name in weights:
            if name.startswith("world_model.reward_head"):
                weights[name] = -weights[name] + 5
        return weights

    def arrays(self):
        return super().arrays() | RemLearner.weights(self)


class Studying(RemLearner):
    """Learns from what it is only to be measured on."""

    def held_out(self, replay, epoch):
        self.improve_tokenizer()
        return super().held_out(replay, epoch)


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Infinite, "finite numbers"),
        (Forgetful, "restored learner"),
        (Unfinished, "to the bit"),
        (Mixed, "depends on that row only"),
        (Unpublished, "make the model"),
        (Studying, "change nothing"),
    ],
)
def test_a_broken_promise_is_named(kind, promise):
    with pytest.raises(ContractError, match=promise):
        check_learner(functools.partial(made, kind), updates=1)


@pytest.fixture
def toy(monkeypatch):
    """The family of a foreign package, known while the test lasts."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "helpers" / "foreign"))
    module = importlib.import_module("toy_family")
    monkeypatch.setitem(families._FAMILIES, "toy", (module.FAMILY, "a foreign package"))
    return module


def toy_maker(toy, **replaced):
    """Makes toys some of whose methods are others: functions of the learner and the true method."""

    def make(workplace):
        learner = toy.ToyLearner(toy.preset("small", facts()), facts(), workplace)
        for name, other in replaced.items():
            setattr(learner, name, functools.partial(other, learner, getattr(learner, name)))
        return learner

    return make


def test_a_foreign_family_keeps_its_promises(toy):
    check_learner(toy_maker(toy))


def one_name_for_two(learner, update, stage):
    learner.calls = getattr(learner, "calls", 0) + 1
    return {f"loss{learner.calls}": value for value in update(stage).values()}


def as_tensors(learner, arrays):
    return {name: torch.from_numpy(array.copy()) for name, array in arrays().items()}


def without_optimizers(learner, arrays):
    return {name: array for name, array in arrays().items() if "optimizer" not in name}


def restored_halfway(learner, restore, arrays):
    restore({**arrays, "nets.head.bias": arrays["nets.head.bias"] * 0})


def other_policy(act=None, **attributes):
    def policy(learner, made):
        player = made()
        if act is not None:
            player.act = functools.partial(act, player.act)
        for name, value in attributes.items():
            setattr(player, name, value)
        return player

    return policy


def overwrites(act, observations, state, **how):
    state += 1
    return act(observations, state, **how)


def leaves_the_game(act, observations, state, **how):
    actions, after = act(observations, state, **how)
    return actions + 3, after


def talks_to_its_neighbours(act, observations, state, **how):
    actions, after = act(observations, state, **how)
    return actions, after + observations["image"].mean()


def forgets_a_row(act, observations, state, **how):
    actions, after = act(observations, state, **how)
    return actions[1:], after


@pytest.mark.parametrize(
    ("replaced", "promise"),
    [
        ({"update": one_name_for_two}, "the same names"),
        ({"update": lambda one, true, stage: {"loss": float("inf")}}, "finite numbers, got"),
        ({"held_out": lambda one, true, *_: {"loss": float("nan")}}, "held_out reports finite"),
        ({"arrays": as_tensors}, "holds numpy arrays"),
        ({"arrays": without_optimizers}, "to the bit; nets"),
        ({"restore": restored_halfway}, "nets.head.bias are not"),
        ({"policy": other_policy(overwrites)}, "does not change the state that it is given"),
        ({"policy": other_policy(leaves_the_game)}, "the policy acts within"),
        ({"policy": other_policy(talks_to_its_neighbours)}, "depends on that row only"),
        ({"policy": other_policy(forgets_a_row)}, "an action a row"),
        ({"policy": other_policy(inputs={"state": None})}, "it lacks state"),
    ],
)
def test_a_foreign_fault_is_named_by_its_promise(toy, replaced, promise):
    with pytest.raises(ContractError, match=promise):
        check_learner(toy_maker(toy, **replaced))


def test_a_learner_without_stages_learns_nothing(toy):
    def make(workplace, stages=0):
        learner = toy.ToyLearner(toy.preset("small", facts()), facts(), workplace)
        learner.stages = learner.stages[:1] * stages
        return learner

    with pytest.raises(ContractError, match="one at least"):
        check_learner(make)
    with pytest.raises(ContractError, match="names of their own, got model, model"):
        check_learner(functools.partial(make, stages=2))
