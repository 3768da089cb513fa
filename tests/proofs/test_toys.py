"""The proof that REM learns in imagination: its runs and pages in small, and what had once made the actor blind."""

import dataclasses
import json

import pytest

torch = pytest.importorskip("torch")

from rem_helpers import facts  # noqa: E402

from atari_vlm.proofs import rem_switches, toys  # noqa: E402
from atari_vlm.proofs.toys_page import to_markdown  # noqa: E402
from atari_vlm.settings import with_changes  # noqa: E402
from atari_vlm.world_models.rem.actor_critic import ActorCritic  # noqa: E402
from atari_vlm.world_models.rem.settings import preset  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("view", "length"), [("latent", 0.01), ("latent", 1.0), ("pixel", 1.0)])
def test_the_actor_tells_frames_apart_however_short_code_vectors_are(view, length):
    config = preset("tiny", facts()).networks
    config = dataclasses.replace(
        config, actor_critic=dataclasses.replace(config.actor_critic, view=view)
    )
    torch.manual_seed(0)
    actor, rows = ActorCritic(config), 16
    vectors = torch.randn(2, 32) * length
    column, cells = torch.arange(rows) % 8, torch.zeros(rows, 8, 8, dtype=torch.int64)
    cells[torch.arange(rows), torch.arange(rows) // 8, column] = 1
    codes = vectors[cells].permute(0, 3, 1, 2)
    frames = (
        cells.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None].expand(-1, 3, -1, -1) * 2.0
        - 1
    )
    picture = codes if view == "latent" else frames
    wanted = column * 3 // 8
    optimizer = torch.optim.AdamW(actor.parameters(), lr=1e-3)
    for _ in range(80):
        policy, _, _ = actor.observe(picture, actor.begin(rows))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(policy.logits, wanted).backward()
        optimizer.step()
    assert (policy.logits.argmax(-1) == wanted).float().mean() > 0.9


@pytest.mark.parametrize("game", ["catch", "small-catch", "solo-pong"])
def test_a_seed_is_trained_measured_and_kept(game, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(toys, "HELD_OUT_GAMES", 6)
    monkeypatch.setattr(toys, "GAMES", 4)
    toy = toys.registered(game)
    changes = {
        "epochs": 2,
        "checkpoint_every": 1,
        "tokenizer": {"updates": {"steps": 2}},
        "world_model": {"updates": {"steps": 2, "first_epoch": 1}},
        "actor_critic": {"updates": {"steps": 2, "first_epoch": 2, "batch": 8}},
        "play": {"steps": 60, "eval_episodes": 2, "final_episodes": 2, "eval_every": 1},
    }
    settings = with_changes(toys.settings_for(game), changes)
    row = toys.train_one(tmp_path / "seed-0", toy, settings, 0)
    kept = json.loads((tmp_path / "seed-0" / "proof.json").read_text())
    assert (
        kept
        == json.loads(json.dumps(row))
        == json.loads(json.dumps(toys.train_one(tmp_path / "seed-0", toy, None, 0)))
    )
    assert -1 <= row["return"] <= toy.optimum and row["steps"] == 120 and len(row["curve"]) == 2
    assert row["copy_token_accuracy"]["value"] < 1 and row["counts"]["ends"] == toys.HELD_OUT_GAMES
    page, passed = to_markdown(game, toy, [row, row, row])
    assert (
        not passed
        and "0 of 3 seed(s) reached it" in page
        and "(95 %, bootstrap over seeds)" in page
    )
    good = {**row, "return": toy.optimum, "cpu_seconds": 899.0}
    assert to_markdown(game, toy, [good])[1]
    assert not to_markdown(game, toy, [good, {**good, "cpu_seconds": 901.0}])[1]
    assert "epoch 2/2: return" in capsys.readouterr().err


def test_the_ablation_turns_one_switch_at_a_time(tmp_path):
    found = rem_switches.variants()
    assert len(found) == len(rem_switches.SWITCHES) + 2 and len(
        {repr(settings) for settings in found.values()}
    ) == len(found)
    nothing = dataclasses.asdict(found["none"])
    for title, settings in found.items():
        if title.startswith("with "):
            assert (
                1 <= differing(nothing, dataclasses.asdict(settings)) <= 2
            )  # two-hot values and their weight are one
    plus = preset("rem-plus", facts())
    assert (
        found["all switches"].networks.world_model.reward
        == plus.networks.world_model.reward
        == "two-hot"
    )
    assert found["all switches"].world_model.prioritised == plus.world_model.prioritised


def differing(a, b):
    return sum(
        differing(a[key], b[key]) if isinstance(a[key], dict) else a[key] != b[key] for key in a
    )


def test_an_unknown_game_is_refused(capsys):
    with pytest.raises(SystemExit):
        toys.main(["--game", "chess"])
    assert "catch" in capsys.readouterr().err
