"""Every command of the source system's README has its line in docs/code_world_models.md, and what stands there works."""

import json
import re
import shlex
from pathlib import Path

import pytest
from fake_server import FakeVendorServer

from atari_vlm import codewm
from atari_vlm.runs.command_line import parse
from atari_vlm.synthesis.apps.options import (
    AppsEvaluateCommand,
    AppsGifMctsCommand,
    AppsWorldCoderCommand,
    DownloadCommand,
    ZeroShotCommand,
)
from atari_vlm.synthesis.apps.problems import bundled_folder
from atari_vlm.synthesis.command_options import (
    CollectCommand,
    SearchCommand,
    TreeCommand,
)
from atari_vlm.synthesis.measuring_options import EvaluateCommand
from atari_vlm.synthesis.speed.options import SpeedCommand
from atari_vlm.vlm.scripted.programs import write_program
from atari_vlm.vlm.scripted.solving import write_solution

PAGE = (Path(__file__).parent.parent / "docs" / "code_world_models.md").read_text()
KINDS = {
    "search": SearchCommand,
    "collect": CollectCommand,
    "evaluate": EvaluateCommand,
    "tree": TreeCommand,
    "speed": SpeedCommand,
}
SOURCE = (  # every command of the README at e17e787, and the one function it names
    "python3 src/experiments/run_mcts_apps_all_prob.py --idx 0 --total_tasks 100",
    "python3 src/experiments/run_world_coder_apps.py --idx 0 --total_tasks 100",
    "python3 src/experiments/run_generate_solutions_apps.py",
    "python3 src/experiments/eval_solutions_apps.py --save save_path",
    "./sh_scripts/download_apps_data.sh",
    "python3 src/experiments/run_mcts_cwm.py --idx 0",
    "python3 src/experiments/run_mcts_cwm.py --env CartPole-v1",
    "python3 src/experiments/run_mcts_cwm.py --env rtfm",
    "python3 src/experiments/run_world_coder_cwm.py --idx 0",
    "python src/experiments/eval_cwm_planning.py --save_dir save_path",
    "python src/experiments/eval_cwm_planning.py --save_dir save_path --real_env True",
    "python3 src/experiments/eval_inference_speed_llm.py --model model_name --n_transitions n_transitions",
    "fill_replay_buffer(env, capacity=n, file_path=…, buffer_name=…)",
)
ROWS = [line.split("|")[1:3] for line in PAGE.splitlines() if line.startswith("| `")]
ROW_OF = {source: here for source in SOURCE for there, here in ROWS if f"`{source}`" in there}
QUICK = "--n_episodes 1 --max_episode_steps 5 --num_simulations_mcts 2 --n_transitions 30"


def commands_in(text):
    """The words behind ``python -m atari_vlm.codewm`` of every line and code span."""
    found = re.findall(r"python -m atari_vlm\.codewm ([^`\n]+)", text)
    return [shlex.split(line, comments=True) for line in found]


def test_every_command_of_the_source_has_its_line():
    assert ROW_OF.keys() == set(SOURCE)


@pytest.mark.parametrize("words", [w for w in commands_in(PAGE) if w[0] in KINDS], ids=" ".join)
def test_every_command_of_the_page_is_understood(words, monkeypatch, tmp_path):
    assert isinstance(parse(KINDS[words[0]], words[1:], None), KINDS[words[0]])


@pytest.mark.parametrize("source", [s for s in SOURCE if "cwm.py" in s or "fill" in s])
def test_what_a_line_says_works(source, tmp_path, monkeypatch):
    (words,) = commands_in(ROW_OF[source])
    words = [{"MODEL": "gpt-test"}.get(word, word) for word in words]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "test-key-1")
    with FakeVendorServer(answer=lambda text, images: write_program(text, 3)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        more = [] if words[0] == "collect" else ["--budget", "2", "--n_transitions", "40"]
        assert codewm.main([*words, *more]) in (0, codewm.NOTHING_WRITTEN)
    if words[0] == "collect":
        assert (tmp_path / "buffers" / "train_buffer.npz").is_file()
        return
    (file,) = tmp_path.glob("atari_vlm_results/*/results.json")
    found = json.loads(file.read_text())
    assert found["env"] == {"--idx 0": "Acrobot-v1", "CartPole-v1": "CartPole-v1", "--env rtfm": "rtfm"}[
        next(part for part in ("--idx 0", "CartPole-v1", "--env rtfm") if part in source)
    ]  # fmt: skip
    assert found["method"] == ("worldcoder" if "world_coder" in source else "gif-mcts")


def test_a_saved_program_is_evaluated_as_the_lines_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "search --env CartPole-v1 --save_dir save_path --n_transitions 40 --budget 12"
    assert codewm.main(words.split()) == 0
    for source in (s for s in SOURCE if "eval_cwm_planning" in s):
        (words,) = commands_in(ROW_OF[source])
        assert codewm.main([*words, *QUICK.split()]) == 0
        (file,) = tmp_path.glob("save_path/*/evaluation.json")
        planned = json.loads(file.read_text())["returns"].keys()
        assert ("oracle" in planned) == ("--real_env True" in source) and "model" in planned


APPS = {  # the command of a line, and what its words are held to
    "gif-mcts": AppsGifMctsCommand,
    "worldcoder": AppsWorldCoderCommand,
    "zero-shot": ZeroShotCommand,
    "evaluate": AppsEvaluateCommand,
    "download": DownloadCommand,
}
PAGES = PAGE + (Path(__file__).parent.parent / "docs" / "apps.md").read_text()


@pytest.mark.parametrize("words", [w for w in commands_in(PAGES) if w[0] == "apps"], ids=" ".join)
def test_every_command_of_apps_is_understood(words):
    assert isinstance(parse(APPS[words[1]], words[2:], None), APPS[words[1]])


def test_the_lines_of_apps_do_what_the_source_s_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "test-key-1")
    (tmp_path / "APPS").mkdir()
    (tmp_path / "APPS" / "test").symlink_to(bundled_folder())
    solving = ("run_mcts_apps", "run_world_coder_apps", "run_generate_solutions")
    for source in (s for s in SOURCE if any(name in s for name in solving)):
        (words,) = commands_in(ROW_OF[source])
        words = [{"MODEL": "gpt-test", "100": "2"}.get(word, word) for word in words]
        words += ["--save_dir", "save_path", "--run_name", words[1], "--budget", "1"]
        words += ["--total_tasks", "2"] * ("--total_tasks" not in words)
        with FakeVendorServer(answer=lambda text, images: write_solution(text, 2)) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
            assert codewm.main(words) == 0
            assert len(server.requests) == 2
    (words,) = commands_in(
        ROW_OF["python3 src/experiments/eval_solutions_apps.py --save save_path"]
    )
    for method in ("gif-mcts", "worldcoder", "zero-shot"):
        words = [f"save_path/{method}" if "save_path" in word else word for word in words]
        assert codewm.main(words) == 0
        found = json.loads((tmp_path / "save_path" / method / "apps_results.json").read_text())
        assert found["strict_accuracy"] == 1.0 and found["method"] == method
    capsys.readouterr()
