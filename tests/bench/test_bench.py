"""The benchmark program: what it prints, what it refuses, and how it borrows a peer's own code.

The comparison with REM's own code itself: ``REM_PEER=PATH python -m pytest -m slow tests/bench/test_bench.py``.
"""

import json
import os
import sys

import pytest
import torch

from atari_vlm.bench import plan, random_rem, rem_peer
from atari_vlm.bench.__main__ import BenchConfig, main, shown_options
from atari_vlm.bench.measure import Case, Result, measure, to_json, to_markdown
from atari_vlm.bench.random_rem import FACTS
from atari_vlm.bench.rem_peer import RemPeer
from atari_vlm.bench.world_model import LARGEST_DIFFERENCE, cases
from atari_vlm.errors import ConfigError
from atari_vlm.world_models.rem.settings import preset
from atari_vlm.world_models.rem.world_model import TokenWorldModel


def result(name, ratio, note="", better="higher"):
    return Result(
        name, "peer", 10.0, 10.0 * ratio, ratio, ratio, ratio, 2.0, better, "cpu", 3, note
    )


def test_the_page_shows_how_it_was_made_and_each_note_once():
    options = shown_options(
        BenchConfig("world-model", peer=["rem=/some/where", "cwm=../x=y"], only="batch 1")
    )
    assert options == " --only 'batch 1' --peer rem=PATH --peer cwm=PATH"
    page = to_markdown(
        "world-model",
        [result("a", 3.0, "same"), result("b", 1.0, "same"), result("c", 2.0)],
        options,
    )
    assert (
        "`python -m atari_vlm.bench world-model --only 'batch 1' --peer rem=PATH --peer cwm=PATH`: one pinned"
        in page
    )
    assert "| a | peer | 10.0 us | 30.0 us | 3.00x faster (3.00-3.00) | >= 2 | yes |" in page
    assert page.count("| **no** |") == 1 and "- a; b: same" in page and page.count("same") == 1
    stored = json.loads(to_json("world-model", [result("a", 3.0)], options))
    assert stored["options"] == options.strip() and stored["results"][0]["reached"]
    assert shown_options(BenchConfig("env")) == ""


def test_a_measurement_counts_units_on_both_sides():
    calls = []
    case = Case(
        "x",
        "y",
        lambda: calls.append("ours"),
        lambda: calls.append("peer"),
        0.0,
        count=2,
        peer_count=4,
    )
    measured = measure(case, rounds=3)
    assert calls == ["ours", "peer"] * 4  # a warm-up of each, then in turn
    assert measured.rounds == 3 and measured.ratio_low <= measured.ratio_high


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["world-model", "--peer", "rem"], "--peer is NAME=PATH"),
        (["world-model", "--peer", "iris=/tmp"], "iris"),
        (
            ["world-model", "--peer", "rem=/nowhere"],
            "there is no /nowhere/src/models/pop_retnet.py",
        ),
        (["nothing"], "nothing"),
    ],
)
def test_wrong_calls_end_in_a_sentence(arguments, sentence, capsys, monkeypatch):
    monkeypatch.setattr("atari_vlm.bench.__main__.pin_to_one_core", lambda: None)
    assert main(arguments) != 0
    error = capsys.readouterr().err
    assert error.startswith("error: ") and sentence in error


def a_checkout(root, text):
    (root / "src" / "models").mkdir(parents=True)
    (root / "src" / "models" / "pop_retnet.py").write_text(text)
    return root


def test_a_missing_package_of_the_peer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        rem_peer, "NEEDED", {"json": "json", "no_such_module_here": "no-such-package>=1"}
    )
    with pytest.raises(ConfigError, match=r"pip install no-such-package>=1$"):
        RemPeer(str(a_checkout(tmp_path, "")), preset("rem", FACTS).networks)


def test_a_peer_s_modules_leave_no_trace(tmp_path, monkeypatch):
    monkeypatch.setattr(rem_peer, "NEEDED", {})
    monkeypatch.setattr(rem_peer, "ONLY_MENTIONED", ("absent_gym", "absent_gym.spaces"))
    text = """
import absent_gym
from absent_gym.spaces import Box
from torch.utils.data.dataset import T_co
class Wrapped(absent_gym.Wrapper):
    kind: absent_gym.Env = Box.ANY
"""
    modules, path = set(sys.modules), list(sys.path)
    with rem_peer._imports(a_checkout(tmp_path, text)) as module:
        assert module("models.pop_retnet").Wrapped.__name__ == "Wrapped"
    assert set(sys.modules) == modules and sys.path == path
    assert not hasattr(torch.utils.data.dataset, "T_co")


def test_a_broken_peer_leaves_no_trace_either(tmp_path, monkeypatch):
    monkeypatch.setattr(rem_peer, "NEEDED", {})
    modules, path = set(sys.modules), list(sys.path)
    with (
        pytest.raises(ImportError),
        rem_peer._imports(a_checkout(tmp_path, "import no_such_module_here")) as module,
    ):
        module("models.pop_retnet")
    assert set(sys.modules) == modules and sys.path == path


def test_both_sides_of_every_case_of_planning_run(monkeypatch):
    monkeypatch.setattr(random_rem, "PRESET", "tiny")
    made = plan.cases({})
    for case in made:
        case.ours()
        case.peer()
    assert len({case.name for case in made}) == len(made) == 8


@pytest.mark.slow
@pytest.mark.skipif(
    "REM_PEER" not in os.environ, reason="needs REM_PEER=PATH, a checkout of leor-c/REM"
)
def test_rem_s_own_code_computes_what_ours_does():
    torch.manual_seed(0)
    config = preset("rem", FACTS).networks
    network = TokenWorldModel(config).eval()
    network.use_codes(torch.randn_like(network.codes))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    assert RemPeer(os.environ["REM_PEER"], config).difference(network) < LARGEST_DIFFERENCE
    names = [case.peer_name for case in cases({"rem": os.environ["REM_PEER"]})]
    assert names.count("REM's own code, f32") == 9 and names.count("plain eager, f32") == 9
