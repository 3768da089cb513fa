"""Changed rules in small: one seed of the small game, one switch of Pong, and the writers that mend programs."""

import json
import re

import numpy as np
import pytest

from atari_vlm.proofs import changed_rules as proof
from atari_vlm.proofs import changed_rules_rows as played
from atari_vlm.proofs import changing_catch as catch
from atari_vlm.proofs import changing_learned as learned
from atari_vlm.proofs import changing_pong as pong
from atari_vlm.proofs.changed_rules_page import to_markdown
from atari_vlm.proofs.mending_pong import EDITS, PongWriter, edited
from atari_vlm.types import Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.world_models.code.sandbox_local import LocalProgram

STEP = re.compile(
    r"before the step: (\[.*\])\nAction: (\d)\n\nWhat really happened:\n- state: (\[.*\])"
)
HALVED = {
    pong.YOURS: ("YOUR_PADDLE = 16, 4, 2", "YOUR_PADDLE = 8, 2, 1"),
    pong.OTHERS: ("OTHER_PADDLE = 16, 4, 2", "OTHER_PADDLE = 8, 2, 1"),
}
HERE = played.Mending(catch.CatchWriter(), PongWriter(), local=True)


@pytest.mark.parametrize("rules", [catch.OLD, *catch.CHANGES.values()])
def test_the_program_is_the_game(rules):
    met = catch.play(rules, rules, 0, 60, 3)
    stepped = LocalProgram(rules.program()).step_rows(met.states(), met.actions, seed=0)
    assert np.array_equal(np.array(stepped.states), met.next_observations)
    assert np.array_equal(stepped.rewards, met.rewards) and 1.0 in {*abs(met.rewards)}


def test_the_rules_by_hand():
    row = np.array([[3, 2, 3]])
    after, reward = catch.OLD.step(row, np.array([2]))
    assert (after.tolist(), reward.tolist()) == ([[0, 0, 2]], [1.0])
    after, reward = catch.Rules(-1, 2).step(row, np.array([2]))
    assert (after.tolist(), reward.tolist()) == ([[0, 0, 4]], [-1.0])
    assert catch.Rules(-1, 2).step(np.array([[0, 2, 0]]), np.array([1]))[0].tolist() == [[2, 2, 0]]


def asked(writer, state, action, after, program, done=False):
    """What a writer answers to the step that a program got wrong."""
    before = f"{program}\nState before the step: {state}\nAction: {action}\n\n"
    text = f"{before}What really happened:\n- state: {after}\n- reward: 0.0\n- done: {done}"
    return writer.complete([Message.of("user", text)], sampling=Sampling()).text


def test_the_writer_explains_the_step_it_is_shown():
    writer, old = catch.CatchWriter(), catch.OLD.program()
    assert "WAY, SPEED = -1, 1" in asked(writer, [2, 0, 3], 1, [3, 0, 2], old)
    assert "WAY, SPEED = 1, 2" in asked(writer, [1, 0, 3], 0, [3, 0, 3], old)
    shown = catch.Rules(1, 2).program()
    assert "WAY, SPEED = -1, 2" in asked(writer, [1, 0, 3], 1, [3, 0, 2], shown)


def test_each_model_notices_in_time_and_the_program_is_mended():
    rows = list(played.catch_rows(0, played.own_models(HERE), HERE))
    assert len(rows) == 9 and all(map(played.is_shown, rows)), rows
    assert [row["calls"] for row in rows if "calls" in row] >= [1, 1, 1]
    assert all(
        row["by"] == 3
        for row in rows
        if row["change"] == "mirrored actions" and "%" not in row["model"]
    )
    page = to_markdown("", "", "", [{**row, "cpu_seconds": 60.0} for row in rows])
    assert len(re.findall(r"^\| Catch", page, re.MULTILINE)) == 9 and "1 of 1" in page
    assert "program 60" in page


def test_the_list_of_edits_holds_the_rules_of_every_switch():
    """With the right paddles the program replays each setting of the switches; the shipped one only the first."""
    for difficulty in (0, 1, 2, 3):
        met = pong.pong_play(5, difficulty, 0, 130)
        halved = pong.SWITCHES.get(difficulty, ())
        number = EDITS.index(tuple(HALVED[side] for side in halved))
        assert pong.foretold(LocalProgram(edited(number)), met, 1) == (1.0, 1.0)
        assert (pong.foretold(LocalProgram(edited(0)), met, 1)[0] < 0.5) == bool(halved)


