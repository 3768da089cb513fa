"""The program of the model that ships, small: it trains, writes, plays beside random play and blind, and says what came of it."""

import functools
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from atari_vlm.proofs import bundled
from atari_vlm.proofs.bundled_page import Measured, to_markdown
from atari_vlm.proofs.seeing import Blind, Shuffled
from atari_vlm.types import Image, Message

MADE = {
    "parameters": 1_000_000, "decisions": 10, "updates": 2, "batch_size": 16, "rounds": 1, "seed": 0,
    "lanes": {"Pong": 1}, "cpu_seconds": 3.0, "prompt_type": "basic", "frames": 2,
}  # fmt: skip


SPEED = {"load_cpu_seconds": 0.25, "decisions_per_cpu_second": 140.0}


def measured(game, model, chance=0.0):
    others = dict.fromkeys(("random", "black pictures", "other moments"), [chance] * 5)
    return Measured(game, {"model": [model] * 5, **others})


REACHED = [measured("Pong", 1), measured("Breakout", 16), measured("Freeway", 16)]
FURTHER = [measured(game, 2) for game in ("Boxing", "Kaboom", "Assault")]


def test_all_goals_and_three_further_games_pass():
    page, passed = to_markdown(MADE, [*REACHED, *FURTHER], SPEED, "here")
    assert passed and "Pong above 0: yes" in page and "1,000,000 parameters" in page
    assert "the loaded model 0.25 CPU seconds; 140 decisions a CPU second" in page
    assert "at rest" not in page
    page, _ = to_markdown({**MADE, "reading": {**MADE, "batch_size": 48}}, REACHED, SPEED, "here")
    assert "2 updates of 16,\n" in page and "its eyes at rest" in page
    assert "(1 rounds; games side by side: Pong 1): 10 decisions, 2 updates of 48,\n" in page


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([measured("Pong", 0), *REACHED[1:], *FURTHER], "Pong above 0: **no**"),
        ([*REACHED[:2], *FURTHER], "Freeway above 15: not measured"),
        ([*REACHED, *FURTHER[:2]], "at least 3 further games: **no** (Boxing, Kaboom)"),
        ([*REACHED, *FURTHER[:2], measured("Assault", 2, chance=2)], "further games: **no**"),
    ],
)
def test_what_was_not_reached_is_said_and_does_not_pass(rows, said):
    page, passed = to_markdown(MADE, rows, SPEED, "here")
    assert not passed and said in page


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ([3, 1, 2, 2, 2], "interval of the difference: yes."),
        ([5] * 5, "difference: **no** (Boxing)"),
    ],
)
def test_a_making_is_compared_with_an_earlier_one_seed_by_seed(before, said):
    row = measured("Boxing", 2)
    page, _ = to_markdown(MADE, [row], SPEED, "here", {"Boxing": {"model": before}})
    assert page.startswith("# The small model made again\n")
    assert said in page and "| Boxing | " in page.split("an earlier making")[1]
    assert "earlier making" not in to_markdown(MADE, [row], SPEED, "here")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"games": {}}', "made"),
        ('{"made": {"seed": 0}, "games": {}}', "Pong"),
        (
            '{"made": {"seed": 0}, "games": {"Pong": {"model": [1, 2]}}}',
            "2 episodes of Pong, and --episodes is 10",
        ),
        (
            '{"made": {"seed": 3}, "games": {"Pong": {"model": [1, 2]}}}',
            "with seed 3, and this one has 0",
        ),
    ],
)
def test_an_earlier_making_that_is_none_is_refused_before_training(text, said, tmp_path, capsys):
    earlier = tmp_path / "bundled_player.json"
    earlier.write_text(text)
    words = ["--save-dir", str(tmp_path / "run"), "--games", "Pong", "--against", str(earlier)]
    assert bundled.main(words) == 2
    error = capsys.readouterr().err
    assert said in error and "bundled_player.json" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


