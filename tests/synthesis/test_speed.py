"""A language model as simulator against a program: own questions, both sides' correctness, seconds, dollars, and going on."""

import json
import re

import numpy as np
import pytest
from search_helpers import Writer

from atari_vlm import codewm
from atari_vlm.errors import BudgetExhaustedError, ConfigError
from atari_vlm.experience.transitions import TransitionBuffer
from atari_vlm.synthesis.benchmark.catalogue import find_env
from atari_vlm.synthesis.run_search import Place
from atari_vlm.synthesis.speed.asking import Foretold, foretold_by
from atari_vlm.synthesis.speed.measuring import Subject, computed_side
from atari_vlm.synthesis.speed.programs import programs_for
from atari_vlm.synthesis.speed.running import SpeedConfig, rows_of, run_speed
from atari_vlm.types import Reply

COUNTER = """
class Environment:
    def set_state(self, state): self.x, self.y = state
    def step(self, action):
        if self.x == 3: raise ValueError("three")
        return [self.x + action, self.y], 1.0, self.x + action > 4
"""


def counter(n=6):
    """States (x, 0), x going up by one: the episode ends above 4."""
    from gymnasium.spaces import Box, Discrete

    x = np.arange(n, dtype=np.float32)
    states = np.stack([x, np.zeros(n, np.float32)], axis=1)
    after = states + np.array([1, 0], np.float32)
    return TransitionBuffer(
        states,
        np.ones(n, int),
        np.ones(n),
        after,
        after[:, 0] > 4,
        np.zeros(n, bool),
        env_id="Counter-v0",
        observation_space=Box(-9, 9, (2,)),
        action_space=Discrete(2),
    )


def simulated(text):
    """Right for even x; for 1 a wrong state, for 3 half a state, for 5 nothing that can be read."""
    x = json.loads(re.search(r"State: (.*)", text)[1])[0]
    answer = {"next_state": [x + 1, 0], "reward": 1, "done": x + 1 > 4}
    if x == 1:
        answer |= {"next_state": [9], "done": True}
    if x == 3:
        answer |= {"next_state": [4, 7], "reward": 2.0}
    return "I cannot tell." if x == 5 else f"So {{x}} it is:\n```json\n{json.dumps(answer)}\n```"


def slow(number, text, sample):
    return Reply(simulated(text), "model-1", latency_s=0.5 + number, cost_usd=0.25)


def test_both_sides_are_judged_and_every_transition_has_its_own_question(tmp_path):
    writer, buffer = Writer(slow), counter()
    subject = Subject(buffer, "Count up.", COUNTER, "a test")
    (found,) = run_speed(Place(tmp_path, "r"), writer, [subject], SpeedConfig())
    texts = [text for text, _ in writer.asked]
    assert len(texts) == len(set(texts)) == 6
    for row, text in enumerate(texts):
        assert f"State: [{row}.0, 0.0]" in text and "Action: 1" in text
        assert f"{row + 1}.0" not in text.split("State:")[1]  # the answer is in no question
    right = {name: values.tolist() for name, values in found.llm.right.items()}
    assert right == {
        "next_state": [True, False, True, False, True, False],
        "reward": [True, True, True, False, True, False],
        "done": [True, False, True, True, True, False],
        "all": [True, False, True, False, True, False],
    }
    assert found.llm.numbers.tolist() == [1, 0, 1, 0.5, 1, 0]
    assert found.llm.seconds.value == pytest.approx(4.0) and found.llm.usd == 0.25
    assert found.program.right["all"].tolist() == [True, True, True, False, True, True]
    assert found.program.usd == 0 and 0 < found.program.seconds.value < 1
    content = json.loads((tmp_path / "r" / "speed.json").read_text())["environments"]["Counter-v0"]
    assert content["llm"]["right"]["all"] == 0.5 and content["llm"]["unusable"] == 1
    assert content["code"]["right"]["all"] == pytest.approx(5 / 6)
    assert content["code"]["unusable"] == 1 and "three" in str(content["transitions"][3]["program"])
    assert len({step["llm"]["question"] for step in content["transitions"]}) == 6
    assert [row[1] for row in rows_of([found])] == ["language model", "program", "nothing moves"]
    assert found.llm.near.tolist() == found.llm.numbers.tolist()  # off by more than a tenth
    assert (
        content["still"]["right"]["next_state"] == 0.0 and content["still"]["near_numbers"] == 0.5
    )
    assert "| Counter-v0 | language model | 4 " in (tmp_path / "r" / "speed.md").read_text()
    assert [s.schema["required"] for _, s in writer.asked] == [["next_state", "reward", "done"]] * 6


