"""check_world_model passes what keeps the protocol and names what breaks it."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
from stepping import rollout_by_steps
from track import BOX, FROM_ONE, TrackModel

from atari_vlm.checker import check_world_model
from atari_vlm.errors import ContractError
from atari_vlm.trees import take_rows
from atari_vlm.world_models import CatchWorldModel, EmulatorWorldModel
from atari_vlm.world_models.base import ModelStep, StartFrames


class Catch(CatchWorldModel):
    """Small, and long enough that balls land and are drawn anew within a check."""

    def __init__(self):
        super().__init__(4, 5, cell_px=2, num_balls=4)


def test_the_shipped_models_keep_the_protocol():
    check_world_model(CatchWorldModel(), steps=9)
    check_world_model(Catch(), rows=7, steps=9)
    real = gymnasium.make("AtariVLM/Breakout-v5", repeat_action_probability=0.0)
    real.reset(seed=0)
    start = StartFrames(real.render()[None, None].repeat(3, 0), np.zeros((3, 0), int))
    check_world_model(EmulatorWorldModel(real), start, rows=3, steps=4)
    real.close()


def test_one_row_and_start_frames_of_somebody_else():
    check_world_model(Catch(), Catch().start, rows=1, steps=3)


class WithoutStart(Catch):
    start = None


class ChangesItsState(Catch):
    def step(self, state, action, *, rng):
        step = super().step(state, action, rng=rng)
        state.paddle[:] = step.state.paddle
        return step


class ChangesTheActions(Catch):
    def step(self, state, action, *, rng):
        step = super().step(state, action, rng=rng)
        action[:] = 0
        return step


class ChangesTheContext(Catch):
    def init(self, observations, actions, *, rng):
        state = super().init(observations, actions, rng=rng)
        observations[0, 0, 0, 0] ^= 255
        return state


class RollsItsOwnDice(Catch):
    def step(self, state, action, *, rng):
        return super().step(state, action, rng=np.random.default_rng())


class RemembersTheCall(Catch):
    calls = 0

    def step(self, state, action, *, rng):
        self.calls += 1
        return super().step(state, (action + self.calls // 5) % 3, rng=rng)


class MixesRewards(Catch):
    def step(self, state, action, *, rng):
        step = super().step(state, action, rng=rng)
        return dataclasses.replace(step, reward=step.reward + np.float32(state.paddle.mean()))


class MixesStates(Catch):
    def step(self, state, action, *, rng):
        return super().step(
            dataclasses.replace(state, paddle=np.roll(state.paddle, 1)), action, rng=rng
        )


class PlaysByPosition(CatchWorldModel):
    """Deterministic, but a row's number says how it moves."""

    def step(self, state, action, *, rng):
        return super().step(state, (action + np.arange(len(action))) % 3, rng=rng)


class GivesItsMemoryAway(Catch):
    start = Catch().start

    def init(self, observations, actions, *, rng):
        self.shown = observations[:, -1].copy()
        return {"shown": self.shown, "n": np.arange(len(observations))}

    def step(self, state, action, *, rng):
        n = len(action)
        return ModelStep(take_rows(state, np.arange(n)), np.zeros(n, np.float32), np.zeros(n, bool))

    def decode(self, state):
        return state["shown"]


class DreamsOfNoise(Catch):
    def decode(self, state):
        frames = super().decode(state)
        frames[:, 0, 0] = np.random.default_rng().integers(0, 255, 3)
        return frames


class Returns(Catch):
    def __init__(self, **parts):
        super().__init__()
        self.parts = parts

    def step(self, state, action, *, rng):
        step = super().step(state, action, rng=rng)
        changed = {name: change(getattr(step, name)) for name, change in self.parts.items()}
        return dataclasses.replace(step, **changed)


class Shows(Catch):
    start = Catch().start

    def __init__(self, change):
        super().__init__()
        self.change = change

    def decode(self, state):
        return self.change(super().decode(state))


class Claims(Catch):
    def __init__(self, **claims):
        super().__init__()
        for name, value in claims.items():
            setattr(self, name, value)


MUTANTS = [
    (WithoutStart(), "start=StartFrames"),
    (ChangesItsState(), "does not change the state"),
    (ChangesTheActions(), "does not change the actions"),
    (ChangesTheContext(), "does not change its context"),
    (RollsItsOwnDice(), "equal seeds"),
    (RemembersTheCall(), "equal seeds"),
    (MixesRewards(), "rewards of a row depend on that row"),
    (MixesStates(), "frames of a row depend on that row"),
    (PlaysByPosition(), "frames of a subset of rows"),
    (GivesItsMemoryAway(), "own memory"),
    (DreamsOfNoise(), "always the same"),
    (Returns(reward=lambda r: r.astype(np.float64)), "reward is an array of float32"),
    (Returns(reward=lambda r: r[:, None]), "reward is an array of float32"),
    (Returns(reward=lambda r: r + np.float32("nan")), "finite"),
    (Returns(reward=list), "reward is an array of float32"),
    (Returns(terminated=lambda t: t.astype(int)), "terminated is an array of bool"),
    (Returns(terminated=lambda t: t[:1]), "terminated is an array of bool"),
    (Shows(lambda f: f[:, :-1]), "decode"),
    (Shows(lambda f: f.astype(np.float32)), "decode"),
    (Shows(list), "decode"),
    (Shows(lambda f: f[:1]), "decode"),
    (Claims(frame_skip=0), "frame_skip"),
    (Claims(frame_skip=4.0), "frame_skip"),
    (Claims(reward_transform="log"), "reward_transform"),
    (Claims(action_names=("NOOP",)), "one name for each"),
    (Claims(action_space=3), "gymnasium space"),
    (
        Claims(observation_space=gymnasium.spaces.Box(0, 9, (8, 10, 3), np.uint8)),
        "lie in observation_space",
    ),
    (object(), "a world model has"),
]


