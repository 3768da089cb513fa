"""The games data: complete against ale-py, true against the emulator where it claims that a key does nothing."""

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py import roms

from atari_vlm import games
from atari_vlm.errors import UnknownNameError

gymnasium.register_envs(ale_py)

ATARI_100K = (
    "Alien Amidar Assault Asterix BankHeist BattleZone Boxing Breakout ChopperCommand CrazyClimber DemonAttack Freeway "
    "Frostbite Gopher Hero Jamesbond Kangaroo Krull KungFuMaster MsPacman Pong PrivateEye Qbert RoadRunner Seaquest UpNDown"
).split()


def test_names_are_those_of_the_ale_registry():
    registered = {i[4:-3] for i in gymnasium.registry if i.startswith("ALE/") and i.endswith("-v5")}
    assert set(games.game_names()) == registered
    assert list(games.game_names()) == sorted(registered)
    assert len(registered) == 104


def test_every_game_says_what_all_18_actions_do():
    names = set(ale_py.Action.__members__)
    for name in games.game_names():
        game = games.game(name)
        assert names <= set(game.controls)
        assert game.goal and all(words and "\n" not in words for words in game.controls.values())


@pytest.mark.parametrize("name", [*ATARI_100K, "Frogger"])
def test_expert_text_of_the_100k_games(name):
    sentences = [part for part in games.game(name).strategy.split(". ") if part]
    assert 3 <= len(sentences) <= 6
    assert games.game(name).goal != games.generic_game().goal


@pytest.mark.parametrize("name", ["Pong", "Pong-v5", "ALE/Pong-v5", "AtariVLM/Pong-v5"])
def test_every_spelling_finds_the_game(name):
    assert games.game(name).name == "Pong"


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("pong-v5", "Pong"),
        (" PONG ", "Pong"),
        ("ale/breakout", "Breakout"),
        ("ms. pac-man", "MsPacman"),
        ("Q*bert", "Qbert"),
        ("space invaders", "SpaceInvaders"),
        ("space_invaders-V5", "SpaceInvaders"),
        ("kung-fu master", "KungFuMaster"),
    ],
)
def test_what_can_only_mean_one_game_means_it(spelled, name):
    assert games.game(spelled).name == name


def test_every_name_and_title_means_its_own_game():
    for name in games.game_names():
        assert games.game(name.lower()).name == name
        assert games.game(games.game(name).title.upper()).name == name


@pytest.mark.parametrize(
    ("wrong", "first"), [("pnog", "Pong"), ("Pnog", "Pong"), ("BRAKEOUT", "Breakout")]
)
def test_the_right_name_comes_first(wrong, first):
    with pytest.raises(UnknownNameError, match=f"did you mean {first}"):
        games.game(wrong)


@pytest.mark.parametrize("name", ["Ponk", "", "ALE/Pong-v4", "Pong-ram-v5", None, 3, "../Pong"])
def test_unknown_name_is_refused(name):
    with pytest.raises(UnknownNameError):
        games.game(name)


def test_unknown_name_offers_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean .*Breakout"):
        games.game("Brakeout-v5")


def test_generic_game_stands_in_for_an_unknown_one():
    own = games.game_or_generic("MyOwnGame-v0")
    assert (own.name, own.goal, own.strategy) == (
        "MyOwnGame-v0",
        games.generic_game().goal,
        games.generic_game().strategy,
    )
    assert games.game_or_generic("Pong-v5") is games.game("Pong")
    assert games.game_or_generic("").title


def test_scores_match_the_reference():
    assert games.game("Pong").random_score == -20.7
    assert games.game("Pong").human_normalised(games.game("Pong").human_score) == 1.0
    assert games.game("Adventure").human_normalised(5) is None


def test_combined_actions_leave_out_what_has_no_effect():
    pong, gopher = games.game("Pong").controls, games.game("Gopher").controls
    assert pong["UPRIGHTFIRE"] == pong["RIGHT"] == "move the paddle up"
    assert pong["DOWNFIRE"] == "no effect"
    assert gopher["UPLEFTFIRE"] == "move left and use the shovel"
    assert games.game("KungFuMaster").controls["LEFTFIRE"] == "kick to the left"


def play(name: str, action: str, before: int, frames: int = 12) -> np.ndarray:
    """The picture after ``before`` frames of nothing and then ``frames`` frames of one action, without sticky actions."""
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("random_seed", 1)
    ale.loadROM(roms.get_rom_path(gymnasium.spec(f"ALE/{name}-v5").kwargs["game"]))
    ale.reset_game()
    for _ in range(before):
        ale.act(ale_py.Action.NOOP)
    for _ in range(frames):
        ale.act(ale_py.Action[action])
    return ale.getScreenRGB()


def height_of(colour: tuple[int, int, int], picture: np.ndarray, columns: slice) -> float:
    return float(np.nonzero((picture[34:194, columns] == colour).all(-1))[0].mean())


def test_pong_right_is_up_and_left_is_down():
    green, right_edge = (92, 186, 92), slice(135, 145)
    still, up, down = (
        height_of(green, play("Pong", a, 200), right_edge) for a in ("NOOP", "RIGHT", "LEFT")
    )
    assert up < still < down


@pytest.mark.parametrize(
    ("name", "before"),
    [("Pong", 300), ("Breakout", 60), ("Freeway", 100), ("SpaceInvaders", 300), ("DemonAttack", 150), ("Assault", 350),
     ("Qbert", 300), ("MsPacman", 300), ("Skiing", 60), ("KungFuMaster", 400), ("UpNDown", 300)],
)  # fmt: skip
def test_keys_without_effect_leave_the_picture_alone(name, before):
    idle = play(name, "NOOP", before)
    keys = {
        key
        for key in ("FIRE", "UP", "RIGHT", "LEFT", "DOWN")
        if games.game(name).controls[key] == games.NO_EFFECT
    }
    assert keys
    for key in keys:
        np.testing.assert_array_equal(play(name, key, before), idle)


@pytest.mark.parametrize(
    ("name", "before", "action"),
    [
        ("Breakout", 60, "FIRE"),
        ("KungFuMaster", 420, "LEFTFIRE"),
        ("Assault", 300, "UP"),
        ("Freeway", 100, "UP"),
        ("Frogger", 450, "UP"),
    ],
)
def test_keys_with_effect_change_the_picture(name, before, action):
    assert (play(name, action, before, frames=6) != play(name, "NOOP", before, frames=6)).any()
