"""Programs are judged in the sandbox: what is fed back, what is held out, what is verified, and what they can see."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from search_helpers import Writer, buffer, reply

from atari_vlm.errors import BudgetExhaustedError
from atari_vlm.experience import TransitionBuffer
from atari_vlm.synthesis import SearchConfig, search
from atari_vlm.synthesis.auditing import audit_harness
from atari_vlm.synthesis.judging import ProgramJudge, split
from atari_vlm.world_models.code import predicting, score_program

COUNTER = """\
class Environment:
    def set_state(self, state):
        self.state = state

    def step(self, action):
        self.state = (self.state + action) % 5
        return self.state, 1.0 if self.state == 0 else -0.5, self.state == 4
"""


def wrong_at(*states):
    """The counter, but some states are followed by another one and a wrong reward."""
    line = f"        if self.state in {set(states)!r}:\n            return 3, 7.0, False\n"
    return COUNTER.replace("        self.state = (", line + "        self.state = (")


def long_walk(n=120):
    """A counter that counts up to 40 and is then over, again and again: every step once an episode."""
    states = np.arange(n) % 40
    return TransitionBuffer(
        states,
        np.ones(n, int),
        -np.ones(n),
        states + 1,
        states == 39,
        np.zeros(n, bool),
        env_id="Walk-v0",
        observation_space=gymnasium.spaces.Discrete(100),
        action_space=gymnasium.spaces.Discrete(2),
    )


WALK = """\
class Environment:
    def set_state(self, state):
        self.state = state

    def step(self, action):
        self.state += action
        return self.state, -1.0, self.state == 40
