"""What in-context learning shows a model: moments around rewards, with pictures, from its own best episodes."""

import gymnasium as gym

import atari_vlm  # noqa: F401
from atari_vlm.agents import ScriptedAgent, VLMAgent
from atari_vlm.pil_images import to_image
from atari_vlm.runs.rollout import play_episode
from atari_vlm.types import Message, Transition
from atari_vlm.vlm import NearestExampleVLM

env = gym.make("AtariVLM/Pong-v5", max_episode_steps=120)
names = env.unwrapped.get_action_meanings()
examples: list[Message] = []


def keep(transition: Transition) -> None:
    """Every step of the teacher becomes an example: what was seen, what was done."""
    facts = f"Example:\n{transition.observation['text']}\nThe reward that followed: {transition.reward:g}"
    examples.extend(
        (
            Message.of("user", to_image(transition.observation["image"].copy()), facts),
            Message.of("assistant", f"ACTION: {names[transition.decision.action]}"),
        )
    )


teacher = play_episode(env, ScriptedAgent(), seed=0, on_step=keep)
pupil = VLMAgent(NearestExampleVLM(), examples=examples)
played = play_episode(env, pupil, seed=1)
print(
    f"{len(examples) // 2} examples; teacher {teacher.episode_return:g}, pupil {played.episode_return:g}"
)
env.close()
