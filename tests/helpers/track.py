"""A column that walks along a picture, its exact world model, and what a model was told while an agent played."""

import gymnasium
import numpy as np
from gymnasium import spaces

from atari_vlm.types import Transition
from atari_vlm.world_models.base import ModelStep, StartFrames

SHAPE = (8, 16, 3)
THREE, FROM_ONE = spaces.Discrete(3), spaces.Discrete(3, start=1)
BOX = spaces.Box(-1, 1, (1,), np.float32)


def distance(space, actions):
    total = np.asarray(actions, float).reshape(len(actions), -1).sum(1)
    return total - space.start if isinstance(space, spaces.Discrete) else total


class Track(gymnasium.Env):
    """A column on a picture of 16; each step to the right pays ``pay``. ``paints``: over one array, again and again."""

    def __init__(self, space, pay=0.1, paints=False):
        self.action_space, self.observation_space = space, spaces.Box(0, 255, SHAPE, np.uint8)
        self.pay, self.paints, self.buffer = pay, paints, np.zeros(SHAPE, np.uint8)

    def show(self):
        picture = self.buffer if self.paints else np.zeros(SHAPE, np.uint8)
        picture[:] = 0
        picture[:, round(self.x) % 16] = 255
        return picture

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = 2.0
        return self.show(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        moved = float(distance(self.action_space, [action])[0])
        self.x += moved
        return self.show(), self.pay * (moved > 0), False, False, {}


class TrackModel:
    """Track's exact model. ``contexts``: what init was given, (columns, actions); ``given``: what step was given."""

    frame_skip, reward_transform = 1, "none"

    def __init__(self, space, pay=0.1, context_length=2):
        self.action_space, self.observation_space = space, spaces.Box(0, 255, SHAPE, np.uint8)
        self.pay, self.context_length, self.contexts, self.given = pay, context_length, [], []
        pictures = np.zeros((1, 1, *SHAPE), np.uint8)
        pictures[..., 2, :] = 255
        self.start = StartFrames(pictures, np.zeros((1, 0), np.int64))

    def init(self, observations, actions, *, rng):
        columns = observations[:, :, 0, :, 0].argmax(-1)
        self.contexts.append((columns[0].tolist(), np.array(actions)[0]))
        return columns[:, -1].astype(float)

    def step(self, state, action, *, rng):
        self.given.append(np.array(action))
        moved = distance(self.action_space, action)
        return ModelStep(
            state + moved, (self.pay * (moved > 0)).astype(np.float32), np.zeros(len(state), bool)
        )

    def decode(self, state):
        pictures = np.zeros((len(state), *SHAPE), np.uint8)
        pictures[np.arange(len(state)), :, np.round(state).astype(int) % 16] = 255
        return pictures


def play(agent, env, steps=5):
    """Decisions of an agent."""
    agent.reset(seed=0)
    observation, _ = env.reset(seed=0)
    decisions = []
    for _ in range(steps):
        decision = agent.act(observation)
        after, reward, terminated, truncated, info = env.step(decision.action)
        agent.observe(Transition(observation, decision, reward, after, terminated, truncated, info))
        decisions.append(decision)
        observation = after
    return decisions
