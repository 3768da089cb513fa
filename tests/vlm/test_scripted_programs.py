"""The offline writer: exact programs of three environments, each better than the one before, one for one question."""

import gymnasium
import numpy as np
import pytest

from atari_vlm.types import Message
from atari_vlm.vlm import load_vlm
from atari_vlm.vlm.base import Sampling
from atari_vlm.vlm.scripted.programs import LESSONS

IDS = {
    "CartPole": "CartPole-v1",
    "CliffWalking": "CliffWalking-v1",
    "MountainCar": "MountainCar-v0",
}


def played(name, steps=400):
    """Steps of the real game as ``(observation, action, next, reward, terminated)``."""
    env, rng = gymnasium.make(IDS[name]), np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    for _ in range(steps):
        action = int(rng.integers(env.action_space.n))
        after, reward, terminated, truncated, _ = env.step(action)
        yield observation, action, after, reward, terminated
        observation = env.reset()[0] if terminated or truncated else after
    env.close()


def right(program, name):
    """How many of the steps the program foretells, ``None`` where it raises. These programs are ours, so they run here."""
    scope = {}
    exec(compile(program, name, "exec"), scope)
    model, hits = scope["Environment"](), 0
    for observation, action, after, reward, terminated in played(name):
        model.set_state(observation)
        try:
            state, predicted, done = model.step(action)
        except (NameError, KeyError):
            return None
        hits += np.allclose(state, after, 1e-5, 1e-5) and (predicted, done) == (reward, terminated)
    return hits


@pytest.mark.parametrize("name", LESSONS)
def test_the_last_version_is_exact_and_each_fault_costs(name):
    versions = LESSONS[name].versions
    assert len({*versions}) == 4
    assert right(versions[0], name) is None
    assert right(versions[-1], name) == 400
    assert all(right(version, name) < 400 for version in versions[1:-1])


def test_a_question_with_one_of_its_programs_gets_the_next_better_one():
    writer = load_vlm("scripted")

    def ask(question, sample=0):
        asked = [Message.of("user", f"Model CartPole-v1 as class Environment.\n{question}")]
        return writer.complete(asked, sampling=Sampling(sample=sample)).text

    versions = LESSONS["CartPole"].versions
    for n, program in enumerate(versions):
        assert versions[min(n + 1, 3)] in ask(f"```python\n{program}```")
        assert versions[n] in ask("", sample=n)
    assert versions[-1] in ask("", sample=9)


def test_an_environment_that_nobody_wrote_down_gets_words():
    asked = [Message.of("user", "Model Taxi-v4 as class Environment.")]
    text = load_vlm("scripted").complete(asked, sampling=Sampling()).text
    assert "```" not in text and "CliffWalking" in text
