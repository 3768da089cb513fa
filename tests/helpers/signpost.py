"""A walk on a row of five places with a sign that says where to go: an exact world model of observations in tuples and
dicts, with texts, whole numbers and floats, and of actions in parts. It draws nothing, but a subclass can.
"""

import numpy as np
from gymnasium import spaces

from atari_vlm.trees import texts
from atari_vlm.world_models.base import ModelStep, StartFrames

SPACE = spaces.Tuple(
    (
        spaces.Discrete(5),
        spaces.Dict(
            {
                "sign": spaces.Text(12, charset="go to 01234"),
                "body": spaces.Box(-9, 9, (2,), np.float32),
            }
        ),
    )
)
STEPS = spaces.MultiDiscrete([3, 2], start=[-1, 1])  # which way, and how far


class Signpost:
    """The state is int64 ``(B, 2)``: the place, and the one that the sign names, where a walk ends and pays 1."""

    frame_skip, reward_transform = 1, "none"
    observation_space, action_space = SPACE, STEPS

    def __init__(self):
        places, goals = np.array([0, 4, 2, 1]), np.array([3, 1, 0, 4])
        shown = self.decode(np.stack([places, goals], 1))
        context = (shown[0][:, None], {key: leaf[:, None] for key, leaf in shown[1].items()})
        self.start = StartFrames(context, np.zeros((4, 0, 2), np.int64))

    def init(self, observations, actions, *, rng):
        places, rest = observations
        goals = [int(text.removeprefix("go to ")) for text in rest["sign"][:, -1]]
        return np.stack([places[:, -1], goals], 1)

    def step(self, state, action, *, rng):
        place = np.clip(state[:, 0] + action[:, 0] * action[:, 1], 0, 4)
        there = place == state[:, 1]
        return ModelStep(np.stack([place, state[:, 1]], 1), there.astype(np.float32), there)

    def decode(self, state):
        signs = texts([f"go to {goal}" for goal in state[:, 1]])
        body = np.stack([state[:, 0], -state[:, 0]], 1).astype(np.float32)
        return state[:, 0].copy(), {"body": body, "sign": signs}

    def imagined_text(self, state):
        return [f"at {place}" for place in state[:, 0].tolist()]
