"""Programs as world models: both contracts, what is refused, what ends a row, and equality with the games that they describe."""

import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, Text
from programs import COUNTER, HIDDEN, LINE, PLANE, TRUE, counter, hidden, true_model, true_program

from atari_vlm.checker import check_world_model
from atari_vlm.errors import ConfigError, MismatchError, SandboxProgramError, UnknownNameError
from atari_vlm.trees import take_rows
from atari_vlm.world_models import WorldModel, read_checkpoint
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.code import CodeWorldModel, LocalProgram

RNG = np.random.default_rng
GAMES = [*TRUE, "Blackjack-v1"]


def state_of(model, *rows):
    """States of the counter."""
    observations = np.array(rows, np.float32)[:, None]
    return model.init(observations, np.zeros((len(rows), 0), np.int64), rng=RNG(0))


@pytest.mark.parametrize("game", GAMES)
def test_a_true_program_is_a_world_model(game):
    with true_model(game) as model:
        assert isinstance(model, WorldModel) and model.contract == 1
        check_world_model(model, steps=6)


@pytest.mark.parametrize("game", TRUE)
def test_a_true_program_does_what_the_game_does(game):
    env, rng = gymnasium.make(game).unwrapped, RNG(0)
    with true_model(game, LocalProgram(true_program(game))) as model:
        observation, _ = env.reset(seed=1)
        state = model.init(
            np.asarray(observation)[None, None],
            np.zeros((1, 0, *(env.action_space.shape or ()))),
            rng=rng,
        )
        env.action_space.seed(0)
        for _ in range(40):
            action = env.action_space.sample()
            observation, reward, terminated, _, _ = env.step(action)
            step = model.step(state, np.asarray(action)[None], rng=rng)
            state = step.state
            np.testing.assert_allclose(model.decode(state)[0], observation, rtol=1e-4, atol=1e-4)
            assert (
                np.isclose(step.reward[0], reward, rtol=1e-4) and step.terminated[0] == terminated
            )
            if terminated:
                break


def test_the_program_s_own_precision_is_kept_between_steps():
    with counter() as model:
        state = state_of(model, (0.1, 0.7))
        step = model.step(state, np.array([1]), rng=RNG(0))
        assert step.state.values.dtype == np.float64 and step.state.values[0, 0] == 1 + float(
            np.float32(0.1)
        )
        assert model.decode(step.state).dtype == np.float32 and step.reward.dtype == np.float32


def test_a_row_that_has_ended_stays_with_reward_0():
    with counter() as model:
        state = state_of(model, (4, 0), (-2, 0), (0, 0))
        first = model.step(state, np.array([1, 1, 0]), rng=RNG(0))
        assert first.terminated.tolist() == [True, False, False]
        second = model.step(first.state, np.array([1, 1, 0]), rng=RNG(0))
        assert second.terminated.tolist() == [True, False, False] and second.reward[0] == 0
        assert model.decode(second.state)[:, 0].tolist() == [5, 0, -2]
        all_over = model.step(state_of(model, (4, 0)), np.array([1]), rng=RNG(0)).state
        third = model.step(all_over, np.array([0]), rng=RNG(0))
        assert third.terminated.all() and not third.reward.any()
        rolled = model.rollout(all_over, np.zeros((1, 3), np.int64), rng=RNG(0))
        assert rolled.terminated.all() and not rolled.reward.any()


@pytest.mark.parametrize("make", [str, LocalProgram])
def test_a_rollout_is_stepping_past_ends_too(make):
    with counter(make(COUNTER)) as model:
        state = state_of(model, (3, 0), (0, 1), (4, 2))
        plans = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 0]])
        rolled, rewards, ends = model.rollout(state, plans, rng=RNG(0)), [], []
        for actions in plans.T:
            step = model.step(state, actions, rng=RNG(0))
            state = step.state
            rewards.append(step.reward)
            ends.append(step.terminated)
        np.testing.assert_array_equal(rolled.reward, np.stack(rewards, 1))
        np.testing.assert_array_equal(rolled.terminated, np.stack(ends, 1))
        np.testing.assert_array_equal(model.decode(rolled.state), model.decode(state))
        assert ends[1].tolist() == [True, False, True]


