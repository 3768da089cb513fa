"""Games that people bring along: learned as they mean it, or refused with a sentence that names them."""

import dataclasses

import field_games
import numpy as np
import pytest
from rem_helpers import NETWORKS, rem_trainer, toy_settings

from atari_vlm import dream
from atari_vlm.errors import AtariVLMError, ConfigError, MismatchError, RunError, UnknownNameError
from atari_vlm.experience.replay import Column
from atari_vlm.training.imagination.games import LOST_LIFE, GameConfig, facts_of, make_game
from atari_vlm.training.imagination.remarks import remarks
from atari_vlm.world_models.rem.settings import preset

PICTURE = {"image": Column((16, 16, 3), "uint8")}


def case(name, inputs=None, **config):
    return make_game(GameConfig(f"Case/{name}-v0", **config), inputs)


def played(game, steps=12, seed=3):
    """What a game shows, pays and ends with when its second action is always played, observations as they were given."""
    observation, _ = game.reset(seed=seed)
    rows = [(observation, 0.0, False)]
    last = int(game.action_space.start) + 1
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = game.step(last)
        rows.append((observation, reward, terminated))
        if terminated or truncated:
            observation, _ = game.reset(seed=seed)
            rows.append((observation, 0.0, False))
    return rows


@pytest.mark.parametrize(
    "name",
    ["Painted", "PaintedInDict", "Pixels", "Pil", "PayInArray", "FlagInArray", "FlagAsNumber"],
)
def test_a_habit_changes_nothing_of_what_is_learned(name):
    plain, other = played(case("Ledge", PICTURE)), played(case(name, PICTURE))
    for (shown, reward, ended), (other_shown, other_reward, other_ended) in zip(
        plain, other, strict=True
    ):
        assert np.array_equal(shown["image"], other_shown["image"])
        assert (reward, ended) == (other_reward, other_ended) and type(other_reward) is float


@pytest.mark.parametrize("name", ["Painted", "PaintedInDict"])
def test_a_game_that_paints_over_its_picture_teaches_the_same(name, tmp_path):
    kept = []
    for game in ("Ledge", name):
        trainer = rem_trainer(tmp_path / game, f"Case/{game}-v0", small(toy_settings()))
        trainer.collect(1)
        slots = trainer.replay.kept()
        kept.append(
            {column: trainer.replay.read(column, slots) for column in trainer.replay.columns}
        )
    assert all(np.array_equal(kept[0][column], kept[1][column]) for column in kept[0])
    assert len(np.unique(kept[0]["image"].reshape(15, -1), axis=0)) > 3


def test_numbers_that_a_game_keeps_are_copied():
    shown = [row[0] for row in played(case("Vector"), 2)][:3]
    first = shown[0]["state"][0]
    assert [each["state"].tolist() for each in shown] == [[first + t, float(t)] for t in range(3)]
    assert all(each["state"].dtype == np.float32 for each in shown)
    assert played(case("PaintedInDict"), 1)[0][0].keys() == {"image", "state"}


@pytest.mark.parametrize(("name", "first"), [("OneTwo", 1), ("Minus", -3), ("Ledge", 0)])
def test_actions_are_the_game_s_own(name, first, tmp_path):
    assert facts_of(f"Case/{name}-v0").action_names == (str(first), str(first + 1))
    trainer = rem_trainer(tmp_path, f"Case/{name}-v0", small(toy_settings()))
    trainer.collect(1)
    kept = trainer.replay.read("action", trainer.replay.kept())
    assert set(kept.tolist()) == {first, first + 1}
    assert trainer.policy.action_space.start == first
    with pytest.raises(ConfigError, match="whole numbers from"):
        trainer.collector.lanes.games[0].step(first + 2)


def small(settings, **play):
    """For two actions."""
    changed = dataclasses.replace(settings, networks=dataclasses.replace(NETWORKS, num_actions=2))
    return dataclasses.replace(changed, play=dataclasses.replace(changed.play, **play))


