"""``check_learner`` on REM, which keeps every promise, and on learners that break one each."""

import functools

import numpy as np
import pytest
import torch
from rem_helpers import facts, toy_settings

from atari_vlm.checker import check_learner
from atari_vlm.errors import ContractError
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
