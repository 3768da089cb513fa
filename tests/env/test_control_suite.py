"""Tasks of the control suite as environments: with a suite in its place, and with the real one where it is installed."""

import subprocess
import sys
import types

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from atari_vlm.env.control_suite import ControlSuite
from atari_vlm.errors import ConfigError, MissingDependencyError, NotSupportedError

ID = "DMC/cartpole-swingup_sparse-v0"


class Physics:
    def render(self, **size):
        raise ImportError("no GL")


class FakeTask:
    """Counts steps up to seven; pays the action; ends by itself at a large action."""

    def __init__(self):
        self.task, self.physics = types.SimpleNamespace(random=np.random.RandomState(0)), Physics()

    def observation_spec(self):
        return {"position": np.zeros((3,)), "height": np.zeros(())}

    def action_spec(self):
        return types.SimpleNamespace(shape=(2,), minimum=-1.0, maximum=np.array([1.0, 2.0]))

    def reset(self):
        self.t, self.begin = 0, self.task.random.uniform(size=3)
        return self.made(None, None)

    def step(self, action):
        assert action.dtype == np.float64 and action.shape == (2,)
        self.t += 1
        return self.made(float(action[0]), 0.0 if action[1] > 1.5 else 1.0)

    def made(self, reward, discount):
        over = self.t == 7 or discount == 0
        seen = {"position": self.begin, "height": np.float64(self.t)}
        return types.SimpleNamespace(
            observation=seen, reward=reward, discount=discount, last=lambda: over
        )

    def close(self):
        self.closed = True


@pytest.fixture
def suite(monkeypatch):
    made = types.ModuleType("dm_control.suite")

    def load(domain, task):
        if domain != "cartpole":
            raise ValueError(f"Domain {domain!r} does not exist.")
        return FakeTask()

    made.load = load
    monkeypatch.setitem(sys.modules, "dm_control", types.ModuleType("dm_control"))
    monkeypatch.setitem(sys.modules, "dm_control.suite", made)
    return made


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.* value")
@pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space")
def test_it_is_an_environment_of_one_vector(suite):
    env = gymnasium.make(ID)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.observation_space.shape == (4,) and env.action_space.high.tolist() == [1.0, 2.0]
    first = [env.reset(seed=seed)[0].tolist() for seed in (3, 4, 3)]
    assert first[0] == first[2] != first[1]
    assert gymnasium.spec(ID).kwargs == {"domain": "cartpole", "task": "swingup_sparse"}
    env.close()
    assert env.unwrapped._task.closed


def test_an_action_is_repeated_and_a_time_limit_is_no_end(suite):
    env = ControlSuite("cartpole", "swingup", action_repeat=2)
    env.reset(seed=0)
    steps = [env.step(np.array([0.5, 0.0], np.float32)) for _ in range(4)]
    assert [reward for _, reward, *_ in steps] == [1.0, 1.0, 1.0, 0.5]  # the seventh is the last
    assert [step[2:4] for step in steps] == [(False, False)] * 3 + [(False, True)]
    env.reset()
    seen, reward, terminated, truncated, _ = env.step(np.array([1.0, 2.0], np.float32))
    assert (seen[3], reward, terminated, truncated) == (1.0, 1.0, True, False)


def test_what_cannot_be_is_a_sentence(suite, monkeypatch):
    with pytest.raises(ConfigError, match="no task 'fly' of 'bird': Domain 'bird' does not exist"):
        ControlSuite("bird", "fly")
    with pytest.raises(ConfigError, match="action_repeat"):
        ControlSuite("cartpole", "swingup", action_repeat=0)
    with pytest.raises(ConfigError, match="render_mode"):
        ControlSuite("cartpole", "swingup", render_mode="human")
    with pytest.raises(NotSupportedError, match="MUJOCO_GL=egl: no GL"):
        ControlSuite("cartpole", "swingup", render_mode="rgb_array").render()

    def another_mujoco(domain, task):
        raise AttributeError("'MjModel' object has no attribute 'flex_vertedge'")

    suite.load = another_mujoco
    with pytest.raises(MissingDependencyError, match=r"flex_vertedge.*brings two that do"):
        ControlSuite("cartpole", "swingup")


def test_without_it_the_command_says_how_to_get_it(tmp_path):
    blocked = "import sys; sys.modules['dm_control'] = None\n"
    run = "from atari_vlm.dream import main; sys.exit(main())"
    words = ["llm-dreamer-v3", "--preset", "tiny", "--save-dir", str(tmp_path), "env=dmc"]
    done = subprocess.run(
        [sys.executable, "-c", blocked + run, *words], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 2 and list(tmp_path.iterdir()) == []
    assert done.stderr.splitlines()[-1].endswith("extra 'dmc': pip install 'atari-vlm[dmc]'")


def test_the_real_suite():
    suite = pytest.importorskip("dm_control.suite")
    ids = {f"DMC/{domain}-{task}-v0" for domain, task in suite.BENCHMARKING}
    assert ids == {env_id for env_id in gymnasium.registry if env_id.startswith("DMC/")}
    env = gymnasium.make(ID)
    assert env.observation_space.shape == (5,) and env.action_space.shape == (1,)
    runs = []
    for _ in range(2):
        seen, rewards = [env.reset(seed=1)[0]], []
        for n in range(500):
            step = env.step(np.array([np.sin(n)], np.float32))
            seen.append(step[0])
            rewards.append(step[1])
        assert step[2:4] == (False, True)
        runs.append((np.stack(seen).tobytes(), rewards))
    assert runs[0] == runs[1]