def test_floats_reach_a_game_within_its_bounds():
    game = case("Slide")
    game.reset(seed=0)
    game.step(np.array([-1.0, 2.0], np.float64))
    with pytest.raises(ConfigError, match="must lie in"):
        game.step(np.array([0.0, 2.5]))
    with pytest.raises(ConfigError, match="Case/Square-v0 has Box"):
        case("Square")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "NanPay",
            r"Case/NanPay-v0 pays nan at step 2 of the game with seed 3; rewards are finite",
        ),
        ("InfPay", r"pays -inf at step 2"),
        ("HugePay", r"pays 1e\+39 at step 2"),
        ("NanArrayPay", r"pays nan at step 2"),
        ("TwoPay", r"Case/TwoPay-v0 pays array.* at step 2 .*a reward is one number"),
        ("TextPay", r"pays '0.5' at step 2"),
        ("NoPay", r"pays None at step 2"),
        ("NanVector", r"observation of Case/NanVector-v0 at step 2 .* holds numbers, got nan"),
        ("FlagAsText", r"Case/FlagAsText-v0 says terminated is 'False' at step 1"),
    ],
)
def test_what_is_no_number_and_no_flag_is_refused_with_step_value_and_game(name, said):
    with pytest.raises(MismatchError, match=said):
        played(case(name))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Gray", {"image": (16, 16, 1)}),
        ("GrayLast", {"image": (16, 16, 1)}),
        ("Large", {"image": (40, 24, 3)}),
        ("UnitFloat", {"state": (16, 16, 3)}),
        ("Nested", {"image": (16, 16, 3), "state": (3,), "text": (8,)}),
        ("TwoCameras", {"left": (16, 16, 3), "right": (16, 16, 3)}),
    ],
)
def test_any_observation_is_named_arrays(name, shown):
    game = case(name)
    observation, _ = game.reset(seed=0)
    assert {key: array.shape for key, array in observation.items()} == shown
    assert game.observation_space.contains(observation)
    assert {key: column.shape for key, column in game.facts.inputs.items()} == shown


def test_texts_are_their_bytes_and_parts_are_chosen_by_key():
    observation, _ = case("Nested").reset(seed=0)
    assert bytes(observation["text"]).rstrip(b"\0") == b"go"
    assert case("Nested", keys=("robot/joints",)).facts.inputs.keys() == {"state"}
    assert case("TwoCameras", keys=("right",)).facts.inputs.keys() == {"image"}
    with pytest.raises(
        UnknownNameError,
        match="part of what Case/Nested-v0 shows 'robot/joint': did you mean robot/joints",
    ):
        case("Nested", keys=("robot/joint",))


def test_pictures_come_at_the_size_that_is_wanted():
    observation, _ = case("Large", {"image": Column((16, 16, 3), "uint8")}).reset(seed=0)
    assert observation["image"].shape == (16, 16, 3) and observation["image"].max() > 0
    gray, _ = case("Gray", {"image": Column((8, 8, 1), "uint8")}).reset(seed=0)
    assert gray["image"].shape == (8, 8, 1)


@pytest.mark.parametrize("name", ["Gray", "UnitFloat", "Vector", "TwoCameras", "Slide"])
def test_rem_says_what_it_learns_from(name):
    with pytest.raises(
        ConfigError,
        match=rf"one RGB picture .* discrete actions; Case/{name}-v0 shows .* acts with",
    ):
        preset("tiny", facts_of(f"Case/{name}-v0"))


def test_lives_of_its_own_end_nothing():
    game = case("Lives")
    game.reset(seed=4)
    assert [game.step(t % 2)[4][LOST_LIFE] for t in range(6)] == [False] * 6


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("ThreeNames", ("0", "1")),
        ("OneName", ("0", "1")),
        ("NoNames", ("0", "1")),
        ("TwoNames", ("LEFT", "RIGHT")),
    ],
)
def test_names_are_as_many_as_actions(name, names):
    assert facts_of(f"Case/{name}-v0").action_names == names


