"""The page of reinforcement says what was measured, and whether every seed reached the goal in its time."""

import json

import pytest

pytest.importorskip("torch")

from atari_vlm.proofs import tune_rl
from atari_vlm.proofs.tune_rl import REWARDS, ProofConfig, run
from atari_vlm.vlm.scripted import ScriptedVLM


def measured(config, seed, mean, seconds=300.0):
    """What a seed left behind, as if it had been trained."""
    config.save_dir.mkdir(exist_ok=True)
    row = {
        "seed": seed,
        "copy_return": 0.55,
        "copy_return_again": 0.45,
        "copy_updates": 40,
        "copy_cpu_seconds": 30.0,
        "cpu_seconds": seconds,
        "returns": [mean] * 40,
        "returns_blind": [-0.5] * 40,
        "decisions": 8192,
        "rounds": [{"cpu_seconds": seconds, "decisions": 8192, "curve": [[16, mean]]}],
    }
    (config.save_dir / f"{config.name}-seed-{seed}.json").write_text(json.dumps(row))


@pytest.mark.parametrize(
    ("last", "seconds", "code"), [(0.95, 300.0, 0), (0.85, 300.0, 3), (0.95, 1300.0, 3)]
)
def test_the_goal_is_met_by_every_seed_or_not_at_all(last, seconds, code, tmp_path, capsys):
    config = ProofConfig(seeds=[2, 3, 4], save_dir=tmp_path / "runs", out=tmp_path)
    measured(config, 2, 1.0)
    measured(config, 3, 0.9)
    measured(config, 4, last, seconds)
    assert run(config) == code
    page = (tmp_path / "tune_rl_catch.md").read_text()
    assert f"{3 if code == 0 else 2} of 3 seed(s) reached it" in page
    assert "3 of 3 copies were at 0.4 to 0.6 of the optimum" in page
    assert "--game catch --seeds 2 3 4`" in page and "| 2 | 0.55, 0.45 (40) | 1 | 1.00 |" in page
    assert " ".join(REWARDS["catch"].words) in page
    assert len(json.loads((tmp_path / "tune_rl_catch.json").read_text())) == 3


def test_from_nothing_has_a_page_of_its_own(tmp_path, capsys):
    config = ProofConfig("solo-pong", True, [2], tmp_path / "runs", tmp_path)
    measured(config, 2, 1.0)
    assert run(config) == 3  # 2.7 is the goal
    page = (tmp_path / "tune_rl_solo_pong_from_nothing.md").read_text()
    assert "from nothing" in page and "--game solo-pong --from-nothing --seeds 2`" in page


@pytest.mark.parametrize(
    ("curves", "rounds"),
    [
        ([[[10, 2.9], [20, 2.9]]], 1),
        ([[[10, 2.75], [20, 2.9]], [[10, 2.9], [20, 3.0]]], 2),  # one good evaluation is not enough
        ([[[10, 1.0], [20, 1.0]]] * 9, 4),  # no time for a fifth of 300 seconds
    ],
)
def test_training_goes_on_until_all_evaluations_of_a_round_are_good(
    curves, rounds, tmp_path, monkeypatch
):
    left = iter(curves)

    def round_of(config, folder, adapter, seed):
        folder.mkdir()
        return {"cpu_seconds": 300.0, "decisions": 8, "curve": next(left)}

    monkeypatch.setattr(tune_rl, "_round", round_of)
    monkeypatch.setattr(tune_rl, "load_vlm", lambda *words, **more: ScriptedVLM())
    monkeypatch.setattr(tune_rl, "play", lambda *asked: [3.0])
    config = ProofConfig("solo-pong", True, [2], tmp_path, tmp_path)
    assert len(tune_rl.prove_one(config, 2)["rounds"]) == rounds
