"""Changed rules in small: one seed of the small game, and the writer that mends programs."""

import json
import re

import numpy as np
import pytest

from atari_vlm.proofs import changed_rules as proof
from atari_vlm.proofs import changing_catch as catch
from atari_vlm.types import Message
from atari_vlm.vlm.base import Sampling
from atari_vlm.world_models.code.sandbox_local import LocalProgram


@pytest.mark.parametrize("rules", [catch.OLD, *catch.CHANGES.values()])
def test_the_program_is_the_game(rules):
    played = catch.play(rules, rules, 0, 60, 3)
    stepped = LocalProgram(rules.program()).step_rows(played.states(), played.actions, seed=0)
    assert np.array_equal(np.array(stepped.states), played.next_observations)
    assert np.array_equal(stepped.rewards, played.rewards) and 1.0 in {*abs(played.rewards)}


def test_the_rules_by_hand():
    row = np.array([[7, 2, 3]])
    after, reward = catch.OLD.step(row, np.array([2]))
    assert (after.tolist(), reward.tolist()) == ([[0, 5, 2]], [1.0])
    after, reward = catch.Rules(-1, 2).step(row, np.array([2]))
    assert (after.tolist(), reward.tolist()) == ([[0, 5, 4]], [-1.0])
    assert catch.Rules(-1, 2).step(np.array([[0, 2, 0]]), np.array([1]))[0].tolist() == [[2, 2, 0]]


def question(state, action, after, program):
    before = f"{program}\nState before the step: {state}\nAction: {action}\n\n"
    return f"{before}What really happened:\n- state: {after}\n- reward: 0.0"


def test_the_writer_explains_the_step_it_is_shown():
    def answer(*shown):
        text = question(*shown)
        return catch.CatchWriter().complete([Message.of("user", text)], sampling=Sampling()).text

    old = catch.OLD.program()
    assert "WAY, SPEED = -1, 1" in answer([2, 0, 3], 1, [3, 0, 2], old)
    assert "WAY, SPEED = 1, 2" in answer([2, 0, 3], 0, [4, 0, 3], old)
    assert "WAY, SPEED = -1, 2" in answer([2, 0, 3], 1, [4, 0, 2], catch.Rules(1, 2).program())


def test_each_model_notices_in_time_and_the_program_is_mended():
    rows = proof.catch_rows(0)
    assert len(rows) == 9 and all(map(proof.is_shown, rows)), rows
    assert [row["calls"] for row in rows if "calls" in row] >= [1, 1, 1]
    assert all(
        row["by"] == 3
        for row in rows
        if row["change"] == "mirrored actions" and "%" not in row["model"]
    )
    page = proof.to_markdown(proof.ChangedRulesConfig(seeds=[0]), rows)
    assert len(re.findall(r"^\| Catch", page, re.MULTILINE)) == 9 and "1 of 1" in page


def test_what_is_not_noticed_or_not_mended_is_not_shown(tmp_path, monkeypatch, capsys):
    good = {"game": "Catch", "change": "x", "model": "m", "seed": 0, "noticed": 1, "by": 3}
    assert proof.is_shown(good) and proof.is_shown({**good, "mended": True})
    for bad in ({"noticed": None}, {"noticed": 4}, {"mended": False}, {"false_alarm": True}):
        assert not proof.is_shown({**good, **bad})
    monkeypatch.setattr(proof, "catch_rows", lambda seed: [{**good, "noticed": None}])
    config = proof.ChangedRulesConfig(seeds=[0], pong=False, out=tmp_path)
    assert proof.prove(config, lambda line: None) == 3 and "not by all" in capsys.readouterr().out
    assert json.loads((tmp_path / "changed_rules.json").read_text())["seeds"] == [0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_seeds_of_five(tmp_path):
    assert proof.prove(proof.ChangedRulesConfig(out=tmp_path), print) == 0