@pytest.mark.parametrize(
    ("game", "meant"),
    [("Brekout-v5", "Breakout-v5"), ("Pnog", "Pong-v5"), ("Case/Lege-v0", "Case/Ledge-v0")],
)
def test_an_unknown_game_leads_to_the_nearest(game, meant):
    with pytest.raises(UnknownNameError, match=f"unknown game '{game}': did you mean .*{meant}"):
        facts_of(game)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "Loses",
            r"ConnectionResetError: lost the simulator \(field_games.py, line \d+, in move\)",
        ),
        ("LosesFile", r"FileNotFoundError: .*level.dat"),
        ("Divides", r"ZeroDivisionError: division by zero"),
        ("LosesReset", r"TimeoutError: no simulator"),
        ("OldStep", r"ValueError: not enough values"),
    ],
)
def test_a_failure_of_the_game_names_the_game(name, said, monkeypatch):
    monkeypatch.setattr(getattr(field_games, name), "total", 38, raising=False)
    with pytest.raises(
        RunError, match=rf"^Case/{name}-v0 failed at step \d of the game with seed 3: {said}"
    ) as failed:
        played(case(name))
    assert failed.value.__cause__ is not None
    with pytest.raises(
        ConfigError, match="'Case/LosesMake-v0' cannot be made: OSError: no licence"
    ):
        case("LosesMake")


def test_episodes_too_short_to_dream_from_are_told_after_the_first_collection(tmp_path):
    trainer = rem_trainer(tmp_path, "Case/OneStep-v0", small(toy_settings()))
    with pytest.raises(
        RunError, match=r"no episode of Case/OneStep-v0 has 2 steps, .* the longest of 15 has 1"
    ):
        trainer.train()
    assert trainer.learner.version == 0 and trainer.replay.written == 15
    again = rem_trainer(tmp_path / "one", "Case/OneStep-v0", small(toy_settings(), steps=1))
    with pytest.raises(RunError, match="the longest of 1 has 1"):
        again.next_epoch()
    fine = rem_trainer(tmp_path / "fine", "Case/Ledge-v0", small(toy_settings(), steps=1))
    fine.next_epoch()  # one step of an episode that goes on says nothing yet


def test_no_episode_outgrows_the_replay(tmp_path):
    trainer = rem_trainer(tmp_path, "Case/Endless-v0", small(toy_settings(), steps=60))
    assert trainer.longest_episode == 60
    trainer.collect(1)
    assert (
        trainer.replay.lengths.tolist() == [60]
        and trainer.replay.read("truncated", trainer.replay.kept())[-1]
    )
    assert any("cut after 60 steps" in remark for remark in remarks(trainer))
    assert any("3 at the end, each of at most 27000 steps" in remark for remark in remarks(trainer))
    several = rem_trainer(
        tmp_path / "several", "Case/Endless-v0", small(toy_settings(), steps=60, envs=2)
    )
    assert several.longest_episode == 30
    several.collect(1)
    assert several.replay.lengths.tolist() == [30, 30]


@pytest.mark.parametrize("seed", ["-1", "-9000000000", "100001"])
def test_a_seed_is_refused_before_a_folder_is_made(seed, tmp_path, capsys):
    line = [
        "rem",
        "--game",
        "Case/Ledge-v0",
        "--preset",
        "tiny",
        "--save-dir",
        str(tmp_path / "runs"),
    ]
    assert dream.main([*line, "--seed", seed]) == 2
    assert f"got {seed}" in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_every_refusal_is_one_of_ours():
    for name in ("NanPay", "Square", "OldStep", "LosesReset", "LosesMake", "FlagAsText"):
        with pytest.raises(AtariVLMError) as refused:
            played(case(name))
        assert f"Case/{name}-v0" in str(refused.value) and "\n" not in str(refused.value)
