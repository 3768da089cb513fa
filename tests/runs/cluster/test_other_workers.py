"""Workers whose machine lacks the package or has another version of it: a cluster of one such node, refused in one sentence."""

import os
import tempfile

import pytest
from ray_studies import LANE

from atari_vlm import codewm
from atari_vlm import evaluate as study
from atari_vlm.experience import fill_replay_buffer
from atari_vlm.runs.cluster.session import _small

LACKING = """
import sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "atari_vlm":
            raise ModuleNotFoundError("No module named 'atari_vlm'")

sys.meta_path.insert(0, Lacking())
"""
OLDER = """
import sys

if any("default_worker" in word for word in sys.orig_argv):
    import atari_vlm

    atari_vlm.__version__ = "0.0.9"
"""


@pytest.fixture(params=["lacking", "older"])
def node(request, tmp_path, monkeypatch):
    """The address of a cluster, and what is said of its workers."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    place = tmp_path / "site"
    place.mkdir()
    text, said = {
        "lacking": (LACKING, "error: a worker cannot begin: ModuleNotFoundError"),
        "older": (OLDER, "has atari_vlm 0.0.9, this process"),
    }[request.param]
    (place / "sitecustomize.py").write_text(text)
    there = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as short, _small():
        monkeypatch.setenv("RAY_TMPDIR", short)
        monkeypatch.setenv("RAY_worker_niceness", "0")
        head = {"num_cpus": 1, "env_vars": {"PYTHONPATH": there}}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster.address, said
        finally:
            cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_they_are_refused_before_they_do_anything(node, tmp_path, capsys):
    address, said = node
    fill_replay_buffer("CartPole-v1", 50, tmp_path, "b", seed=1)
    search = ["search", "--buffer", str(tmp_path / "b.npz"), "--budget", "2"]
    games = ["--games", LANE, "--agents", "noop", "--seeds", "0", "--max-steps", "4"]
    for main, words in ((study.main, games), (codewm.main, search)):
        where = [
            "--save-dir",
            str(tmp_path / "runs"),
            "--executor",
            "ray",
            "--ray-address",
            address,
        ]
        assert main([*words, *where]) == 2
        err = capsys.readouterr().err
        assert said in err.splitlines()[-1] and "Traceback" not in err, err
