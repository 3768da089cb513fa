"""Tree search with the emulator itself as the world model: the upper bound for a planner."""

import gymnasium as gym

import atari_vlm  # noqa: F401
from atari_vlm.agents import MCTSAgent
from atari_vlm.planning import MCTSConfig
from atari_vlm.runs.rollout import play_episode
from atari_vlm.world_models import EmulatorWorldModel

env = gym.make("AtariVLM/Boxing-v5", repeat_action_probability=0.0, max_episode_steps=40)
env.reset(seed=0)
agent = MCTSAgent(EmulatorWorldModel(env), MCTSConfig(num_simulations=24, depth=8, rollout_steps=6))
trajectory = play_episode(env, agent, seed=0)
print("return after 40 decisions:", trajectory.episode_return)
env.close()
