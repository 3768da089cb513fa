"""PPO of stable-baselines3 on AtariVLM/Pong-v5 as numbers: pictures in, one of six buttons out.

    pip install -e . stable-baselines3 && python examples/stable_baselines3_pong.py --steps 10000

It shows that the environment is one that stable-baselines3 takes (its own checker says so); to play well takes millions of steps.
"""

import argparse

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env

import atari_vlm  # noqa: F401  registers the ids


class Picture(gym.ObservationWrapper):
    """The picture alone: uint8 (84, 84, 1)."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(0, 255, (84, 84, 1), np.uint8)

    def observation(self, observation):
        return observation["image"].reshape(84, 84, 1)


def make():
    env = gym.make("AtariVLM/Pong-v5", image_format="numpy", resize_shape=(84, 84), grayscale=True)
    return Picture(env)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=64)
steps = parser.parse_args().steps

check_env(make())
model = PPO("CnnPolicy", make(), n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu")
model.learn(steps)

env = make()
observation, _ = env.reset(seed=1)
total = 0.0
for _ in range(100):
    action, _ = model.predict(observation, deterministic=True)
    observation, reward, terminated, truncated, _ = env.step(int(action))
    total += reward
print(f"learned from {model.num_timesteps} steps; return of 100 steps: {total:g}")
