"""A collector of torchrl plays AtariVLM/Pong-v5: batches of pictures, actions and rewards as TensorDicts.

pip install -e . torchrl && python examples/torchrl_pong.py --frames 64
"""

import argparse

import gymnasium as gym
import numpy as np
import torch
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper, check_env_specs

import atari_vlm  # noqa: F401  registers the ids


class Picture(gym.ObservationWrapper):
    """The picture alone: uint8 (84, 84, 3)."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(0, 255, (84, 84, 3), np.uint8)

    def observation(self, observation):
        return observation["image"]


def make():
    env = gym.make("AtariVLM/Pong-v5", image_format="numpy", resize_shape=(84, 84))
    return GymWrapper(Picture(env), categorical_action_encoding=True)


class Policy(torch.nn.Module):
    """One linear layer over the mean colour: what stands here is yours to choose."""

    def __init__(self, actions):
        super().__init__()
        self.layer = torch.nn.Linear(3, actions)

    def forward(self, pixels):
        scores = self.layer(pixels.float().mean((-3, -2)) / 255)
        return torch.distributions.Categorical(logits=scores).sample()


parser = argparse.ArgumentParser()
parser.add_argument("--frames", type=int, default=64)
frames = parser.parse_args().frames

torch.manual_seed(0)
env = make()
check_env_specs(env)
(pixels,) = env.observation_spec.keys()  # torchrl's name of a picture
policy = TensorDictModule(Policy(env.action_spec.space.n), in_keys=[pixels], out_keys=["action"])
collector = Collector(make, policy, frames_per_batch=32, total_frames=frames)
for batch in collector:
    rewards = batch["next", "reward"]
    print(tuple(batch[pixels].shape), "return of the batch:", float(rewards.sum()))
collector.shutdown()
