"""A program of CartPole, run in the sandbox: planned in, judged by the real game, kept and loaded again."""

import gymnasium

from atari_vlm.agents import MCTSAgent
from atari_vlm.planning import MCTSConfig
from atari_vlm.runs.rollout import play_episode
from atari_vlm.world_models import load_world_model
from atari_vlm.world_models.code import CodeWorldModel, check_program

PROGRAM = """
from math import cos, sin


class Environment:
    def set_state(self, state):
        self.state = state.tolist()

    def step(self, action):
        x, speed, angle, turning = self.state
        push = ((10.0 if action == 1 else -10.0) + 0.05 * turning**2 * sin(angle)) / 1.1
        twist = (9.8 * sin(angle) - cos(angle) * push) / (2 / 3 - 0.05 * cos(angle) ** 2 / 1.1)
        x, speed = x + 0.02 * speed, speed + 0.02 * (push - 0.05 * twist * cos(angle) / 1.1)
        angle, turning = angle + 0.02 * turning, turning + 0.02 * twist
        self.state = [x, speed, angle, turning]
        return self.state, 1.0, abs(x) > 2.4 or abs(angle) > 0.2095
"""

env = gymnasium.make("CartPole-v1")
states = [env.reset(seed=seed)[0] for seed in range(4)]
print("faults:", check_program(PROGRAM, states=states, actions=[0, 1]) or "none")

spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
with CodeWorldModel(PROGRAM, **spaces) as model:
    folder = model.save("cart_pole_program", provenance={"writer": "this example"})

with load_world_model(folder) as model:
    agent = MCTSAgent(model, MCTSConfig(num_simulations=25, rollout_steps=30, batch_size=5))
    played = play_episode(env, agent, seed=0, max_steps=100)
    print(f"the real pole stood for {played.length} of 100 steps")