@pytest.mark.parametrize(
    ("mutant", "promise"), MUTANTS, ids=lambda value: getattr(value, "__class__", value).__name__
)
def test_a_broken_model_is_named(mutant, promise):
    with pytest.raises(ContractError, match=promise):
        check_world_model(mutant, steps=9)


def test_a_model_that_draws_rarely_is_not_accused():
    class Rare(CatchWorldModel):
        def step(self, state, action, *, rng):
            step = super().step(state, action, rng=rng)
            return dataclasses.replace(
                step, reward=(rng.random(len(action)) < 0.01).astype(np.float32)
            )

    for seed in range(20):
        check_world_model(Rare(4, 5, cell_px=2), seed=seed)


class Able(Catch):
    """Catch with one ball that can do all a model may: what it does besides is made of ``init``, ``step`` and the state."""

    def __init__(self):
        CatchWorldModel.__init__(self, 6, 5, cell_px=2)

    def observe(self, state, action, observation, *, rng):
        return self.init(observation[:, None], np.zeros((len(observation), 0), int), rng=rng)

    def rollout(self, state, plans, *, rng):
        return rollout_by_steps(self, state, plans, rng)

    def value(self, state):
        return (state.paddle - state.ball_column).astype(np.float64)

    def policy(self, state):
        towards = 1 + (state.paddle > state.ball_column)
        return 0.1 + 0.7 * np.eye(3)[towards]


class ObservesTheFirst(Able):
    def observe(self, state, action, observation, *, rng):
        return state


class ObservesInPlace(Able):
    def observe(self, state, action, observation, *, rng):
        state.paddle[:] = 0
        return state


class RollsTooShort(Able):
    def rollout(self, state, plans, *, rng):
        return super().rollout(state, plans[:, 1:], rng=rng)


class RollsSomethingElse(Able):
    def rollout(self, state, plans, *, rng):
        return super().rollout(state, plans[:, ::-1], rng=rng)


class ValuesOneForAll(Able):
    def value(self, state):
        return np.array(super().value(state).sum())


class ValuesNothing(Able):
    def value(self, state):
        return super().value(state) * np.nan


class ValuesTheMean(Able):
    def value(self, state):
        return super().value(state) - super().value(state).mean()


class DoesNotSumToOne(Able):
    def policy(self, state):
        return 2 * super().policy(state)


class ActsWithTooMany(Able):
    def policy(self, state):
        return np.full((len(state.paddle), 4), 0.25)


ABLE = {
    ObservesTheFirst: r"observe\(\) gives the state that init\(\) gives for the longer context",
    ObservesInPlace: r"observe\(\) does not change the state",
    RollsTooShort: r"reward is an array of float32 \(4, 6\)",
    RollsSomethingElse: r"rollout\(\) is equal to stepping",
    ValuesOneForAll: r"value\(\) returns an array of floats \(4,\)",
    ValuesNothing: r"value\(\) returns numbers",
    ValuesTheMean: r"value\(\) of a row depends on that row only",
    DoesNotSumToOne: r"policy\(\) returns probabilities, which sum to 1",
    ActsWithTooMany: r"policy\(\) returns an array of floats \(4, 3\)",
}


def test_what_a_model_can_do_besides_is_checked():
    check_world_model(Able())


@pytest.mark.parametrize("broken", ABLE)
def test_a_broken_promise_of_what_it_can_do_is_named(broken):
    with pytest.raises(ContractError, match=ABLE[broken]):
        check_world_model(broken())


def test_continuous_and_shifted_actions_are_checked():
    for space in (FROM_ONE, BOX, gymnasium.spaces.Discrete(2, start=-3)):
        check_world_model(TrackModel(space, context_length=1))
    model = TrackModel(gymnasium.spaces.MultiBinary(2), context_length=1)
    with pytest.raises(ContractError, match="the model has MultiBinary"):
        check_world_model(model)
    model = TrackModel(FROM_ONE, context_length=2)
    model.start = StartFrames(np.zeros((1, 2, 8, 16, 3), np.uint8), np.zeros((1, 1), int))
    with pytest.raises(ContractError, match="the actions of start frames must"):
        check_world_model(model)