def test_near_is_a_tenth_of_the_usual_change():
    """x changes by 1 a step, so 0.1 is near; the rewards are 1, -1 in turns, so their deviation is 1."""
    buffer = counter()
    rewards = np.tile([1.0, -1.0], 3)
    buffer = TransitionBuffer(
        buffer.observations, buffer.actions, rewards, buffer.next_observations, buffer.terminated,
        buffer.truncated, env_id="Counter-v0", observation_space=buffer.observation_space,
        action_space=buffer.action_space,
    )  # fmt: skip
    for off, near in ((0.09, True), (0.11, False)):
        text = COUNTER.replace("self.x + action,", f"self.x + action + {off},").replace(
            "1.0,", f"(-1) ** self.x + {off},"
        )
        side = computed_side(
            Subject(buffer, "", text.replace("== 3", "== 99"), "a test"), deadline_s=2.0
        )
        assert side.near.tolist() == [1.0 if near else 0.5] * 6 and not side.right["all"].any()
        assert side.near_reward.tolist() == [near] * 6 and side.numbers.tolist() == [0.5] * 6


def test_a_run_that_a_limit_stopped_pays_nothing_twice(tmp_path):
    subject, place = Subject(counter(), "Count.", COUNTER, "a test"), Place(tmp_path, "r")
    writer = Writer(slow)
    with pytest.raises(BudgetExhaustedError):
        run_speed(place, writer, [subject], SpeedConfig(max_calls=4))
    with pytest.raises(BudgetExhaustedError):
        run_speed(place, writer, [subject], SpeedConfig(max_calls=4))
    assert len(writer.asked) == 4
    (found,) = run_speed(place, writer, [subject], SpeedConfig(max_calls=6))
    assert len(writer.asked) == 6 and found.llm.right["all"].mean() == 0.5
    assert [answer.seconds for answer in found.llm.answers] == [0.5 + n for n in range(1, 7)]


def test_what_a_reply_foretells():
    good = '{"next_state": [1, 2], "reward": 1, "done": false}'
    assert foretold_by(Reply(f"{{no}} {good} trailing {{", "m")) == Foretold([1, 2], 1.0, False)
    first, last = good.replace("1,", "7,"), good
    assert foretold_by(Reply(first + last, "m")).next_state == [1, 2]
    for text in (
        "",
        "{" * 5000,
        "[" * 9000 + good[:-1],
        good.replace("1,", "NaN,"),
        good.replace("1, 2", "1e999"),
        good.replace("false", "0"),
        good.replace('"reward": 1', '"reward": true'),
        good.replace('"reward": 1', '"reward": ' + "9" * 400),
        good.replace('"done": false', '"end": false'),
    ):
        assert foretold_by(Reply(text, "m")).problem, text[:60]
    assert "cut" in foretold_by(Reply(good, "m", finish_reason="length")).problem


def test_programs_are_a_search_s_or_bundled(tmp_path):
    envs = [find_env(name) for name in ("CartPole-v1", "HalfCheetah-v4", "Humanoid-v5")]
    found = programs_for(envs, None)
    assert [source for _, source in found.values()] == ["bundled"] * 3
    with pytest.raises(ConfigError, match="no program of Acrobot-v1"):
        programs_for([find_env("Acrobot-v1")], None)
    run = tmp_path / "mine"
    run.mkdir()
    (run / "best.py").write_text(COUNTER)
    (run / "results.json").write_text('{"env": "Acrobot-v1"}')
    assert programs_for([find_env("Acrobot-v1")], tmp_path)["Acrobot-v1"] == (COUNTER, "mine")


