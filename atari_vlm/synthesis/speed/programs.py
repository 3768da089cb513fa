"""The programs that stand against a language model: those of searches where there are some, else these.

CartPole's is exact. Those of HalfCheetah and Humanoid are written down by hand from the description: positions move on by their
speeds, and the speeds stay. No short program has MuJoCo's dynamics, so they are right about ends and wrong about states, and do
for seconds alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atari_vlm.errors import ConfigError
from atari_vlm.synthesis.benchmark.catalogue import BenchmarkEnv
from atari_vlm.synthesis.benchmark.evaluation import saved_programs
from atari_vlm.vlm.scripted.programs import LESSONS

_HALF_CHEETAH = '''\
class Environment:
    """Angles and height move on by their speeds; the speeds stay as they are."""

    def __init__(self):
        self.state = [0.0] * 17

    def set_state(self, state):
        self.state = [float(value) for value in state]

    def step(self, action):
        places, speeds = self.state[:8], self.state[8:]
        places = [place + 0.05 * speed for place, speed in zip(places, speeds[1:])]
        self.state = places + speeds
        return self.state, speeds[0] - 0.1 * sum(float(a) ** 2 for a in action), False
'''
_HUMANOID = '''\
class Environment:
    """Height and joints move on by their speeds; everything else stays as it is."""

    def __init__(self):
        self.state = [0.0] * 348

    def set_state(self, state):
        self.state = [float(value) for value in state]

    def step(self, action):
        after = list(self.state)
        after[0] += 0.015 * after[24]
        for joint in range(17):
            after[5 + joint] += 0.015 * after[28 + joint]
        self.state = after
        well = 1.0 < after[0] < 2.0
        reward = 1.25 * after[22] + 5.0 * well - 0.1 * sum(float(a) ** 2 for a in action)
        return self.state, reward, not well
'''
_BUNDLED = {
    "CartPole": LESSONS["CartPole"].exact,
    "HalfCheetah": _HALF_CHEETAH,
    "Humanoid": _HUMANOID,
}


def programs_for(envs: Sequence[BenchmarkEnv], runs: Path | None) -> dict[str, tuple[str, str]]:
    """The program of each environment by its id, and where it is from: a run's name, or ``"bundled"``.

    ``runs`` is the run of a search or a folder of such runs, of which the first one of an environment counts. Raises
    ``ConfigError`` for an environment that has no program.
    """
    found: dict[str, tuple[str, str]] = {}
    for saved in saved_programs(runs) if runs is not None else ():
        found.setdefault(saved.env.env_id, (saved.program, saved.folder.name))
    for env in envs:
        bundled = _BUNDLED.get(env.env_id.split("-")[0])
        if env.env_id in found:
            continue
        if bundled is None:
            raise ConfigError(
                f"there is no program of {env.env_id}: --programs RUN names the run of a search that found one"
            )
        found[env.env_id] = (bundled, "bundled")
    return {env.env_id: found[env.env_id] for env in envs}
