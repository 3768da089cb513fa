"""The benchmark of cores: every case runs, and a peer that computes something else is refused."""

import pytest
import torch

from atari_vlm.bench import cores
from atari_vlm.errors import ConfigError, UnknownNameError


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(cores, "WIDTHS", (16,))
    monkeypatch.setattr(cores, "STEPS", 5)
    monkeypatch.setattr(cores, "DREAMS", 3)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)


def test_both_sides_of_every_case_run():
    pytest.importorskip("transformers")
    made = cores.cases({})
    for case in made:
        case.ours()
        case.peer()
    assert len({case.name for case in made}) == len(made) == 5
    assert [case.goal for case in made] == [1.3, 8.0, 1.3, None, None]


def test_a_peer_that_computes_something_else_is_refused(monkeypatch):
    pytest.importorskip("transformers")
    ours = cores.Ours(16)
    cores.Theirs(16, ours)
    monkeypatch.setattr(ours, "forward", lambda: ours.scan() * 1.01)
    with pytest.raises(ConfigError, match="computes something else than ours"):
        cores.Theirs(16, ours)


def test_without_transformers_the_gru_is_left(monkeypatch, capsys):
    monkeypatch.setattr(cores.importlib.util, "find_spec", lambda name: None)
    assert [case.peer_name for case in cores.cases({})] == ["GRUCell", "GRUCell"]
    assert "transformers is not installed" in capsys.readouterr().err
    with pytest.raises(UnknownNameError, match="peer of bench cores"):
        cores.cases({"rem": "x"})
