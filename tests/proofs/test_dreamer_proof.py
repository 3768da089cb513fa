"""The proof that a Dreamer learns: its games can be made, and a run and its page in small."""

import dataclasses
import json

import pytest

torch = pytest.importorskip("torch")

from atari_vlm.proofs import dreamer  # noqa: E402
from atari_vlm.settings import with_changes  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", dreamer.GAMES)
def test_the_settings_of_every_game_fit_it(name):
    settings = dreamer.settings_for(name)
    assert settings.epochs and settings.learning.ratio > 0


def test_a_seed_is_trained_measured_and_kept(tmp_path, capsys, monkeypatch):
    game = dreamer.GAMES["cartpole"]
    quick = {
        "networks": {"deter": 32, "hidden": 16, "units": 16, "groups": 4, "classes": 4},
        "learning": {"batch": 2, "length": 4, "ratio": 0.05, "prefill": 40},
        "behaviour": {"steps": 2, "imag_last": 2},
        "play": {"steps": 60, "eval_every": 1, "eval_episodes": 2, "final_episodes": 2},
        "epochs": 2,
    }
    monkeypatch.setitem(
        dreamer.GAMES, "cartpole", dataclasses.replace(game, changes=quick, games=3, goal=1.0)
    )
    assert with_changes(dreamer.settings_for("cartpole"), {}).epochs == 2
    config = dreamer.ProofConfig("cartpole", [7], save_dir=tmp_path / "runs", out=tmp_path / "out")
    assert dreamer.run(config) == 0
    page = (tmp_path / "out" / "dreamer_cartpole.md").read_text()
    assert "1 of 1 seed(s) reached it" in page and "| 7 |" in page
    data = json.loads((tmp_path / "out" / "dreamer_cartpole.json").read_text())
    assert [point[0] for point in data["dreamer"][0]["curve"]] == [60, 120]
    assert (tmp_path / "out" / "dreamer_cartpole.png").read_bytes()[:4] == b"\x89PNG"
    again = dataclasses.replace(config, out=tmp_path / "again")
    capsys.readouterr()
    assert dreamer.run(again) == 0 and "epoch" not in capsys.readouterr().err  # read, not trained
    assert (tmp_path / "again" / "dreamer_cartpole.md").read_text() == page
