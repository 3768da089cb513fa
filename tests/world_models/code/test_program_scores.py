"""The three scorers: their definitions on small tables, and the true dynamics of real environments."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.experience import TransitionBuffer
from atari_vlm.world_models.code import score_program

PROGRAMS = Path(__file__).parents[2] / "data" / "programs"
TRUE = {
    "cliff_walking": "CliffWalking-v1",
    "taxi": "Taxi-v4",
    "cart_pole": "CartPole-v1",
    "mountain_car": "MountainCar-v0",
    "acrobot": "Acrobot-v1",
    "pendulum": "Pendulum-v1",
}


def text_of(name):
    return (PROGRAMS / f"{name}.py").read_text()


def played(env_id, n, seed=0, steps=10_000):
    """``n`` transitions of uniformly random play, of each episode the first ``steps``."""
    env = gymnasium.make(env_id)
    env.action_space.seed(seed)
    rows, starts = [], []
    while len(rows) < n:
        observation, _ = env.reset(seed=seed + len(rows))
        ended = False
        starts.append(len(rows))
        while not ended and len(rows) < min(n, starts[-1] + steps):
            action = env.action_space.sample()
            following, reward, terminated, truncated, _ = env.step(action)
            rows.append((observation, action, reward, following, terminated, truncated))
            observation, ended = following, terminated or truncated
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    return TransitionBuffer(*columns, env_id=env_id, trajectory_starts=starts, **spaces)


@pytest.mark.parametrize("name", TRUE)
def test_true_dynamics_are_all_right(name):
    buffer = played(TRUE[name], 600)
    assert score_program(text_of(name), buffer).score == 1.0
    exact = score_program(text_of(name), buffer, scorer="paper")
    assert exact.next_state == 1.0
    assert exact.done == 1 - buffer.truncated.mean()


@pytest.mark.parametrize(
    ("cost", "low", "high"),
    [
        ("float(-cost)", 0.666, 0.668),
        ("np.float64(-cost)", 0.666, 0.668),
        ("np.array(-cost)", 0.666, 0.668),
        ("np.float32(-cost)", 0.88, 0.96),  # 0.913 on the source's own transitions
    ],
)
def test_real_rewards_are_capped_as_in_the_source(cost, low, high):
    text = text_of("pendulum").replace("import math", "import math\nimport numpy as np")
    changed = text.replace("list(self.state), -cost,", f"list(self.state), {cost},")
    assert cost in changed
    buffer = played("Pendulum-v1", 1000, steps=100)
    score = score_program(changed, buffer, scorer="code").score
    assert low < score < high


def line(n=8, **changes):
    """A walk along the numbers 0, 1, 2 ...: cut after row 3, over after the last one, where the reward is 1."""
    steps = np.arange(n)
    arrays = {
        "observations": np.stack([steps, -steps], axis=1).astype(np.float32),
        "actions": np.zeros(n, int),
        "rewards": np.where(steps == n - 1, 1.0, -0.1),
        "next_observations": np.stack([steps + 1, -steps - 1], axis=1).astype(np.float32),
        "terminated": steps == n - 1,
        "truncated": steps == 3,
    }
    space = Box(-np.inf, np.inf, (2,), np.float32)
    about = {"env_id": "Line-v0", "observation_space": space, "action_space": Discrete(1)}
    return TransitionBuffer(**{**arrays, **about, **changes})


def program(state="[x + 1, y - 1]", reward="1.0 if x == 7 else -0.1", done="x == 7"):
    return f"""
class Environment:
    def set_state(self, state):
        self.state = state
    def step(self, action):
        x, y = self.state
        return {state}, {reward}, {done}