def test_a_program_that_raises_is_an_error_of_the_step_and_minus_infinity_in_a_rollout():
    with counter() as model:
        state = state_of(model, (0, 0), (-2, 0))
        with pytest.raises(SandboxProgramError, match=r"row 1: .*nobody comes here"):
            model.step(state, np.array([0, 0]), rng=RNG(0))
        with pytest.raises(SandboxProgramError, match=r"^[^r].*nobody comes here"):
            model.step(state_of(model, (-2, 0)), np.array([0]), rng=RNG(0))
        rolled = model.rollout(state, np.array([[1, 1, 1], [1, 0, 0]]), rng=RNG(0))
        assert np.isfinite(rolled.reward[0]).all() and np.isfinite(rolled.reward[1, :1]).all()
        assert rolled.reward[1, 1] == pytest.approx(-0.2) and rolled.reward[1, 2] == -np.inf
        assert rolled.terminated.tolist() == [[False] * 3, [False, False, True]]


@pytest.mark.parametrize(
    "answer", ["[1.0]", "[1.0, float('nan')]", "[1.0, 'x']", "[[1.0, 2.0]]", "None", "1.0"]
)
@pytest.mark.parametrize("make", [str, LocalProgram])
def test_a_state_that_is_none_is_refused(answer, make):
    text = f"class Environment:\n    def set_state(self, s): pass\n    def step(self, a): return {answer}, 1.0, False\n"
    with counter(make(text)) as model:
        for rows in ([(0, 0)], [(0, 0), (1, 1)]):
            with pytest.raises(
                SandboxProgramError, match=r"numbers of the shape \(2,\), the program gave"
            ):
                model.step(state_of(model, *rows), np.zeros(len(rows), np.int64), rng=RNG(0))
        rolled = model.rollout(state_of(model, (0, 0)), np.zeros((1, 1), np.int64), rng=RNG(0))
        assert rolled.reward[0, -1] == -np.inf
        with pytest.raises(SandboxProgramError):
            model.step_one(state_of(model, (0, 0)), 0, rng=RNG(0))


@pytest.mark.parametrize("answer", ["3", "-1", "1.5", "'1'", "[1]"])
def test_a_whole_number_outside_its_space_is_refused(answer):
    text = f"class Environment:\n    def set_state(self, s): pass\n    def step(self, a): return {answer}, 1.0, False\n"
    spaces = {"observation_space": Discrete(3), "action_space": Discrete(2)}
    with CodeWorldModel(LocalProgram(text), **spaces) as model:
        state = model.init(np.zeros((1, 1), np.int64), np.zeros((1, 0), np.int64), rng=RNG(0))
        with pytest.raises(
            SandboxProgramError, match=r"whole numbers of the space|numbers of the shape"
        ):
            model.step(state, np.array([0]), rng=RNG(0))


def test_a_whole_number_written_as_a_fraction_is_one():
    text = "class Environment:\n    def set_state(self, s): pass\n    def step(self, a): return 2.0, 1, 0\n"
    with CodeWorldModel(
        LocalProgram(text), observation_space=Discrete(3), action_space=Discrete(2)
    ) as model:
        state = model.init(np.zeros((1, 1), np.int64), np.zeros((1, 0), np.int64), rng=RNG(0))
        shown = model.decode(model.step(state, np.array([0]), rng=RNG(0)).state)
        assert shown.dtype == np.int64 and shown.tolist() == [2]


def test_one_row_the_short_way_is_step_and_decode():
    for make in (counter, hidden, lambda: true_model("Blackjack-v1")):
        with make() as model:
            frames, rng = model.start, RNG(0)
            state = model.init(frames.observations, frames.actions, rng=rng)
            state = take_rows(state, [1])
            one, other = RNG(5), RNG(5)
            for action in (1, 0, 1, 1):
                step = model.step(state, np.array([action]), rng=one)
                following, observation, reward, over = model.step_one(state, action, rng=other)
                assert (reward, over) == (pytest.approx(step.reward[0]), step.terminated[0])
                shown = model.decode(step.state)
                for part, whole in zip(
                    np.atleast_1d(np.array(observation, object)).tolist(),
                    np.atleast_1d(
                        np.array(
                            [leaf[0] for leaf in shown] if isinstance(shown, tuple) else shown[0],
                            object,
                        )
                    ).tolist(),
                    strict=True,
                ):
                    assert part == whole
                state = following


