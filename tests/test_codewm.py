"""``python -m atari_vlm.codewm``: a whole search offline, what may be wrong with a command, and how a search goes on."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from fake_server import FakeVendorServer
from small_disk import small_files

from atari_vlm import codewm
from atari_vlm.experience import fill_replay_buffer
from atari_vlm.runs.journal import Journal
from atari_vlm.synthesis.command_options import keys_from
from atari_vlm.synthesis.subject import shard
from atari_vlm.vlm.scripted.programs import write_program

ROOT = Path(__file__).parent.parent
QUICK = ("--n_episodes", 1, "--max-episode-steps", 12, "--num_simulations_mcts", 4, "--n_transitions", 60)  # fmt: skip
KEY, ORG = "sk-canary-0123456789abcdef", "org-canary-42"


def command(capsys, *words):
    """Run a command; exit code, what it wrote, and what it said."""
    code = codewm.main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


def tree_of(run):
    with (run / "nodes.csv").open() as file:
        return list(csv.DictReader(file))


def replies_in(run):
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        return len(list(journal.replies()))


@pytest.fixture(scope="module")
def buffers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buffers")
    for name in ("CartPole-v1", "CliffWalking-v1"):
        fill_replay_buffer(name, 200, folder, name, seed=1)
    return folder


@pytest.fixture(scope="module")
def found(buffers):
    """The run of a search that found its program."""
    words = ("--buffer", buffers / "CartPole-v1.npz", "--save_dir", buffers, "--run_name", "found")
    assert codewm.main(["search", *map(str, words)]) == 0
    return buffers / "found"


@pytest.mark.parametrize("name", ["CartPole-v1", "CliffWalking-v0"])
def test_a_whole_search_offline(name, tmp_path, capsys):
    words = ("--env", name, "--save_dir", tmp_path, "--run-name", "r", "--n_transitions", 300)
    code, out, err = command(capsys, "search", *words, "--budget", 20)
    run = tmp_path / "r"
    assert code == 0 and str(run / "best.py") in out and "Traceback" not in err
    found = json.loads((run / "results.json").read_text())
    assert (found["method"], found["scorer"], found["score"]) == ("gif-mcts", "tolerant", 1.0)
    assert found["held_out_score"] == 1.0 and found["calls"] <= 20 and found["cost_usd"] == 0
    nodes = tree_of(run)
    assert {node["failure"] for node in nodes} == {"", "bug"}
    assert len(list((run / "programs").iterdir())) == len(
        {n["program"] for n in nodes if n["program"]}
    )
    assert (run / "tree.html").is_file() and (run / "checkpoint" / "program.py").is_file()
    assert "class Environment" in (run / "best.py").read_text()


@pytest.mark.parametrize("method", ["worldcoder", "zero-shot", "best-of-n"])
def test_the_other_methods(method, buffers, tmp_path, capsys):
    words = ("--buffer", buffers / "CartPole-v1.npz", "--save_dir", tmp_path, "--run_name", "r")
    code, _, _ = command(capsys, "search", *words, "--method", method, "--budget", 12)
    assert code == 0 and json.loads((tmp_path / "r" / "results.json").read_text())["score"] == 1.0


def test_a_search_that_a_limit_stopped_goes_on_as_if_it_had_not(buffers, found, tmp_path, capsys):
    words = ("--buffer", buffers / "CartPole-v1.npz", "--save-dir", tmp_path, "--run-name", "cut")
    code, _, err = command(capsys, "search", *words, "--max-calls", 2)
    hint = re.search(r"continue with: python -m atari_vlm\.codewm (.*)", err)
    assert code == 75 and hint is not None and "Traceback" not in err
    assert len(tree_of(tmp_path / "cut")) == 3
    code, _, err = command(capsys, *hint[1].split())
    assert code == 0 and "(continued)" in err
    assert tree_of(tmp_path / "cut") == tree_of(found)


def test_a_full_disk_ends_a_search_that_goes_on_where_there_is_room(buffers, found, tmp_path, capsys):  # fmt: skip
    words = ("--buffer", buffers / "CartPole-v1.npz", "--save-dir", tmp_path, "--run-name", "r")
    with small_files(44 << 10):
        code, _, err = command(capsys, "search", *words)
    assert code == 74 and "continue with: python -m atari_vlm.codewm search" in err
    assert len(err.splitlines()) < 6 and "Traceback" not in err
    assert command(capsys, "search", *words)[0] == 0
    assert tree_of(tmp_path / "r") == tree_of(found)


def test_a_finished_search_that_is_named_is_shown_again(buffers, found, capsys):
    asked = replies_in(found)
    words = ("--buffer", buffers / "CartPole-v1.npz", "--save_dir", buffers, "--run_name", "found")
    code, out, err = command(capsys, "search", *words)
    assert code == 0 and "1.0000" in out and "(continued)" in err
    assert replies_in(found) == asked == 4


def test_a_search_may_begin_with_a_program(buffers, found, tmp_path, capsys):
    words = ("--buffer", buffers / "CartPole-v1.npz", "--save_dir", tmp_path, "--run_name", "r")
    code, _, _ = command(capsys, "search", *words, "--start", found / "best.py", "--budget", 2)
    assert code == 0 and json.loads((tmp_path / "r" / "results.json").read_text())["score"] == 1.0


def test_the_buffer_that_was_collected_lies_beside_the_runs(tmp_path, capsys):
    words = ("search", "--idx", 3, "--save_dir", tmp_path, "--n-transitions", 100, "--budget", 1)
    command(capsys, *words)
    (file,) = (tmp_path / "buffers").glob("*.npz")
    assert file.name == "CartPole-v1-random-100-0.npz"
    written = file.stat().st_mtime_ns
    command(capsys, *words)
    assert file.stat().st_mtime_ns == written


def test_collect_writes_what_search_reads(tmp_path, capsys):
    words = ("--env", "CartPole-v1", "--n_transitions", 50, "--out", tmp_path, "--buffer_name", "b")
    code, out, _ = command(capsys, "collect", *words, "--policy", "random", "--seed", 3)
    assert code == 0 and str(tmp_path / "b.npz") in out and "50 transitions" in out
    words = ("--buffer", tmp_path / "b.npz", "--save_dir", tmp_path, "--budget", 1)
    code, out, _ = command(capsys, "search", *words)
    assert code == codewm.NOTHING_WRITTEN and "(it raises)" in out  # the first version does


def test_part_of_the_list_is_a_run_an_environment(tmp_path, capsys):
    assert [*shard(0, 1)][-1] == "rtfm" and len(shard(0, 1)) == 19
    assert sorted(name for i in range(4) for name in shard(i, 4)) == sorted(shard(0, 1))
    words = ("--idx", 3, "--total_tasks", 19, "--save_dir", tmp_path, "--budget", 1)
    assert command(capsys, "search", *words, "--n_transitions", 40)[0] == codewm.NOTHING_WRITTEN
    assert [run.parent.name for run in tmp_path.glob("*/results.json")] == [
        "CartPole-v1-gif-mcts-001"
    ]


BAD = {
    "a game without objects": (("--env", "Tennis-v5"), "game with objects 'Tennis'", "Skiing"),
    "an unknown environment": (("--env", "CartPole-v7"), "did you mean", "CartPole-v1"),
    "an unknown method": (("--env", "CartPole-v1", "--method", "gifmcts"), "did you mean", "gif-mcts"),
    "an unknown policy": (("--env", "CartPole-v1", "--policy", "randon"), "did you mean", "random"),
    "two names": (("--env", "CartPole-v1", "--idx", 2), "not --idx 2", "Blackjack-v1"),
    "no budget": (("--env", "CartPole-v1", "--budget", 0), "budget", "at least 1"),
    "no environment": ((), "--env ID", "--idx N"),
    "no such package": (("--env", "no_such_package:Game-v0"), "no_such_package", "cannot be read"),
    "an index outside": (("--idx", 19), "from 0 to 18", "19"),
    "a part outside": (("--idx", 4, "--total-tasks", 4), "from 0 to 3", "4"),
    "a part and a name": (("--env", "CartPole-v1", "--idx", 3, "--total-tasks", 19), "--total-tasks", "part"),
    "parts of what": (("--total-tasks", 4), "--idx", "part"),
    "another environment's buffer": (("--env", "Acrobot-v1", "--buffer", "CartPole-v1.npz"), "CartPole-v1", "Acrobot-v1"),
    "no buffer": (("--buffer", "nothing.npz"), "nothing.npz", ""),
    "a cut buffer": (("--buffer", "cut.npz"), "cut.npz", "no buffer of transitions"),
    "a scripted writer's limits": (("--env", "Acrobot-v1"), "CartPole", "--model"),
    "a server without a model": (("--env", "CartPole-v1", "--base-url", "http://127.0.0.1:9/v1"), "--model", ""),
    "nothing to begin with": (("--env", "CartPole-v1", "--start", "nothing.py"), "--start nothing.py", ""),
    "a beginning with NUL": (("--env", "CartPole-v1", "--start", "nul.py"), "--start nul.py", "NUL"),
    "a beginning without end": (("--env", "CartPole-v1", "--start", "long.py"), "--start long.py", ""),
    "a beginning for a method that has none": (
        ("--env", "CartPole-v1", "--start", "x.py", "--method", "best-of-n"), "best-of-n begins with nothing", ""),
    "no key folder": (("--env", "CartPole-v1", "--model", "gpt-4o", "--key-folder", "nowhere"), "openai_key", ""),
    "a writer that writes nothing": (("--env", "CartPole-v1", "--vlm", "nearest-example"), "writes no programs", ""),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_in_one_line(what, buffers, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for file in buffers.glob("*-v1.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "cut.npz").write_bytes((buffers / "CartPole-v1.npz").read_bytes()[:900])
    (tmp_path / "cut.json").write_bytes((buffers / "CartPole-v1.json").read_bytes())
    (tmp_path / "nul.py").write_bytes(b"class Environment:\0")
    (tmp_path / "long.py").write_text("#" * (300 << 10))
    (tmp_path / "x.py").write_text("class Environment: pass")
    words, *expected = BAD[what]
    code, out, err = command(capsys, "search", *words, "--n_transitions", 20)
    *_, line = err.splitlines()
    assert line.startswith("error: ") and all(word in line for word in expected)
    assert code == (77 if what == "no key folder" else 2)
    assert "Traceback" not in err and not out and not list(tmp_path.glob("*/*/config.yaml"))


def test_commands_that_are_none(capsys):
    code, _, err = command(capsys, "serach")
    assert code == 2 and "did you mean search" in err
    assert command(capsys)[0] == 2 and command(capsys, "--help")[0] == 0


def test_keys_of_a_folder_reach_the_vendor_and_no_file(buffers, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "openai"
    folder.mkdir()
    (folder / "openai_key").write_text(KEY + "\n")
    (folder / "openai_org").write_text(ORG + "\n")
    asked = []

    def answer(text, images):
        asked.append(text)
        return write_program(text, 0) + f"\nMy key is {KEY}."

    with FakeVendorServer(answer=answer) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        words = ("--buffer", buffers / "CartPole-v1.npz", "--save_dir", tmp_path / "runs")
        words += ("--model", "gpt-4-turbo", "--key-folder", folder, "--budget", 12, "--top_p", 0.8)
        code, out, err = command(capsys, "search", *words)
        sent = server.requests[0]
    assert code == 0 and len(asked) == 4
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["openai-organization"] == ORG
    assert (sent.body["top_p"], sent.body["model"]) == (0.8, "gpt-4-turbo")
    assert all(message["role"] != "assistant" for message in sent.body["messages"])
    for file in (tmp_path / "runs").rglob("*"):
        if file.is_file():
            held = file.read_bytes()
            assert KEY.encode() not in held and ORG.encode() not in held, file
    assert KEY not in out + err and "OPENAI_ORG_ID" not in __import__("os").environ


@pytest.mark.parametrize(
    ("content", "said"), [(None, "openai_key"), ("", "openai_key"), ("sk-ü", "characters")]
)
def test_a_key_folder_without_a_key_is_refused(content, said, tmp_path):
    from atari_vlm.errors import AuthenticationError

    if content is not None:
        (tmp_path / "openai_key").write_text(content)
    with pytest.raises(AuthenticationError, match=said), keys_from(tmp_path):
        pass


def test_a_model_of_texts_in_process_writes(buffers, tmp_path, capsys):
    """Random weights write noise: every reply is a failure that is counted, and the exit code says that nothing was written."""
    from atari_vlm.vlm.local.tiny import build_tiny

    folder = build_tiny("llama", tmp_path / "tiny")
    words = ("--buffer", buffers / "CartPole-v1.npz", "--save_dir", tmp_path, "--run_name", "r")
    words += ("--model", folder, "--budget", 3, "--reply-tokens", 8, "--vlm-option", "device=cpu")
    code, out, _ = command(capsys, "search", *words, "--parallel", 2)
    assert code == codewm.NOTHING_WRITTEN and "no reply held a program" in out
    found = json.loads((tmp_path / "r" / "results.json").read_text())
    assert found["failures"] == {"cut": 3} and found["program"] is None and found["calls"] == 3
    assert "temperature=1-top_p=0.8-top_k=100" in found["writer"]
    assert not (tmp_path / "r" / "best.py").exists()


def test_where_no_program_can_be_held_none_runs_unless_one_asks_for_it(buffers, tmp_path, capsys, monkeypatch):  # fmt: skip
    from atari_vlm.world_models.code import sandbox_process, sandbox_rows

    def refused(*_, **__):
        raise sandbox_rows.unavailable("there is no seccomp here")

    monkeypatch.setattr(sandbox_process.Worker, "__init__", refused)
    words = ("--buffer", buffers / "CartPole-v1.npz", "--save_dir", tmp_path, "--run_name", "r")
    code, _, err = command(capsys, "search", *words)
    assert code == 69 and "no seccomp" in err and "--unsafe-local-code" in err.splitlines()[-1]
    assert command(capsys, "search", *words, "--unsafe-local-code")[0] == 0
    assert json.loads((tmp_path / "r" / "results.json").read_text())["score"] == 1.0
    assert command(capsys, "evaluate", "--save_dir", tmp_path, *QUICK)[0] == 69
    assert command(capsys, "evaluate", "--save_dir", tmp_path, *QUICK, "--unsafe_local_code", "True")[0] == 0  # fmt: skip


def test_tree_writes_the_page_again(found, tmp_path, capsys):
    code, out, _ = command(capsys, "tree", found, "--out", tmp_path / "t.html")
    assert code == 0 and out.strip() == str(tmp_path / "t.html")
    assert (tmp_path / "t.html").read_text() == (found / "tree.html").read_text()
    assert command(capsys, "tree", tmp_path)[0] == 2


def test_evaluate_measures_predictions_and_plans(found, capsys):
    code, out, _ = command(capsys, "evaluate", "--save_dir", found, "--real_env", "True", *QUICK)
    measured = json.loads((found / "evaluation.json").read_text())
    assert code == 0 and "CartPole-v1" in out and "no plan" in out
    assert {scorer: score["score"] for scorer, score in measured["scores"].items()} == {
        "tolerant": 1.0,
        "paper": 1.0,
        "code": 1.0,
    }
    returns = measured["returns"]
    assert returns["model"] == returns["oracle"] and returns["model"]["fallback_rate"] == 0
    assert returns["model"]["steps"] == 12 >= returns["random"]["steps"]


def test_evaluate_takes_all_runs_of_a_folder_and_needs_no_real_planning(found, tmp_path, capsys):
    for name in ("a", "b"):
        shutil.copytree(found, tmp_path / name)
    code, _, _ = command(capsys, "evaluate", "--save-dir", tmp_path, "--env", "CartPole-v1", *QUICK)
    assert code == 0 and len(list(tmp_path.glob("*/evaluation.json"))) == 2
    assert json.loads((tmp_path / "a" / "evaluation.json").read_text())["normalised_return"] is None
    code, _, err = command(capsys, "evaluate", "--save-dir", tmp_path, "--env", "Acrobot-v1")
    assert code == 2 and "holds no program of Acrobot-v1" in err


def changed_program(run):
    file = run / "checkpoint" / "program.py"
    file.write_text(file.read_text().replace("9.8", "9.7"))


def changed_best(run):
    (run / "best.py").write_text("class Environment: pass\n")


def without_checkpoint(run, program):
    shutil.rmtree(run / "checkpoint")
    (run / "best.py").write_bytes(program)


def foreign_name(run):
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**results, "env": "antigravity:Fly-v0"}))


def cut_results(run):
    (run / "results.json").write_text('{"env": "Cart')


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        (changed_program, 65, "program.py"),
        (changed_best, 65, "best.py is not the program of"),
        (foreign_name, 2, "antigravity"),
        (cut_results, 2, "results.json|cannot be read"),
        (lambda run: (run / "best.py").unlink(), 2, "no best.py"),
        (lambda run: without_checkpoint(run, b"class Environment:\0"), 2, "NUL"),
        (lambda run: without_checkpoint(run, b"#" * (300 << 10)), 2, "best.py"),
    ],
)
def test_a_run_that_was_tampered_with_is_refused_in_one_line(damage, code, said, found, tmp_path, capsys):  # fmt: skip
    run = shutil.copytree(found, tmp_path / "run")
    damage(run)
    ended, _, err = command(capsys, "evaluate", "--save_dir", run, *QUICK)
    assert ended == code and re.search(said, err) and len(err.splitlines()) == 1
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "program",
    ["x = 1\n", "class Environment: pass\n", "class Environment:\n    while True: pass\n"],
)
def test_a_program_that_models_nothing_is_measured_as_such(program, found, tmp_path, capsys):
    run = shutil.copytree(found, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint"))
    (run / "best.py").write_text(program)
    code, out, err = command(capsys, "evaluate", "--save_dir", run, *QUICK)
    measured = json.loads((run / "evaluation.json").read_text())
    assert code == 0 and "Traceback" not in out + err
    assert measured["scores"]["tolerant"]["bug"] and measured["scores"]["tolerant"]["score"] == 0
    assert measured["error"] and "model" not in measured["returns"]


def test_another_environments_buffer_measures_nothing(found, buffers, capsys):
    words = ("--save_dir", found, "--buffer", buffers / "CliffWalking-v1.npz", *QUICK)
    code, _, err = command(capsys, "evaluate", *words)
    assert code == 2 and "CliffWalking-v1" in err and "CartPole-v1" in err


OWN_PACKAGE = """
import gymnasium, numpy as np

