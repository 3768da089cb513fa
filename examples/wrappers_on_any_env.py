"""Text, prompts, stacked frames and real time on a plain ALE environment."""

import ale_py  # noqa: F401  (registers ALE/...)
import gymnasium as gym

from atari_vlm.wrappers import LatencyAware, ResizeImage, StackFrames, TextDescription, VLMPrompt

env = gym.make("ALE/Pong-v5")
env = LatencyAware(env, latency={"kind": "lognormal", "median_s": 0.4, "sigma": 0.5})
env = VLMPrompt(TextDescription(StackFrames(ResizeImage(env, shape=2), num_frames=3)), style="cot")
observation, info = env.reset(seed=0)
print(observation["frames"].shape)
print(observation["prompt"][:200], "...")
for action in (2, 3, 2):
    observation, reward, terminated, truncated, info = env.step(action)
    print(
        f"the reply took {info['latency_s']:.2f} s: {info['held_frames']} emulator frames went by"
    )
env.close()