def test_the_three_environments_of_the_paper_offline(tmp_path, capsys):
    pytest.importorskip("mujoco")
    words = ("--n_transitions", "10", "--save_dir", str(tmp_path), "--run_name", "r")
    assert codewm.main(["speed", *words, "--serve", "0"]) == 0
    out, err = capsys.readouterr()
    assert "live page: http://127.0.0.1:" in err
    content = json.loads((tmp_path / "r" / "speed.json").read_text())["environments"]
    assert list(content) == ["CartPole-v1", "HalfCheetah-v5", "Humanoid-v5"] and "speed.json" in out
    for name, size in (("CartPole-v1", 4), ("HalfCheetah-v5", 17), ("Humanoid-v5", 348)):
        steps = content[name]["transitions"]
        assert len({step["llm"]["question"] for step in steps}) == 10
        assert all(len(step["program"]["said"]["next_state"]) == size for step in steps)
    assert content["CartPole-v1"]["code"]["right"]["all"] == 1.0
    for name, more, reward in (("HalfCheetah-v5", 0.2, 0.05), ("Humanoid-v5", 0.04, 0.1)):
        code, still = content[name]["code"], content[name]["still"]
        assert code["right"]["done"] == 1.0 and code["unusable"] == 0
        assert code["near_numbers"] > still["near_numbers"] + more
        assert code["near_reward"] >= reward and code["seconds_per_step"]["value"] > 0
    forces = slice(253, 270)  # exact, as a function of the action
    for step in content["Humanoid-v5"]["transitions"]:
        said, true = step["program"]["said"]["next_state"], step["next_state"]
        assert np.allclose(said[forces], true[forces], rtol=1e-5, atol=1e-5) and np.any(
            said[forces]
        )


@pytest.mark.parametrize("env", ["CartPole-v1", "HalfCheetah-v5", "Humanoid-v5"])
def test_the_command_asks_a_server(env, tmp_path, capsys, monkeypatch):
    """Seconds, dollars and correctness of both sides; the model says that nothing moves, and what a step is worth at least."""
    from fake_server import FakeVendorServer

    if env != "CartPole-v1":
        pytest.importorskip("mujoco")

    def answer(text, images):
        state = re.search(r"State: (.*)", text)[1]
        return f'{{"next_state": {state}, "reward": 1.0, "done": false}}'

    monkeypatch.setenv("OPENAI_API_KEY", "test-key-1")
    words = ["speed", "--env", env, "--n_transitions", "3", "--save_dir", str(tmp_path)]
    with FakeVendorServer(answer=answer, latency_s=0.02) as server:
        asked = [*words, "--model", "gpt-4o", "--base-url", server.openai_url, "--run_name", "r"]
        assert codewm.main(asked) == 0 and codewm.main(asked) == 0
        bodies = [request.text for request in server.requests]
    assert len(bodies) == len(set(bodies)) == 3
    content = json.loads((tmp_path / "r" / "speed.json").read_text())["environments"][env]
    llm, code, still = (content[side] for side in ("llm", "code", "still"))
    assert llm["seconds_per_step"]["value"] >= 0.02 > code["seconds_per_step"]["value"] > 0
    assert llm["usd_per_step"] > 0 == code["usd_per_step"] and llm["unusable"] == 0
    assert llm["right"]["reward"] == float(env == "CartPole-v1")
    assert llm["right"]["next_state"] == 0.0 and llm["near_numbers"] == still["near_numbers"]
    table = (tmp_path / "r" / "speed.md").read_text()
    assert [line.split(" | ")[1] for line in table.splitlines() if env in line][:2] == [
        "language model",
        "program",
    ]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--env", "Acrobot-v1"), "no program of Acrobot-v1"),
        (("--env", "CartPole-v9"), "did you mean"),
        (("--n_transitions", "0"), "at least 1"),
        (("--env", "CartPole-v1", "CartPole-v1"), "none of them twice"),
        (("--env", "CartPole-v1", "--programs", "nowhere"), "no run of a search"),
        (("--env", "CartPole-v1", "--vlm", "nearest-example"), "writes no programs"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert codewm.main(["speed", *words]) == 2
    err = capsys.readouterr().err
    assert said in err.splitlines()[-1] and "Traceback" not in err and not list(tmp_path.iterdir())
