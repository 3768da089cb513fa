"""Kills workers, nodes and drivers of studies on a Ray cluster of three nodes, and compares with a study that nobody disturbed.

``python ray_kills.py FOLDER WORKERS NODES DRIVERS SEED``: so many kills of each sort, in a random order at random moments, in as
many studies of 24 units as it takes. AssertionError where a table differs, a unit is lost, a call was paid twice that was not in
flight, or a limit was passed by more than the calls in flight.
"""

import itertools
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ray_sessions import workers_of_this_process
from ray_studies import LANE, ledger_of, tables

from atari_vlm.evaluation.evaluate import evaluate
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.cluster.session import _small
from atari_vlm.runs.journal import Journal

SEEDS = [str(seed) for seed in range(8)]
PARALLEL = 3
SILENT = ("dashboard_agent_listen_port", "metrics_agent_port", "metrics_export_port")


def agents(ledger):
    asks = f"own_players:LedgerVLM,frames=1,seconds=0.05,ledger={ledger}"
    return [f"eye={asks}", f"taught={asks},use_icl=true,num_episodes=1,round_size=1"]


def words(folder):
    """The command of a study: 3 agents (random joins) x 8 seeds."""
    return [
        *("--games", LANE, "--agents", *agents(ledger_of(folder)), "--seeds", *SEEDS),
        *("--max-steps", "8", "--save-dir", str(folder), "--run-name", "run"),
    ]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Cluster:
    """Three nodes on this machine; one can be lost with all that runs on it, and another one joins."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        os.environ["RAY_worker_niceness"] = "0"
        with _small():
            self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self.others = [self._joined() for _ in range(2)]
        self.address = self._cluster.address

    def lose_a_node(self, rng):
        node = self.others.pop(rng.randrange(len(self.others)))
        self._cluster.remove_node(node, allow_graceful=False)
        self.others.append(self._joined())

    def _joined(self):
        """Another node. Ray ends one whose agents have not said their ports within 15 s, which is short on a busy machine.

        So they are said for them, as agents without a dashboard say them.
        """
        node, ports = secrets.token_hex(28), {"runtime_env_agent_port": free_port()}
        for name in SILENT:
            (Path(self._cluster.head_node.get_session_dir_path()) / f"{name}_{node}").write_text(
                "-1"
            )
        named = {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": node}
        with _small():
            return self._cluster.add_node(num_cpus=1, env_vars=named, **ports)

    def close(self):
        self._cluster.shutdown()


class Study:
    """A study under way: its driver is a program of its own."""

    def __init__(self, folder, address, *more):
        self.folder, self._more = folder, (*more, "--ray-address", address)
        self.start()

    def start(self):
        line = [
            sys.executable,
            "-m",
            "atari_vlm.evaluate",
            *words(self.folder),
            "--executor",
            "ray",
        ]
        self._log = open(self.folder / "log", "a")
        self.driver = subprocess.Popen(
            [*line, "--parallel", str(PARALLEL), *self._more], stdout=self._log, stderr=self._log
        )

    def kill_the_driver(self):
        self.driver.kill()
        self.driver.wait()
        self.start()

    def replies(self):
        """How many replies its journal holds."""
        with Journal(self.folder / "run" / "journal.sqlite", read_only=True) as journal:
            return sum(1 for _ in journal.replies(paid=True))

    def calls(self):
        """How many calls were really made."""
        return len((self.folder / "ledger").read_text().splitlines())


def disturb(kind, study, cluster, rng):
    """One kill; whether there was something to kill."""
    if kind == "driver":
        study.kill_the_driver()
    elif kind == "node":
        cluster.lose_a_node(rng)
    else:
        victims = workers_of_this_process()
        if not victims:
            return False
        os.kill(rng.choice(victims), signal.SIGKILL)
    return True


def play(folder, cluster, kinds, rng):
    """One study, disturbed at random moments until it ends or nothing is left to be killed; the kills that it met."""
    folder.mkdir()
    study, met = Study(folder, cluster.address), []
    while study.driver.poll() is None:
        time.sleep(rng.uniform(0.5, 4.0))
        ledger = folder / "ledger"
        if kinds and ledger.exists() and study.driver.poll() is None:
            if disturb(kinds[-1], study, cluster, rng):
                met.append(kinds.pop())
    assert study.driver.returncode == 0, (folder / "log").read_text()[-3000:]
    return study, met


def check_limit(folder, cluster):
    """A limit that is reached ends the study with 75 and is kept; asked again, it asks nobody."""
    folder.mkdir()
    for _ in range(2):
        study = Study(folder, cluster.address, "--max-calls", "20")
        time.sleep(0.1)
        assert study.driver.wait(600) == 75, (folder / "log").read_text()[-3000:]
        assert study.calls() == 20, study.calls()
    return study.calls()


def main(root, counts, seed):
    rng = random.Random(seed)
    kinds = [
        kind for kind, n in zip(("worker", "node", "driver"), counts, strict=True) for _ in range(n)
    ]
    rng.shuffle(kinds)
    whole = root / "whole"
    evaluate(
        EvaluateConfig(
            games=[LANE], agents=agents(ledger_of(whole)), seeds=list(map(int, SEEDS)), max_steps=8,
            save_dir=whole, run_name="run",
        )
    )  # fmt: skip
    reference = tables(whole / "run")
    cluster, total = Cluster(), 0
    try:
        for number in itertools.count(1):
            study, met = play(root / f"study-{number}", cluster, kinds, rng)
            found = tables(study.folder / "run")
            different = [name for name in reference if found[name] != reference[name]]
            assert not different, f"{study.folder}: {different[:5]} differ"
            calls, replies = study.calls(), study.replies()
            flights = len(met) + PARALLEL * (met.count("driver") + met.count("node"))
            assert replies <= calls <= replies + flights, (calls, replies, met)
            print(f"study {number}: kills {met}, {replies} replies, {calls} calls", flush=True)
            total += len(met)
            if not kinds:
                break
        print(f"a limit of 20 calls: {check_limit(root / 'limit', cluster)} calls", flush=True)
    finally:
        cluster.close()
    print(f"{total} kills, {number} studies, all equal")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:5]], int(sys.argv[5]))