def test_pong_with_a_switch_thrown_is_noticed_and_mended():
    quiet, met = pong.pong_play(1000, 0, 0, 40), pong.pong_play(0, 2, 40, 240)
    noticed = played._noticed(met, quiet, 0)  # of 40 steps with the serve; the switch shows at once
    assert noticed["false_alarm"] is False and pong.seen_by_hand(met, 40, 2) == 1
    row = played.pong_mended(met.take(range(40, 240)), 2, 0, HERE)
    assert row["mended"] and 1 < row["calls"] < 20 and row["exact_1"] >= 0.98
    assert row["ball_15"] > row["ball_15_before"]


def test_the_other_paddle_is_left_alone_by_a_step_that_yours_explains():
    met = pong.pong_play(0, 2, 0, 2)
    step = met.row(1)
    answer = asked(PongWriter(), step["state"], step["action"], step["next_state"], edited(0))
    assert "YOUR_PADDLE = 8, 4, 2" in answer and "OTHER_PADDLE = 16, 4, 2" in answer
    last = edited(len(EDITS) - 1)  # there is nothing behind it
    nothing = asked(PongWriter(), step["state"], step["action"], step["next_state"], last)
    assert "None of my edits" in nothing


@pytest.mark.parametrize("kind", ["REM", "Dreamer"])
def test_a_model_that_learns_is_watched_by_its_own_eyes(kind, tmp_path):
    """One epoch says nothing of noticing, which needs minutes; what is compared is of the model's size, and it is kept."""
    model, seconds = learned.trained(kind, tmp_path / "run", 0, epochs=1)
    assert seconds > 0 and (tmp_path / "run").is_dir()
    watched = played.learned_model(kind, model, seconds)
    seen = watched.seen(catch.play(catch.OLD, catch.OLD, 0, 30, 0))
    assert seen.observations.shape[1:] == model.observation_space.shape
    errors = played.step_errors(model, seen, held=watched.held)
    assert errors.shape == (30,) and ((errors >= 0) & (errors <= 1)).all()


def test_what_is_not_noticed_or_not_mended_is_not_shown(tmp_path, monkeypatch, capsys):
    good = {"game": "Catch", "change": "x", "model": "m", "seed": 0, "noticed": 1, "by": 3}
    assert played.is_shown(good) and played.is_shown({**good, "mended": True})
    late = ({"noticed": None}, {"by": None}, {"noticed": 4})
    for bad in (*late, {"mended": False}, {"false_alarm": True}):
        assert not played.is_shown({**good, **bad})
    monkeypatch.setattr(played, "catch_rows", lambda *_: [{**good, "noticed": None}])
    words = {"seeds": [0], "pong": False, "learned": (), "save_dir": tmp_path / "runs"}
    config = proof.ChangedRulesConfig(**words, out=tmp_path)
    assert proof.prove(config, lambda line: None) == 3 and "not by all" in capsys.readouterr().out
    assert json.loads((tmp_path / "changed_rules.json").read_text())["seeds"] == [0]
    monkeypatch.setattr(played, "catch_rows", lambda *_: [good])
    assert proof.prove(config, lambda line: None) == 3  # what was played is not played again


def test_a_language_model_may_mend(tmp_path, monkeypatch, capsys):
    """By configuration: a server that always writes the right program, in the sandbox."""
    from fake_server import FakeVendorServer

    def answer(text, images):
        step = STEP.search(text)
        before, action, after = (np.array(json.loads(part)) for part in step.groups())
        fitting = [
            rules
            for rules in catch.CHANGES.values()
            if rules.program().strip() not in text
            and np.array_equal(rules.step(before[None], action[None])[0][0], after)
        ]
        return f"```python\n{fitting[0].program()}```"

    monkeypatch.setenv("OPENAI_API_KEY", "test-key-1")
    with FakeVendorServer(answer=answer) as server:
        words = ["--model", "gpt-4o", "--base-url", server.openai_url, "--max-calls", "9"]
        places = [
            "--seeds",
            "0",
            "--no-pong",
            "--learned",
            "--save-dir",
            str(tmp_path / "runs"),
            "--out",
            str(tmp_path),
        ]
        assert proof.main([*words, *places]) == 0
        assert 3 <= len(server.requests) <= 9
    page = (tmp_path / "changed_rules.md").read_text()
    assert "Writer: openai/gpt-4o" in page and "test-key-1" not in page
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_five_seeds_of_five(tmp_path):
    config = proof.ChangedRulesConfig(out=tmp_path, save_dir=tmp_path / "runs")
    assert proof.prove(config, print) == 0