def test_random_numbers_are_a_function_of_rng_and_of_the_row():
    with true_model("Blackjack-v1") as model:
        state = model.init(
            tuple(np.repeat(leaf[:1], 64, 0) for leaf in model.start.observations),
            np.zeros((64, 0), np.int64),
            rng=RNG(0),
        )
        steps = [model.step(state, np.ones(64, np.int64), rng=RNG(seed)) for seed in (0, 0, 1)]
        hands = [step.state.values[0] for step in steps]
        assert (
            (hands[0] == hands[1]).all()
            and (hands[0] != hands[2]).any()
            and len(set(hands[0].tolist())) > 3
        )


def test_contract_2_reads_contexts_and_keeps_hidden_states():
    with hidden() as model:
        assert (model.contract, model.context_length) == (2, 2)
        check_world_model(model, steps=5)
        state = model.init(model.start.observations, model.start.actions, rng=RNG(0))
        step = model.step(state, np.array([2, 0]), rng=RNG(0))
        assert step.reward.tolist() == [2, 2] and model.decode(step.state).tolist() == [
            [2, 2],
            [1, 2],
        ]
        assert model.decode(state).tolist() == [
            [1, 1],
            [2, 1],
        ]  # the state that was given is what it was
        drawn = model.render(step.state)
        assert (
            drawn.shape == (2, 3, 4, 3)
            and drawn.dtype == np.uint8
            and drawn[:, 0, 0].tolist() == [[2, 0, 255], [1, 0, 255]]
        )


def test_contract_2_may_be_functions():
    lines = HIDDEN.replace("self, ", "").splitlines()
    text = "\n".join(line.removeprefix("    ") for line in lines if "class" not in line)
    with hidden(text) as functions, hidden() as methods:
        assert functions.contract == 2
        frames = functions.start
        shown = []
        for model in (functions, methods):
            state = model.init(frames.observations, frames.actions, rng=RNG(0))
            shown.append(model.decode(model.step(state, np.array([2, 2]), rng=RNG(0)).state))
        np.testing.assert_array_equal(*shown)


BATCH = """
import numpy as np

class Environment:
    def reset(self, observations, actions): return [0, len(actions)]
    def step(self, state, action):
        states, rewards, dones = self.step_batch(np.asarray([state]), np.asarray([action]))
        return states[0], rewards[0], dones[0]
    def observe(self, state): return state
    def step_batch(self, states, actions):
        states = states + np.stack([actions - 1, np.full(len(actions), 0.5)], 1)
        return states, states[:, 1], states[:, 0] >= 2
"""


def test_a_program_that_steps_batches_has_states_of_numbers():
    with hidden(BATCH) as model:
        check_world_model(model, steps=5)
        state = model.init(model.start.observations, model.start.actions, rng=RNG(0))
        assert state.values.dtype == np.float64 and state.values.tolist() == [[0, 1], [0, 1]]
        rolled = model.rollout(state, np.array([[2, 2, 2], [0, 1, 2]]), rng=RNG(0))
        assert rolled.terminated.tolist() == [[False, True, True], [False] * 3]
        assert rolled.state.values.tolist() == [[2, 2], [0, 2.5]]


NAMED = """
class Environment:
    def reset(self, observations, actions): return {"at": float(observations[-1][0])}
    def step(self, state, action): return {"at": state["at"] + action - 1}, 0.5, False
    def observe(self, state): return [state["at"], 0]
    def step_batch(self, states, actions):
        return ([{"at": s["at"] + a - 1} for s, a in zip(states, actions)], [0.5] * len(states), [False] * len(states))
"""


def test_batches_of_states_that_are_no_numbers_are_lists():
    with hidden(NAMED) as model:
        check_world_model(model, steps=4)
        state = model.init(model.start.observations, model.start.actions, rng=RNG(0))
        rolled = model.rollout(state, np.array([[2, 2], [0, 1]]), rng=RNG(0))
        assert model.decode(rolled.state)[:, 0].tolist() == [3, 1]


def test_states_of_a_batch_keep_their_shape():
    with hidden(
        LocalProgram(
            BATCH.replace("return states, states[:, 1]", "return states[:, :1], states[:, 1]")
        )
    ) as model:
        state = model.init(model.start.observations, model.start.actions, rng=RNG(0))
        with pytest.raises(SandboxProgramError, match="numbers of the shape"):
            model.step(state, np.array([2, 2]), rng=RNG(0))


def test_a_model_that_draws_nothing_has_no_render():
    with counter() as model:
        assert not hasattr(model, "render")


