"""The proof that a Dreamer learns: its games can be made, and a run and its page in small."""

import dataclasses
import json

import pytest

torch = pytest.importorskip("torch")

from atari_vlm.proofs import dreamer, dreamer_cue  # noqa: E402
from atari_vlm.settings import with_changes  # noqa: E402
from atari_vlm.world_models.dreamer.model import new_model  # noqa: E402
from atari_vlm.world_models.learned.model import LatentStep  # noqa: E402


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


QUICK = {
    "networks": {"deter": 32, "hidden": 16, "units": 16, "groups": 4, "classes": 4},
    "learning": {"batch": 2, "length": 4, "ratio": 0.05, "prefill": 40},
    "behaviour": {"steps": 2, "imag_last": 2},
    "play": {"steps": 60, "eval_every": 1, "eval_episodes": 2, "final_episodes": 2},
    "epochs": 2,
}


def make_quick(monkeypatch, name, goal, **networks):
    """A game whose runs take a second."""
    changes = {**QUICK, "networks": {**QUICK["networks"], **networks}}
    game = dataclasses.replace(dreamer.GAMES[name], changes=changes, games=3, goal=goal)
    monkeypatch.setitem(dreamer.GAMES, name, game)
    return changes


def test_a_seed_is_trained_measured_and_kept(tmp_path, capsys, monkeypatch):
    make_quick(monkeypatch, "cartpole", goal=1.0)
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


def test_the_cue_game_has_a_control_that_cannot_read(tmp_path, capsys, monkeypatch):
    language = {"tokenizer": "words", "words": dreamer_cue.DOORS, "width": 8}
    changes = make_quick(monkeypatch, "cue", goal=0.0, frame_px=16, language=language)
    blind = dreamer_cue.without_language(changes)["networks"]
    make_quick(monkeypatch, "cue-without-language", dreamer_cue.BLIND, **blind)
    out = tmp_path / "out"
    config = dreamer.ProofConfig("cue", [7], without_language=True, save_dir=tmp_path, out=out)
    assert dreamer.run(config) in (0, 3)
    data = json.loads((out / "dreamer_cue.json").read_text())
    reads, cannot = data["dreamer"][0], data["without_language"][0]
    assert all(0 <= reads[name] <= 1 for name in ("named", "pays", "told", "told_pays"))
    assert "named" not in cannot and len(cannot["curve"]) == 2
    page = (out / "dreamer_cue.md").read_text()
    assert "--game cue --seeds 7 --without-language`" in page and "The control, which" in page
    assert "names its door" in page and "test_a_grammar_is_learned_below" in page
    capsys.readouterr()
    assert dreamer.run(config) in (0, 3) and "epoch" not in capsys.readouterr().err


@pytest.mark.parametrize(("returned", "held"), [(0.35, True), (0.4, False)])
def test_a_control_that_finds_the_door_is_no_control(returned, held):
    reads = {"seed": 1, "named": 1.0, "pays": 1.0, "told": 1.0, "told_pays": 1.0}
    page, told = dreamer_cue.to_markdown([reads], [{"seed": 1, "return": returned}])
    assert told is held and f"{int(held)} of 1 seed(s) at 0.35 or below" in page
    assert dreamer_cue.to_markdown([{"seed": 1, "return": 1.0}], []) == ("", True)


def test_only_the_cue_game_has_a_control(capsys):
    assert dreamer.main(["--game", "catch", "--without-language"]) != 0
    assert "control of the cue game, not of catch" in capsys.readouterr().err


def test_dreams_are_right_where_the_model_is(monkeypatch):
    """An untrained model whose reward and words are replaced by those of the game."""
    cue = dreamer_cue.make()
    config = dreamer.settings_for("cue").networks
    model = new_model(config, cue.observation_space, cue.action_space, seed=0)
    seen = dreamer_cue.imagined(model, draws=8)
    assert seen["told_pays"] <= 1 and seen["pays"] == 0.5  # it foretells no reward at all

    def imagine(state, action, *, generator):
        door = state.language["door"]
        paid = (action == door).float()
        return LatentStep(state, paid, paid.bool())

    def foretell(h, z, state, generator, temperature):
        ids = state["ids"] if temperature == 0 else torch.randint(2, 6, state["ids"].shape)
        return {"ids": ids, "door": ids[:, 0] - 2}

    words = model.networks.words
    monkeypatch.setattr(model, "imagine", imagine)
    monkeypatch.setattr(words, "foretell", foretell)
    heard = words.hear
    monkeypatch.setattr(words, "hear", lambda i, s: foretell(None, None, heard(i, s), None, 0))
    perfect = dict.fromkeys(("named", "pays", "told", "told_pays"), 1.0)
    assert dreamer_cue.imagined(model, draws=8) == perfect