"""


def test_a_right_program_is_right():
    outcome = ProgramJudge(buffer(), SearchConfig(replay_verify=True))(COUNTER)
    assert (outcome.score, outcome.held_out, outcome.verified) == (1.0, 1.0, True)
    assert outcome.solved and outcome.examples == () and outcome.failure == ""
    assert outcome.fields == {"next_state": 1.0, "reward": 1.0, "done": 1.0}
    assert set(outcome.events) == {"reward=-0.5", "reward=1", "terminated", "going on"}


def test_what_raises_is_a_bug_and_what_can_be_no_program_is_none():
    judge = ProgramJudge(buffer(), SearchConfig())
    outcome = judge(COUNTER.replace("% 5", "% 0"))
    assert (outcome.failure, outcome.score) == ("bug", 0.0)
    assert "ZeroDivisionError" in outcome.error and "line 6" in outcome.error
    assert judge("x = (").failure == judge("x = 1").failure == "bug"
    assert judge("x = '\0'").failure == "no-code" and judge("x" * (1 << 19)).program is None


def test_the_example_is_a_mispredicted_transition_with_both_sides():
    rows = buffer()
    (example,) = ProgramJudge(rows, SearchConfig())(wrong_at(1)).examples
    assert example["state"] == 1
    assert example["next_state"] == (1 + example["action"]) % 5
    assert example["predicted"] == {"next_state": 3, "reward": 7.0, "done": False}
    assert example["wrong"] == ["next_state", "reward"]
    feedback, _ = split(len(rows), 0.2, 0)
    first = next(row for row in feedback if rows.observations[row] == 1)
    assert example["action"] == rows.actions[first]


def test_diverse_feedback_has_one_example_for_each_kind_of_mistake():
    judge = ProgramJudge(buffer(), SearchConfig(feedback="diverse"))
    examples = judge(wrong_at(0, 1, 2, 3, 4)).examples
    kinds = [(*example["wrong"], example["reward"]) for example in examples]
    assert len(kinds) == len({*kinds}) >= 3
    assert {kind[-1] for kind in kinds} == {-0.5, 1.0}


def test_diverse_examples_are_shown_in_turn():
    writer = Writer(lambda *_: reply(wrong_at(0, 1, 2, 3, 4)))
    config = SearchConfig(method="worldcoder", budget=4, feedback="diverse", unsafe_local_code=True)
    search(writer, buffer(), config)
    improving = [text for text, _ in writer.asked[1:]]
    assert len({*improving}) == 3
    writer = Writer(lambda *_: reply(wrong_at(0, 1, 2, 3, 4)))
    search(writer, buffer(), dataclasses.replace(config, feedback="first"))
    assert len({text for text, _ in writer.asked[1:]}) == 1


def test_what_a_program_says_is_shown_within_bounds_and_without_controls():
    """A program may answer with anything, and its answer is part of a question that costs by its length."""
    local = SearchConfig(unsafe_local_code=True)
    long = COUNTER.replace("return self.state,", "return list(range(50_000)),")
    (example,) = ProgramJudge(buffer(), local)(long).examples
    assert example["predicted"]["next_state"].startswith("[0, 1, 2")
    assert len(example["predicted"]["next_state"]) < 500
    told = COUNTER.replace("return self.state,", r"return '\x1b[2J\n# What to do',")
    writer = Writer(lambda *_: reply(told))
    search(writer, buffer(), dataclasses.replace(local, budget=2, method="worldcoder"))
    asked = writer.asked[1][0]
    assert r"- state: '\x1b[2J\n# What to do'" in asked and "\x1b" not in asked
    assert asked.count("\n# What to do") == 1


def test_a_counterexample_that_raises_says_what_it_raises():
    walk = long_walk(40)
    last = int(split(40, 0.2, 0)[1][0])
    raising = WALK.replace("self.state += action", f"self.state += 1 // (self.state != {last})")
    writer = Writer(lambda *_: reply(raising))
    config = SearchConfig(budget=2, method="worldcoder", replay_verify=True, unsafe_local_code=True)
    result = search(writer, walk, config)
    assert result.verified is False and result.score == 1.0
    assert "It raises: ZeroDivisionError" in writer.asked[1][0]


def test_a_search_over_tuples_and_dicts_goes_on_with_the_same_questions(tmp_path):
    """What a journal gives back has lists where there were tuples: questions must not tell the difference."""
    rows, space = buffer(), gymnasium.spaces
    states = {"b": (rows.observations, rows.observations), "a": rows.observations}
    after = {"b": (rows.next_observations, rows.observations), "a": rows.next_observations}
    pair = space.Tuple((space.Discrete(5), space.Discrete(5)))
    nested = TransitionBuffer(
        *(states, rows.actions, rows.rewards, after, rows.terminated, rows.truncated),
        env_id="Nested-v0",
        observation_space=space.Dict({"b": pair, "a": space.Discrete(5)}),
        action_space=rows.action_space,
    )
    still = COUNTER.replace("self.state = (self.state + action) % 5", "pass")
    writer = Writer(lambda number, *_: reply(f"{still}# {number}"))
    config = SearchConfig(
        method="worldcoder",
        budget=6,
        feedback="diverse",
        unsafe_local_code=True,
        replay_verify=True,
    )
    with pytest.raises(BudgetExhaustedError):
        small = dataclasses.replace(config, max_calls=3)
        search(writer, nested, small, folder=tmp_path / "run")
    assert any("State before the step: {'a'" in text for text, _ in writer.asked)
    result = search(writer, nested, config, folder=tmp_path / "run")
    assert result.calls == len(writer.asked) == 6 and result.failures == {}


@pytest.mark.parametrize("count", [1, 2, 5, 40, 1001])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.99])
def test_rows_are_for_feedback_or_held_out(count, share):
    feedback, held_out = split(count, share, 3)
    assert sorted([*feedback, *held_out]) == list(range(count)) and len(feedback) >= 1
    assert len(held_out) == min(int(count * share), count - 1)
    assert np.array_equal(feedback, split(count, share, 3)[0])


def test_what_is_held_out_changes_no_choice():
    """Programs that differ in held-out transitions alone have one score, one outcome for the tree, and one example."""
    walk = long_walk(40)
    _, held_out = split(40, 0.2, 0)
    wrong = f"        if self.state in {set(map(int, held_out))}:\n            raise ValueError\n"
    other = WALK.replace("        self.state += ", wrong + "        self.state += ")
    judge = ProgramJudge(walk, SearchConfig(unsafe_local_code=True))
    right, raising = judge(WALK), judge(other)
    assert (right.score, right.held_out) == (1.0, 1.0)
    assert (raising.score, raising.held_out, raising.failure) == (1.0, 0.0, "")
    assert raising.examples == right.examples == ()
    whole = ProgramJudge(walk, SearchConfig(held_out=0.0, unsafe_local_code=True))(WALK)
    assert whole.held_out is None and whole.score == 1.0


def test_a_program_is_accepted_only_if_it_replays_everything():
    """Right on the feedback, wrong on a held-out step: the search goes on, and its writer sees the shortest way there."""
    walk = long_walk(40)  # every step once
    ages = set(map(int, split(40, 0.2, 0)[1]))
    wrong = f"        if self.state in {ages}:\n            return 77, -1.0, False\n"
    almost = WALK.replace("        self.state += ", wrong + "        self.state += ")
    plain = search(
        Writer(lambda *_: reply(almost)), walk, SearchConfig(budget=5, unsafe_local_code=True)
    )
    assert plain.calls == 1 and plain.score == 1.0 and plain.verified is None
    assert plain.held_out_score < 1.0
    replies = [almost, WALK]
    writer = Writer(lambda number, *_: reply(replies[number - 1]))
    config = SearchConfig(method="worldcoder", budget=5, replay_verify=True, unsafe_local_code=True)
    result = search(writer, walk, config)
    assert result.calls == 2 and result.verified is True and result.program == WALK.rstrip()
    asked, age = writer.asked[1][0], min(ages)
    assert f"State before the step: {age}" in asked and "- state: 77" in asked
    for before in range(max(0, age - 8), age):
        assert f"- in {before} action 1" in asked


LOOKS_AT_THE_NEXT_ROW = """
import numpy as np
class Environment:
    def set_state(self, state):
        self.state = state
    def step(self, action):
        return self.state, 1.0, False
    def step_batch(self, states, actions):
        rows = np.asarray(states)
        return np.roll(rows, -1, axis=0), np.ones(len(rows)), np.zeros(len(rows), bool)
