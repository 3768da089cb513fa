"""Programs that the tests of code models run: true dynamics of known games, and a few of our own with one habit each."""

from pathlib import Path

import gymnasium
import numpy as np

from atari_vlm.trees import stacked
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.code import CodeWorldModel

FOLDER = Path(__file__).parent.parent / "data" / "programs"
TRUE = {
    "CliffWalking-v1": "cliff_walking",
    "Taxi-v4": "taxi",
    "CartPole-v1": "cart_pole",
    "MountainCar-v0": "mountain_car",
    "Acrobot-v1": "acrobot",
    "Pendulum-v1": "pendulum",
}
BLACKJACK = '''
import random

CARDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10]


def worth(cards):
    """Sum of a hand, an ace as 11 where that is no bust; and whether it is."""
    usable = 1 in cards and sum(cards) + 10 <= 21
    return sum(cards) + 10 * usable, int(usable)


class Environment:
    def set_state(self, state):
        total, self.shown, usable = state
        self.hand = [1, total - 11] if usable else [total]

    def step(self, action):
        if action == 1:
            self.hand.append(random.choice(CARDS))
            bust = worth(self.hand)[0] > 21
            return self.state(), -1.0 if bust else 0.0, bust
        dealer = [self.shown, random.choice(CARDS)]
        while worth(dealer)[0] < 17:
            dealer.append(random.choice(CARDS))
        mine, theirs = worth(self.hand)[0], worth(dealer)[0]
        return self.state(), 1.0 if theirs > 21 else float((mine > theirs) - (mine < theirs)), True

    def state(self):
        total, usable = worth(self.hand)
        return total, self.shown, usable
'''
COUNTER = '''
class Environment:
    """Contract 1 on two numbers: the first counts up or down, ends at 5 and raises at -3; the second stays."""

    def set_state(self, state):
        self.state = state

    def step(self, action):
        count = float(self.state[0]) + (1 if action == 1 else -1)
        if count <= -3:
            raise ValueError("nobody comes here")
        return [count, float(self.state[1])], count / 10, count >= 5
'''
HIDDEN = '''
class Environment:
    """Contract 2: the context's steps are remembered, which no observation shows."""

    def reset(self, observations, actions):
        return {"at": observations[-1][0], "steps": [float(a) for a in actions]}

    def step(self, state, action):
        state["at"] += action - 1
        state["steps"].append(action)
        return state, float(len(state["steps"])), state["at"] >= 3

    def observe(self, state):
        return [state["at"], len(state["steps"])]

    def render(self, state):
        shade = int(state["at"]) % 256
        return [[[shade, 0, 255]] * 4] * 3
'''
PLANE = gymnasium.spaces.Box(-100, 100, (2,), np.float32)
LINE = gymnasium.spaces.Box(-100, 100, (1,), np.float32)


def true_program(game: str) -> str:
    return BLACKJACK if game == "Blackjack-v1" else (FOLDER / f"{TRUE[game]}.py").read_text()


def starts(env: gymnasium.Env, count: int = 4) -> StartFrames:
    """First observations of a real game, from the seeds 0, 1, 2, ..."""
    seen = [env.reset(seed=seed)[0] for seed in range(count)]
    width = env.action_space.shape or ()
    dtype = np.float32 if width else np.int64
    return StartFrames(
        stacked([stacked([one]) for one in seen]), np.zeros((count, 0, *width), dtype)
    )


def true_model(game: str, program: object = None, **options) -> CodeWorldModel:
    """The true dynamics of a game as a model with start frames."""
    env = gymnasium.make(game)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    return CodeWorldModel(program or true_program(game), start=starts(env), **spaces, **options)


def counter(program: object = COUNTER, **options) -> CodeWorldModel:
    start = StartFrames(np.zeros((2, 1, 2), np.float32), np.zeros((2, 0), np.int64))
    given = {
        "observation_space": PLANE,
        "action_space": gymnasium.spaces.Discrete(2),
        "start": start,
    }
    return CodeWorldModel(program, **{**given, **options})


def hidden(program: object = HIDDEN, **options) -> CodeWorldModel:
    frames = np.array([[[0.0], [1.0]], [[1.0], [2.0]]], np.float32)
    given = {
        "observation_space": PLANE,
        "context_space": LINE,
        "action_space": gymnasium.spaces.Discrete(3),
        "start": StartFrames(frames, np.array([[2], [2]])),
    }
    return CodeWorldModel(program, **{**given, **options})
