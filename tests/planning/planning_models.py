"""Small world models for the tests of planners, and a count of what is asked of a model."""

import gymnasium
import numpy as np

from atari_vlm.world_models.base import ModelStep


class Counted:
    """A world model that notes the batch size of every step and every decode."""

    def __init__(self, model):
        self.model, self.steps, self.decodes = model, [], 0
        self.observation_space, self.action_space = model.observation_space, model.action_space
        self.frame_skip, self.reward_transform = model.frame_skip, model.reward_transform

    def init(self, observations, actions, *, rng):
        return self.model.init(observations, actions, rng=rng)

    def step(self, state, action, *, rng):
        self.steps.append(len(action))
        return self.model.step(state, action, rng=rng)

    def decode(self, state):
        self.decodes += 1
        return self.model.decode(state)


class Table:
    """Reward ``rewards[action]`` plus noise at every step; action ``end`` ends a row; the state counts its steps."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,))
    frame_skip, reward_transform = 1, "none"

    def __init__(self, rewards, *, end=None, noise=0.0):
        self.rewards, self.end, self.noise = np.array(rewards, np.float32), end, np.array(noise)
        self.action_space = gymnasium.spaces.Discrete(len(rewards))

    def init(self, observations, actions, *, rng):
        return np.zeros(len(observations))

    def step(self, state, action, *, rng):
        spread = np.broadcast_to(self.noise, self.rewards.shape)[action] * rng.standard_normal(
            len(action)
        )
        reward = (self.rewards[action] + spread).astype(np.float32)
        over = np.zeros(len(action), bool) if self.end is None else np.asarray(action) == self.end
        return ModelStep(state + 1, reward, over)

    def decode(self, state):
        raise AssertionError("planners never decode")


class Point:
    """A point on a line pushed by a force in [-1, 1] per step (float32, one column); reward: minus its distance from 2."""

    observation_space = gymnasium.spaces.Box(-10, 10, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))
    frame_skip, reward_transform = 1, "none"

    def init(self, observations, actions, *, rng):
        return np.asarray(observations)[:, -1, 0].astype(np.float64)

    def step(self, state, action, *, rng):
        following = state + np.clip(action[:, 0], -1, 1)
        return ModelStep(
            following, -np.abs(following - 2).astype(np.float32), np.zeros(len(state), bool)
        )

    def decode(self, state):
        raise AssertionError("planners never decode")