"""


def test_a_perfect_program():
    tolerant = score_program(program(), line())
    assert (tolerant.score, tolerant.failing, tolerant.bug, tolerant.error) == (
        1.0,
        None,
        False,
        None,
    )
    paper = score_program(program(), line(), scorer="paper")
    assert paper.score == pytest.approx(1 - 1 / 24)  # the cut is an end that it does not foretell
    assert paper.failing == 3
    code = score_program(program(), line(), scorer="code")
    # -0.1 is no float32: six of the seven rows of that reward have state and end, the cut one nothing; the last row all
    assert code.score == pytest.approx((6 / 7 * 2 / 3 + 1) / 2)
    assert code.failing == 0


def test_a_wrong_number_costs_the_state_or_a_part_of_it():
    half = program(state="[x + 1, y]")
    paper = score_program(half, line(rewards=np.ones(8)), scorer="paper")
    assert paper.next_state == 0.0
    code = score_program(half, line(rewards=np.ones(8)), scorer="code")
    assert code.next_state == 0.5
    assert code.fields["next_state/0"] == 1.0
    assert code.fields["next_state/1"] == 0.0
    assert score_program(half, line()).right["next_state"].tolist() == [False] * 8


def test_the_state_of_an_end_does_not_count_in_the_codes_scorer():
    lost = program(state="[x + 1, y - 1] if x < 7 else None", reward="1.0")
    buffer = line(rewards=np.ones(8), truncated=np.zeros(8, bool))
    code = score_program(lost, buffer, scorer="code")
    assert code.score == 1.0
    assert code.failing is None
    assert score_program(lost, buffer).next_state == 7 / 8
    assert score_program(lost, buffer).failing == 7


def test_every_reward_weighs_the_same_in_the_codes_scorer():
    never = program(reward="-1.0", done="False")
    rewards = np.where(np.arange(8) == 7, 1.0, -1.0)
    buffer = line(rewards=rewards, truncated=np.zeros(8, bool))
    code = score_program(never, buffer, scorer="code")
    assert code.score == pytest.approx((1.0 + 0.0) / 2)
    assert score_program(never, buffer, scorer="paper").score == pytest.approx((7 + 1 / 3) / 8)


def test_a_cut_is_not_compared_by_the_tolerant_scorer():
    ends_there = program(done="x in (3, 7)")
    assert score_program(ends_there, line()).score == 1.0
    ends_elsewhere = score_program(program(done="x in (2, 7)"), line())
    assert ends_elsewhere.done == 6 / 7
    assert ends_elsewhere.score == pytest.approx(1 - 1 / 24)
    assert ends_elsewhere.failing == 2


def test_rewards_are_compared_as_each_scorer_says():
    near = program(reward="(1.0 if x == 7 else -0.1) * (1 + 1e-7)")
    assert score_program(near, line()).reward == 1.0
    assert score_program(near, line(), scorer="paper").reward == 0.0
    assert score_program(program(), line(), scorer="paper").reward == 1.0
    rounded = "import numpy as np\n" + program(reward="np.float32(1.0 if x == 7 else -0.1)")
    assert score_program(rounded, line(), scorer="code").reward == 1.0
    assert score_program(rounded, line(), scorer="paper").reward == 1 / 8


def test_events_are_counted():
    score = score_program(program(done="False"), line())
    assert {name: (event.count, event.recall) for name, event in score.events.items()} == {
        "reward=-0.1": (7, 1.0),
        "reward=1": (1, 1.0),
        "terminated": (1, 0.0),
        "going on": (6, 1.0),
    }


def test_what_was_foretold_of_a_row():
    score = score_program(program(state="(x, y)", done="1"), line())
    assert score.prediction(2) == {"next_state": [2.0, -2.0], "reward": -0.1, "done": True}
    assert score.failing == 0


@pytest.mark.parametrize(
    ("state", "right"),
    [("[x + 1]", 0.0), ("5", 0.0), ("[[x + 1], y]", 0.0), ("['a', 'b']", 0.0), ("{}", 0.0)],
)
def test_a_state_of_another_shape_is_a_miss(state, right):
    score = score_program(program(state=state), line())
    assert not score.bug
    assert score.next_state == right
    assert score.reward == 1.0


def test_numbers_that_are_none_are_misses():
    assert score_program(program(state="[float('nan'), y - 1]"), line()).next_state == 0.0
    assert score_program(program(reward="float('inf')"), line()).reward == 0.0


@pytest.mark.parametrize("scorer", ["tolerant", "paper", "code"])
@pytest.mark.parametrize(
    ("text", "words", "row"),
    [
        (program(reward="1 / int(x - 5)"), "division", 5),
        (program(done="undefined"), "undefined", 0),
        ("class Environment:\n    def set_state(self", "", None),
        ("raise ValueError('no')", "no", None),
        (program(done="__import__('os').system('true')"), "", 0),
    ],
)
def test_a_program_that_raises_scores_nothing(scorer, text, words, row):
    score = score_program(text, line(), scorer=scorer)
    assert (score.score, score.next_state, score.reward, score.done) == (0.0, 0.0, 0.0, 0.0)
    assert score.bug
    assert words in score.error
    assert score.failing == row
    assert score.prediction(0) == {}


def test_a_program_that_never_answers_is_stopped():
    endless = program(done="[None for _ in iter(int, 1)]")
    score = score_program(endless, line(), deadline_s=0.3)
    assert score.bug
    assert score.score == 0.0


def test_tuples_and_dicts_count_by_their_parts():
    cards = Tuple((Discrete(32), Discrete(11), Discrete(2)))
    hands = (np.arange(8), np.full(8, 3), np.zeros(8, int))
    buffer = line(observations=hands, next_observations=hands, observation_space=cards)
    same = program().replace("x, y = self.state", "x, y, ace = self.state")
    score = score_program(same.replace("[x + 1, y - 1]", "(x, y, 1)"), buffer, scorer="code")
    assert score.next_state == pytest.approx(2 / 3)
    assert score.fields["next_state/2"] == 0.0

    board = Dict({"cells": Box(0, 99, (2,), np.int64), "bag": Discrete(4)})
    rows = {"cells": np.stack([np.arange(8)] * 2, axis=1), "bag": np.ones(8, int)}
    buffer = line(observations=rows, next_observations=rows, observation_space=board)
    keeps = program().replace("x, y = self.state", "x, y = self.state['cells']")
    score = score_program(keeps.replace("[x + 1, y - 1]", "self.state"), buffer)
    assert score.score == 1.0
    lost = score_program(keeps.replace("[x + 1, y - 1]", "{'cells': [x, y]}"), buffer)
    assert lost.fields["next_state/cells"] == 1.0
    assert lost.fields["next_state/bag"] == lost.next_state == 0.0


def test_unknown_scorers_and_texts_that_are_no_programs():
    with pytest.raises(UnknownNameError, match="tolerant"):
        score_program(program(), line(), scorer="strict")
    with pytest.raises(ConfigError):
        score_program("\0", line())
