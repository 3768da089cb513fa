"""Examples reach the model and help: a model that only imitates plays better with them than without, on the same seeds.

``python -m pytest -m slow -n 0 -s tests/training/test_learning.py``.
"""

import pytest

from atari_vlm import VLMTrainer
from atari_vlm.agents import VLMAgent
from atari_vlm.agents.in_context.demonstrations import DemonstrationRecorder
from atari_vlm.agents.in_context.examples import STRATEGIES, InContextOptions
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.runs.rollout import play_episode
from atari_vlm.vlm import NearestExampleVLM, ScriptedVLM


def demonstrations(game, episodes, steps):
    """What the bundled player shows, from seeds that no run uses for evaluation."""
    for number in range(-episodes, 0):
        recorder = DemonstrationRecorder(number)
        agent = VLMAgent(ScriptedVLM())
        trajectory = play_episode(
            AtariVLMEnvironment(game),
            agent,
            seed=-2 * number,
            max_steps=steps,
            on_step=recorder.see,
        )
        yield recorder.finish(trajectory)


@pytest.mark.slow
def test_an_imitator_is_better_with_examples(tmp_path):
    episodes, steps = 5, 200
    budget = InContextOptions(max_examples=12, max_images=24, max_tokens=20_000)
    settings = {"max_steps": steps, "videos": 0, "parallel": 2, "in_context": budget}
    with VLMTrainer("Freeway-v5", NearestExampleVLM(), save_dir=tmp_path, **settings) as trainer:
        trainer.library.add(list(demonstrations("Freeway-v5", 2, 200)))
        without = trainer.evaluate(episodes, strategy="none")["episode_rewards"]
        for strategy in [strategy for strategy in STRATEGIES if strategy != "none"]:
            returns = trainer.evaluate(episodes, strategy=strategy)["episode_rewards"]
            print(f"{strategy}: {returns}, without examples {without}")
            assert all(better > worse for better, worse in zip(returns, without, strict=True))
