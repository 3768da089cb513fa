"""The files of ``examples/cluster`` without a cluster: run under a stub of the scheduler, their commands taken by our parser."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from atari_vlm import evaluate as program
from atari_vlm.evaluation.cells import units
from atari_vlm.evaluation.evaluate import lessons_of
from atari_vlm.evaluation.study import check
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.command_line import parse

CLUSTER = Path(__file__).parent.parent / "examples" / "cluster"
SCRIPT, JOB = CLUSTER / "study_array.sh", CLUSTER / "study_job.yaml"
STUB = f"""#!{sys.executable}
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.2), sys.exit(143)))
with open(os.environ["SAID"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if "WAITS" in os.environ and "atari_vlm.evaluate" in sys.argv:
    time.sleep(30)
sys.exit(int(os.environ.get("CODE", "0")) if "atari_vlm.evaluate" in sys.argv else 0)
"""


@pytest.fixture
def stubbed(tmp_path):
    """Runs a shell command where ``python`` and ``scontrol`` are stubs; what they were called with, and the exit code."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python", "scontrol"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)
    said = tmp_path / "said.jsonl"

    def run(command, signalled=False, **variables):
        said.write_text("")
        path = f"{programs}:{os.environ['PATH']}"
        env = {"PATH": path, "SAID": str(said), **variables}
        process = subprocess.Popen(command, env=env, cwd=tmp_path)
        while signalled and not said.read_text():
            time.sleep(0.01)
        if signalled:
            process.terminate()
        code = process.wait(timeout=60)
        return [json.loads(line) for line in said.read_text().splitlines()], code

    return run


def config_of(words):
    """The configuration that a stubbed ``python -m atari_vlm.evaluate ...`` asks for."""
    assert words[:3] == ["python", "-m", "atari_vlm.evaluate"]
    return parse(EvaluateConfig, words[3:], program.__doc__)


def directives():
    """The ``#SBATCH`` lines, before the first command, as sbatch reads them."""
    found = {}
    for line in SCRIPT.read_text().splitlines():
        if line and not line.startswith("#"):
            break
        if match := re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line):
            found[match[1]] = match[2]
    return found


def test_the_array_and_the_shards_of_the_slurm_script_agree(stubbed):
    assert subprocess.run(["bash", "-n", str(SCRIPT)]).returncode == 0
    first, last = map(int, directives()["array"].split("-"))
    assert first == 1 and {"requeue", "time", "cpus-per-task", "output"} <= directives().keys()
    shards = []
    for task in (first, last):
        words, code = stubbed(["bash", str(SCRIPT)], SLURM_ARRAY_TASK_ID=str(task))
        config = config_of(words[0])
        assert code == 0 and len(words) == 1 and config.run_name == f"shard-{task}"
        shards.append(config.part())
        assert len({unit[1] for unit in config.part().of(units(check(config)))}) == 1  # one agent
    assert [(shard.number, shard.count) for shard in shards] == [(1, last), (last, last)]


@pytest.mark.parametrize(("ended", "again"), [(75, True), (143, True), (2, False), (0, False)])
def test_a_task_that_may_go_on_is_put_back_in_the_queue(stubbed, ended, again):
    ids = {"SLURM_ARRAY_JOB_ID": "90", "SLURM_ARRAY_TASK_ID": "3"}
    words, code = stubbed(["bash", str(SCRIPT)], CODE=str(ended), **ids)
    assert code == ended
    assert words[1:] == ([["scontrol", "requeue", "90_3"]] if again else [])
    words, _ = stubbed(["bash", str(SCRIPT)], CODE="75", SLURM_RESTART_COUNT="5", **ids)
    assert len(words) == 1  # a budget that is used up is not tried for ever


def test_a_task_whose_time_is_nearly_over_ends_after_its_step_and_is_put_back(stubbed):
    ids = {"SLURM_ARRAY_JOB_ID": "90", "SLURM_ARRAY_TASK_ID": "3"}
    words, code = stubbed(["bash", str(SCRIPT)], signalled=True, WAITS="1", **ids)
    assert code == 143 and words[1:] == [["scontrol", "requeue", "90_3"]]


def test_the_job_is_indexed_and_its_shards_are_its_completions(stubbed):
    job = yaml.safe_load(JOB.read_text())
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == (
        "batch/v1",
        "Job",
        "Indexed",
    )
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy is refused with another
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == container["name"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        v["name"] for v in pod["volumes"]
    }
    for index in (0, spec["completions"] - 1):
        variables = {"JOB_COMPLETION_INDEX": str(index), "SHARDS": env["SHARDS"]}
        words, code = stubbed([*container["command"], *container["args"]], **variables)
        config = config_of(words[0])
        assert code == 0 and config.run_name == f"shard-{index + 1}"
        assert str(config.part()) == f"{index + 1}/{spec['completions']}"
        assert len({unit[1] for unit in config.part().of(units(check(config)))}) == 1


@pytest.mark.slow
def test_slurm_itself_would_start_the_script():
    """Where a SLURM controller answers: the scheduler reads the directives, and says when the first task would begin."""
    if shutil.which("sbatch") is None:
        pytest.skip("there is no sbatch")
    done = subprocess.run(["sbatch", "--test-only", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0 and " to start at " in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_the_job_is_valid_by_kubernetes_own_schemas(version):
    """With ``pip install kubernetes-validate``: every field is known, and one that is not would be refused."""
    schemas = pytest.importorskip("kubernetes_validate")
    job = yaml.safe_load(JOB.read_text())
    schemas.validate(job, version, strict=True)
    job["spec"]["template"]["spec"]["restartPolity"] = "Never"
    with pytest.raises(schemas.ValidationError, match="restartPolity"):
        schemas.validate(job, version, strict=True)


def test_no_key_stands_in_a_file():
    for file in (SCRIPT, JOB, CLUSTER / "README.md"):
        assert not re.search(r"(sk|hf|ant)[-_][A-Za-z0-9]{8}", file.read_text())


def test_the_commands_of_the_readme_are_ours():
    text = (CLUSTER / "README.md").read_text()
    commands = re.findall(r"python -m atari_vlm\.evaluate (.*)", text.replace("\\\n", " "))
    assert commands
    for command in commands:
        words = shlex.split(command.partition("#")[0].replace("$head", "head"))
        parse(EvaluateConfig, words, program.__doc__)


def test_the_agents_of_the_serving_page_have_only_options_that_there_are():
    text = (CLUSTER.parent / "serving" / "README.md").read_text()
    words = re.findall(r"^(\w+=\S+base_url=\S+) ", text, re.MULTILINE)
    assert len(words) == 5
    for word in words:
        study = check(EvaluateConfig(games=["Pong"], agents=[word]))
        assert lessons_of(study) == {}  # every option is read, and nothing is loaded or asked
