"""The proof of planning in programs: in small here, whole with ``-m slow`` (which takes some minutes)."""

import json

import numpy as np
import pytest

from atari_vlm.proofs import code_planning
from atari_vlm.proofs.code_planning import (
    PLAYERS,
    CodePlanningConfig,
    main,
    play,
    to_markdown,
    verdicts,
)


def test_the_same_seeds_play_the_same_in_the_program_and_in_the_game_itself():
    for game, steps in (("CartPole-v1", 25), ("Pendulum-v1", 8)):
        ours, real, random = (play(game, player, [3], steps) for player in PLAYERS)
        assert ours == pytest.approx(real, rel=1e-3)
        assert random != ours


def returns(cart_pole: float, pendulum: float):
    table = {("CartPole-v1", player): [20.0, 22.0] for player in PLAYERS}
    table |= {("Pendulum-v1", player): [-100.0, -200.0] for player in PLAYERS}
    return {
        **table,
        ("CartPole-v1", "program"): [cart_pole] * 2,
        ("Pendulum-v1", "program"): [pendulum] * 2,
    }


@pytest.mark.parametrize(
    ("cart_pole", "pendulum", "shown"),
    [(195.0, -165.0, [True, True]), (194.0, -150.0, [False, True]), (500.0, -166.0, [True, False])],
)
def test_what_was_to_be_shown_is_said(cart_pole, pendulum, shown):
    table = returns(cart_pole, pendulum)
    assert [truth for _, truth in verdicts(table)] == shown
    page = to_markdown(CodePlanningConfig(seeds=[0, 1]), table)
    assert page.count(": yes") == sum(shown) and page.count("**no**") == 2 - sum(shown)
    assert "| CartPole-v1 | " in page


def test_the_program_writes_its_page(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        code_planning, "play", lambda game, player, seeds, steps: [1.0 * len(player)] * 2
    )
    assert main(["--seeds", "0", "1", "--out", str(tmp_path)]) == 3  # CartPole's 7 is not 195
    assert (tmp_path / "code_planning.md").read_text() in capsys.readouterr().out
    kept = json.loads((tmp_path / "code_planning.json").read_text())
    assert kept["seeds"] == [0, 1] and len(kept["rows"]) == 6
    assert np.mean(kept["rows"][0]["returns"]) == 7


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_planning_in_programs_pays(tmp_path):
    assert main(["--out", str(tmp_path)]) == 0
