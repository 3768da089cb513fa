"""A world model as a Gymnasium environment, and planners inside it: exact Catch, no emulator."""

import numpy as np

from atari_vlm.agents import CEMAgent, MCTSAgent, RandomAgent
from atari_vlm.planning import score_plans
from atari_vlm.runs.rollout import play_episode
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.wrappers import WorldModelEnv

model = CatchWorldModel()
env = WorldModelEnv(model)
for agent in (RandomAgent(action_space=env.action_space), CEMAgent(model), MCTSAgent(model)):
    returns = [play_episode(env, agent, seed=seed).episode_return for seed in range(20)]
    print(f"{type(agent).__name__:12} mean return {np.mean(returns):+.2f} of 1")

env.reset(seed=3)
goals = range(-4, 4)  # columns to move: RIGHT is 1, LEFT is 2, NOOP is 0
plans = [[1 if goal > 0 else 2] * abs(goal) + [0] * (7 - abs(goal)) for goal in goals]
scores = score_plans(model, env.state, plans, rng=np.random.default_rng(0))
print("move by", {goal: score for goal, score in zip(goals, scores.scores.tolist(), strict=True)})
print("the best plan moves by", goals[scores.best])