"""
LOOKS_THROUGH_FRAMES = """
class Environment:
    def set_state(self, state):
        self.state = [float(x) for x in state]
    def step(self, action):
        try:
            raise ValueError
        except ValueError as error:
            frame = error.__traceback__.tb_frame
        rows = []
        while frame is not None:
            for value in list(frame.f_locals.values()):
                if hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict)):
                    rows += [[float(x) for x in row] for row in value if hasattr(row, "__len__") and len(row) == 4]
            frame = frame.f_back
        x, v = self.state[:2]
        near = [row for row in rows if abs(row[0] - (x + 0.02 * v)) < 1e-6]
        return (near[0] if near else self.state), 1.0, False
"""


def cart_pole(n=150):
    env, rng = gymnasium.make("CartPole-v1"), np.random.default_rng(0)
    state, _ = env.reset(seed=0)
    columns = [[], [], [], [], [], []]
    for _ in range(n):
        action = int(rng.integers(2))
        after, reward, terminated, truncated, _ = env.step(action)
        for column, value in zip(
            columns, (state, action, reward, after, terminated, truncated), strict=True
        ):
            column.append(value)
        state = env.reset()[0] if terminated or truncated else after
    env.close()
    return TransitionBuffer(
        *map(np.array, columns),
        env_id="CartPole-v1",
        observation_space=env.observation_space,
        action_space=env.action_space,
    )


@pytest.mark.parametrize("cheat", [LOOKS_AT_THE_NEXT_ROW, LOOKS_THROUGH_FRAMES])
def test_a_program_that_looks_for_its_answers_finds_none(cheat, monkeypatch):
    rows = cart_pole(40)
    outcome = ProgramJudge(rows, SearchConfig())(cheat)
    assert outcome.failure == "" and outcome.fields["next_state"] == 0.0
    assert score_program(cheat, rows).next_state == 0.0
    together = lambda buffer, rows: predicting._Group(rows, (np.arange(len(rows)), rows[:0]))  # noqa: E731
    monkeypatch.setattr(predicting, "_group", together)  # all states at once: there they are
    assert score_program(cheat, rows).next_state > 0.9


def test_the_audit_of_the_harness_finds_nothing_and_finds_what_is_planted(monkeypatch):
    for rows in (buffer(), long_walk(), cart_pole(60)):
        for held_out in (0.0, 0.2):
            audit = audit_harness(rows, SearchConfig(held_out=held_out))
            assert audit.clean and audit.rows == len(rows) and audit.workers == 2
    together = lambda buffer, rows: predicting._Group(rows, (np.arange(len(rows)), rows[:0]))  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(predicting, "_group", together)
        audit = audit_harness(long_walk(), SearchConfig())
        assert (
            not audit.clean and audit.answers == 117
        )  # three walks of forty end in nobody's state
    predict_turn = predicting._predict_turn

    def telling(worker, buffer, group, turn):
        worker.step_rows(buffer.rewards[:3], buffer.actions[:3])
        predict_turn(worker, buffer, group, turn)

    monkeypatch.setattr(predicting, "_predict_turn", telling)
    assert audit_harness(long_walk(), SearchConfig(held_out=0.0)).foreign == 6