@pytest.mark.parametrize(
    "picture", ["[[[0, 0]]]", "[[[0, 0, 256]]]", "[[[0, 0, 0.5]]]", "'no'", "[[[0, 0, 0], [1]]]"]
)
def test_what_is_no_picture_is_refused(picture):
    text = HIDDEN.replace("[[[shade, 0, 255]] * 4] * 3", picture)
    with hidden(LocalProgram(text)) as model:
        state = model.init(model.start.observations, model.start.actions, rng=RNG(0))
        with pytest.raises(SandboxProgramError, match="render gives"):
            model.render(state)


def test_which_contract_it_is_can_be_said():
    with counter(contract=1) as one, hidden(contract=2) as two:
        assert (one.contract, two.contract) == (1, 2)
    with pytest.raises(
        ConfigError, match=r"contract 2 has reset, step, observe .* no reset, observe"
    ):
        counter(contract=2)
    with pytest.raises(ConfigError, match=r"contract 1 has set_state, step .* no set_state"):
        hidden(contract=1, context_space=None, start=None)
    both = HIDDEN + "\n    def set_state(self, state): pass\n"
    with pytest.raises(ConfigError, match="set_state and step is of contract 1, got 2"):
        hidden(both, contract=2)
    with pytest.raises(ConfigError, match="contract is 1, 2 or None"):
        counter(contract=3)


STATEFUL = """
class Environment:
    calls = 0
    def set_state(self, state): self.state = state
    def step(self, action):
        self.calls += 1
        return [float(self.calls), 0.0], 0.0, False
"""


def test_a_faulty_program_is_named(tmp_path):
    with counter(STATEFUL) as model:
        assert "stateful" in model.faults
        folder = model.save(tmp_path / "model", provenance={"node": 3})
    told = read_checkpoint(folder).provenance
    assert told["faults"] == list(model.faults) and told["node"] == 3
    with (
        true_model("CartPole-v1") as sound,
        true_model("Blackjack-v1") as drawing,
        counter(start=None) as untried,
    ):
        assert (sound.faults, drawing.faults, untried.faults) == ((), ("random",), ())


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"observation_space": Text(4)}, ConfigError, "numbers, or trees of them"),
        ({"action_space": Text(4)}, ConfigError, "the program has Text"),
        ({"context_space": LINE}, MismatchError, "the start frames are"),
        ({"context_space": LINE, "start": None}, MismatchError, "a context is an observation"),
        (
            {"start": StartFrames(np.zeros((1, 1, 3), np.float32), np.zeros((1, 0), int))},
            MismatchError,
            "start frames",
        ),
        ({"frame_skip": 0}, ConfigError, "frame_skip"),
        ({"reward_transform": "log"}, UnknownNameError, "reward_transform"),
        ({"action_names": ["UP"]}, MismatchError, "1 action names"),
        ({"deadline_s": 0}, ConfigError, "deadline_s"),
        ({"program": "x = 1"}, ConfigError, "no set_state, step"),
        ({"program": "a\0"}, ConfigError, "NUL"),
        ({"program": "#" * (1 << 18) + "#"}, ConfigError, "256 KiB"),
        ({"program": "def f(:"}, SandboxProgramError, "SyntaxError"),
    ],
)
def test_wrong_arguments_meet_a_sentence(changes, error, sentence):
    with pytest.raises(error, match=sentence):
        counter(**changes)


def test_contexts_of_another_form_are_refused():
    with counter() as model, pytest.raises(MismatchError, match="a context holds"):
        model.init(np.zeros((1, 1, 3), np.float32), np.zeros((1, 0), np.int64), rng=RNG(0))


def test_a_model_is_remade_from_a_pickle_and_ends_with_its_worker():
    with counter() as model:
        with pickle.loads(pickle.dumps(model)) as again:
            assert (
                again.program == model.program
                and again.observation_space == model.observation_space
            )
            states = [
                m.step(state_of(m, (1, 2)), np.array([1]), rng=RNG(0)).state.values
                for m in (model, again)
            ]
            np.testing.assert_array_equal(*states)
    with pytest.raises(Exception, match="closed"):
        model.step(state_of(model, (1, 2)), np.array([1]), rng=RNG(0))


def test_actions_have_their_names():
    with counter(action_names=("DOWN", "UP")) as named, counter() as numbered:
        assert named.action_names == ("DOWN", "UP") and numbered.action_names == ("0", "1")
    with true_model("Pendulum-v1") as model:
        assert not hasattr(model, "action_names")
    assert isinstance(PLANE, Box)