class Looking:
    """Notes the pictures that it is asked with."""

    name, capabilities = "looking", frozenset({"scores"})

    def __init__(self):
        self.shown = []

    def score_choices(self, messages, choices):
        self.shown.append(messages[0].images[0].pixels)
        return np.zeros(len(choices))


def test_the_blind_see_black_and_the_shuffled_another_moment():
    moments = [np.full((2, 2, 3), n, np.uint8) for n in range(1, 31)]
    for kind in (Blind, functools.partial(Shuffled, seed=0)):
        looking = Looking()
        player = kind(looking)
        for pixels in moments:
            player.score_choices([Message("user", (Image(pixels),))], ["A", "B"])
        values = [int(shown[0, 0, 0]) for shown in looking.shown]
        if kind is Blind:
            assert values == [0] * 30
        else:
            assert all(1 <= value <= n for n, value in enumerate(values, 1))  # of the past
            assert sum(value == n for n, value in enumerate(values, 1)) < 10


@pytest.mark.parametrize("words", [("--rounds", "0"), ("--reading-rounds", "-1")])
def test_rounds_that_are_none_are_refused_before_anything_is_trained(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        bundled.main(["--save-dir", str(tmp_path / "run"), *words])
    assert ended.value.code == 2
    assert "rounds" in "".join(capsys.readouterr()) and not (tmp_path / "run").exists()


def test_the_program_trains_writes_and_measures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bundled, "LANES", {"Catch": 2})
    monkeypatch.setattr(bundled, "READING", {"Catch": 1})
    whole = bundled.ApprenticeConfig

    def small(**more):
        return whole(**{**more, "steps": 4, "updates": 2, "watching": min(1, more["watching"])})

    monkeypatch.setattr(bundled, "ApprenticeConfig", small)
    monkeypatch.setattr(bundled, "require", lambda *what: None)
    monkeypatch.setattr(bundled, "speed", functools.partial(bundled.speed, decisions=12))
    exported = []
    monkeypatch.setattr(bundled, "export", exported.append)
    words = [
        "--save-dir",
        str(tmp_path / "run"),
        "--out",
        str(tmp_path / "out"),
        "--page",
        str(tmp_path),
    ]
    words += [
        "--rounds",
        "1",
        "--reading-rounds",
        "2",
        "--episodes",
        "3",
        "--blind-episodes",
        "2",
        "--backend",
        "torch",
        "--games",
        "Catch",
    ]
    assert bundled.main(words) == 3  # none of the six games was measured
    page = (tmp_path / "bundled_player.md").read_text()
    assert "| Catch |" in page and "Pong above 0: not measured" in page
    made = json.loads((tmp_path / "out" / "made.json").read_text())
    assert (made["decisions"], made["updates"], made["lanes"]) == (8, 2, {"Catch": 2})
    assert (made["reading"]["decisions"], made["reading"]["updates"]) == (8, 4)
    one, two = (
        load_file(tmp_path / "run" / place / "model.safetensors")
        for place in ("whole", "reading/whole")
    )
    changed = {name for name in one if not np.array_equal(one[name], two[name])}
    assert changed and not any("visual" in name for name in changed)
    assert {"model.safetensors", "tokenizer.json", "README.md"} <= {
        f.name for f in (tmp_path / "out").iterdir()
    }
    assert [folder.name for folder in exported] == ["whole"]
    returns = json.loads((tmp_path / "bundled_player.json").read_text())["games"]["Catch"]
    counts = {"model": 3, "random": 3, "black pictures": 2, "other moments": 2}
    assert {name: len(own) for name, own in returns.items()} == counts
    assert all(set(own) <= {-1.0, 1.0} for own in returns.values())
    capsys.readouterr()
    monkeypatch.setattr(bundled, "play", lambda *asked: pytest.fail("played again"))
    assert bundled.main([*words, "--no-make"]) == 3  # what was measured is read
    assert "| Catch |" in capsys.readouterr().out