class Line(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = float(self.np_random.integers(-2, 3))
        return np.array([self.at], np.float32), {}

    def step(self, action):
        self.at += 1.0 if action else -1.0
        return np.array([self.at], np.float32), -abs(self.at), abs(self.at) >= 5, False, {}

gymnasium.register("Line-v0", Line, max_episode_steps=20)
"""
OWN_PROGRAM = """
class Environment:
    def set_state(self, state):
        self.at = float(state[0])

    def step(self, action):
        self.at += 1.0 if action else -1.0
        return [self.at], -abs(self.at), abs(self.at) >= 5
"""


def test_an_environment_of_ones_own(tmp_path, capsys, monkeypatch):
    import gymnasium

    (tmp_path / "own_package.py").write_text(OWN_PACKAGE)
    (tmp_path / "rules.md").write_text("A point on a line moves one to the right, or to the left.")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "test-key-1")
    asked = []

    def answer(text, images):
        asked.append(text)
        return f"```python{OWN_PROGRAM}```"

    words = ("--env", "own_package:Line-v0", "--save_dir", tmp_path)
    try:
        with FakeVendorServer(answer=answer) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
            more = ("--description", tmp_path / "rules.md", "--model", "gpt-test", "--n_transitions", 60)  # fmt: skip
            assert command(capsys, "search", *words, *more)[0] == 0
        assert len(asked) == 1 and "A point on a line moves" in asked[0] and "Line-v0" in asked[0]
        assert command(capsys, "evaluate", *words, *QUICK, "--real_env", "True")[0] == 0
        (file,) = tmp_path.glob("*/evaluation.json")
        assert json.loads(file.read_text())["scores"]["tolerant"]["score"] == 1.0
    finally:
        gymnasium.registry.pop("Line-v0", None)
    code, _, err = command(capsys, "evaluate", "--save_dir", tmp_path)
    assert code == 2 and "Line-v0" in err.splitlines()[-1]
