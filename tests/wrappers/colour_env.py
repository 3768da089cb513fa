"""Two small pictures-only environments that are not Atari games, and the wrappers under test."""

import ale_py
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Text

import atari_vlm  # noqa: F401 (registers the ids)
from atari_vlm.wrappers import LatencyAware, ResizeImage, StackFrames, TextDescription, VLMPrompt

gymnasium.register_envs(ale_py)

HEIGHT, WIDTH, LENGTH = 24, 30, 12


class ColourEnv(gymnasium.Env):
    """A square whose row is the step and whose colour is drawn from the seed; the reward is the action; 12 steps."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    action_space = Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.played = []
        return self._picture(), {}

    def step(self, action):
        self.played.append(int(action))
        return (
            self._picture(),
            float(action),
            len(self.played) >= LENGTH,
            False,
            {"played": len(self.played)},
        )

    def _picture(self):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[len(self.played) : len(self.played) + 4, 10:20] = self.np_random.integers(1, 256, 3)
        return picture


class ColourDictEnv(ColourEnv):
    """The same with a dictionary observation and named actions."""

    observation_space = Dict({"image": ColourEnv.observation_space, "words": Text(20)})

    def _picture(self):
        return {"image": super()._picture(), "words": "hello"}

    def get_action_meanings(self):
        return ["NOOP", "turn left", "turn right", "go", "stop"]


for name, cls in (("ColourSquare", "ColourEnv"), ("ColourDict", "ColourDictEnv")):
    if f"{name}-v0" not in gymnasium.registry:
        gymnasium.register(f"{name}-v0", f"{ColourEnv.__module__}:{cls}")

SMALL, ATARI = ("ColourSquare-v0", "ColourDict-v0"), ("ALE/Pong-v5", "AtariVLM/Pong-v5")

WRAPPERS = {
    "resize": lambda env: ResizeImage(env, (32, 40)),
    "resize-scale": lambda env: ResizeImage(env, 2, "cubic"),
    "resize-aspect": lambda env: ResizeImage(env, (64, 64), "area", keep_aspect=True),
    "stack": lambda env: StackFrames(env, 3),
    "text": TextDescription,
    "prompt": lambda env: VLMPrompt(TextDescription(env, "A game of mine"), "cot"),
    "latency": lambda env: LatencyAware(env, 0.11, "last"),
    "latency-model": lambda env: LatencyAware(
        env, {"kind": "lognormal", "median_s": 0.1, "sigma": 0.5}, 1
    ),
}
CASES = [(base, name) for base in SMALL for name in WRAPPERS]
CASES += [
    (ATARI[0], "prompt"),
    (ATARI[0], "latency-model"),
    (ATARI[1], "resize"),
    (ATARI[1], "latency"),
]


def assert_same(first, second):
    """Observations are equal, PIL images compared by their pixels."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, str):
        assert first == second
    else:
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def rollout(env, steps=10, seed=3):
    """Observations, rewards and ends of a run of seeded actions; one reset where an episode ends."""
    env.action_space.seed(seed)
    observations, outcomes = [env.reset(seed=seed)[0]], []
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        observations.append(observation)
        outcomes.append((float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            observations.append(env.reset()[0])
    return observations, outcomes
