"""The one loop of imagination, on a model that counts and an actor that remembers."""

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atari_vlm.errors import ConfigError
from atari_vlm.experience.replay import Column
from atari_vlm.world_models.learned.heads import Categorical
from atari_vlm.world_models.learned.imagination import (
    Contexts,
    DreamConfig,
    Imagination,
    dream,
    imagine,
    state_before_last,
)
from atari_vlm.world_models.learned.model import (
    LatentStep,
    LearnedOptions,
    LearnedWorldModel,
    ModelFacts,
)


class Countdown(LearnedWorldModel[Tensor]):
    """A state is a number ``(B, 1)`` that actions bring down by 1 + action; at 0 the game is over. Rewards are actions."""

    context_length = 2

    def __init__(self, first_action=0, options=None):
        super().__init__(ModelFacts(("slow", "fast"), 1, "none"), options or LearnedOptions())
        self.observation_space = gymnasium.spaces.Box(-99, 99, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2, start=first_action)
        self.dreamed = False

    def read(self, inputs, actions):
        return inputs[:, -1] - actions.sum(1, keepdim=True)

    def imagine(self, state, action, *, generator):
        after = state - 1 - action[:, None]
        return LatentStep(after, action.double(), (after <= 0).squeeze(-1))

    def features(self, state):
        return state

    def show(self, state):
        return state


