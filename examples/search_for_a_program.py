"""A program that was searched for becomes an environment and a planner's model: CartPole, offline, in a sandbox."""

import gymnasium

from atari_vlm.agents import MCTSAgent, RandomAgent
from atari_vlm.experience import fill_replay_buffer
from atari_vlm.planning import MCTSConfig
from atari_vlm.runs.rollout import play_episode
from atari_vlm.synthesis import SearchConfig, search
from atari_vlm.vlm import load_vlm
from atari_vlm.world_models.code import CodeWorldModel
from atari_vlm.wrappers import WorldModelEnv

real = gymnasium.make("CartPole-v1", max_episode_steps=60)
buffer = fill_replay_buffer(real, 300, "buffers", "train_buffer")
found = search(load_vlm("scripted"), buffer, SearchConfig(budget=12), folder="runs/cart-pole")
for node in found.nodes[1:]:
    print(f"call {node.call}: {node.kind:8} score {node.score:.3f} {node.failure}")
print(f"held out: {found.held_out_score:.3f}, {len(found.program.splitlines())} lines of Python")

spaces = {"observation_space": real.observation_space, "action_space": real.action_space}
with CodeWorldModel(found.program, **spaces) as model:
    planner = MCTSAgent(model, MCTSConfig(num_simulations=25, rollout_steps=30))
    dream = WorldModelEnv(model, start=real, max_episode_steps=60)
    for name, env, agent in (
        ("at random", real, RandomAgent(action_space=real.action_space)),
        ("planned, in the real game", real, planner),
        ("planned, in the program", dream, planner),
    ):
        print(f"{name:26} return {play_episode(env, agent, seed=0).episode_return:g} of 60")
real.close()