class Rhythm(nn.Module):
    """Slow and fast by turns; its memory ``(B,)`` counts the actions that were executed."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def begin(self, rows):
        return torch.zeros(rows)

    def observe(self, features, memory):
        fast = (memory % 2)[:, None]
        logits = torch.cat([1 - fast, fast], -1) * 100 * self.weight
        return Categorical(logits), features * self.weight, memory

    def executed(self, action, memory):
        return memory + 1


class RhythmPolicy:
    def __init__(self, actor):
        self.actor, self.inputs = actor, {"state": Column((1,), "float32")}
        self.action_space = gymnasium.spaces.Discrete(2)

    def begin(self, rows):
        return self.actor.begin(rows)

    def act(self, observations, state, *, generator, temperature=1.0):
        return np.zeros(len(observations["state"]), np.int64), state

    def executed(self, actions, state):
        return self.actor.executed(actions, state)

    def actor_memory(self, state):
        return state


def run(start, steps, **options):
    actor, model = Rhythm(), Countdown()
    states = torch.tensor(start)[:, None]
    generator = torch.Generator().manual_seed(0)
    memory = actor.begin(len(start))
    return imagine(model, states, actor, memory, steps=steps, generator=generator, **options), actor


def test_shapes_rewards_and_ends_are_those_of_the_steps():
    imagined, _ = run([9.0, 3.0, 1.0], 4)
    assert imagined.actions.tolist() == [[0, 1, 0, 1]] * 3
    assert imagined.outputs.shape == (3, 5, 1) and imagined.policies.logits.shape == (3, 4, 2)
    assert (
        imagined.rewards.dtype == torch.float32 and imagined.rewards.tolist() == [[0, 1, 0, 1]] * 3
    )
    assert imagined.ends.tolist() == [[False] * 4, [False, True, True, True], [True] * 4]
    assert imagined.outputs[0, :, 0].tolist() == [9, 8, 6, 5, 3]


def test_what_follows_an_end_is_no_part_of_a_rollout():
    imagined, _ = run([9.0, 3.0, 1.0], 4)
    assert imagined.alive.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert imagined.lengths.tolist() == [4, 2, 1] and imagined.returns.tolist() == [2, 1, 0]


def test_an_end_that_is_taken_back_stays_an_end():
    ends = torch.tensor([[False, True, False, True]])
    rewards = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    policies = Categorical(torch.zeros(1, 4, 2))
    imagined = Imagination(policies, torch.zeros(1, 4), torch.zeros(1, 5, 1), rewards, ends)
    assert imagined.lengths.tolist() == [2] and imagined.returns.tolist() == [3]


@pytest.mark.parametrize(
    ("start", "length"), [([3.0, 1.0], 2), ([1.0], 1), ([99.0], 6), ([1.0, 99.0], 6)]
)
def test_dreams_stop_when_every_row_is_over(start, length):
    imagined, _ = run(start, 6, until_over=True)
    assert imagined.actions.shape == (len(start), length)
    assert imagined.outputs.shape[1] == length + 1


def test_every_state_is_watched_once_the_start_included():
    watched = []
    run([9.0], 3, watch=lambda state: watched.append(float(state)))
    assert watched == [9, 8, 6, 5]


def test_gradients_go_through_the_actor_and_not_through_the_world():
    imagined, actor = run([9.0], 3)
    assert not imagined.rewards.requires_grad
    (imagined.outputs.sum() + imagined.policies.log_prob(imagined.actions).sum()).backward()
    assert actor.weight.grad is not None and float(actor.weight.grad) >= 9 + 8 + 6 + 5


def test_no_steps_are_no_imagination():
    with pytest.raises(ConfigError, match="steps"):
        run([9.0], 0)
    with pytest.raises(ConfigError, match="steps"):
        DreamConfig(steps=0)
    with pytest.raises(ConfigError, match="world_temperature"):
        DreamConfig(world_temperature=-0.5)


def contexts(mask):
    rows, length = np.shape(mask)
    inputs = {"state": np.full((rows, length, 1), 20.0, np.float32)}
    return Contexts(inputs, np.ones((rows, length), np.int64), np.array(mask))


def test_padding_leaves_no_trace_in_the_state_of_a_policy():
    policy = RhythmPolicy(Rhythm())
    state = state_before_last(policy, contexts([[True] * 4, [False, False, True, True]]))
    assert state.tolist() == [3, 1]  # the last step is still to be played


def test_a_dream_goes_on_from_real_steps_with_the_memory_of_them():
    policy = RhythmPolicy(Rhythm())
    mask = [[True] * 4, [False, True, True, True]]
    config = DreamConfig(steps=2, temperature=0.0)
    imagined = dream(policy, Countdown(), contexts(mask), config, torch.Generator())
    assert imagined.outputs[:, 0, 0].tolist() == [19, 19]  # 20, and one action on the way
    assert imagined.actions.tolist() == [[1, 0], [0, 1]]
    assert not imagined.outputs.requires_grad


def test_actions_are_checked_and_counted_from_the_start_of_the_space():
    model = Countdown(first_action=3)
    rng, observations = np.random.default_rng(0), np.full((2, 2, 1), 9, np.float32)
    state = model.init(observations, np.array([[3], [4]]), rng=rng)
    assert state.flatten().tolist() == [9, 8]
    step = model.step(state, np.array([4, 3]), rng=rng)
    assert step.reward.tolist() == [1, 0] and step.reward.dtype == np.float32
    assert step.terminated.dtype == np.bool_ and model.decode(step.state).tolist() == [[7], [7]]
    for wrong in ([2, 3], [3, 5], [0.5, 3.0]):
        with pytest.raises(ConfigError, match="whole numbers from 3 to 4"):
            model.step(state, np.array(wrong), rng=rng)
    with pytest.raises(ConfigError, match="from 3 to 4"):
        model.init(observations, np.array([[0], [4]]), rng=rng)


def test_another_temperature_leaves_the_model_as_it_is():
    model = Countdown(options=LearnedOptions(temperature=0.7))
    cold = model.at_temperature(0.0)
    assert (model.options.temperature, cold.options.temperature) == (0.7, 0.0)
    assert cold.for_dreams() is cold and cold.action_space is model.action_space
    with pytest.raises(ConfigError, match="temperature"):
        model.at_temperature(-1.0)


def test_nothing_that_a_model_returns_asks_for_gradients():
    model = Countdown()
    state = model.init(
        np.ones((1, 2, 1), np.float32), np.zeros((1, 1), np.int64), rng=np.random.default_rng(0)
    )
    assert not state.requires_grad and state.is_inference()
