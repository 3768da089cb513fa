"""What a planning run is asked for, and what it makes of it."""

from __future__ import annotations

import pytest

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.evaluation.plan_settings import ABLATION, PlanSettings, PlanWorkshop
from atari_vlm.world_models import CatchWorldModel
from atari_vlm.world_models.emulator import EmulatorWorldModel


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_episodes": 0}, "num_episodes"),
        ({"plan_horizon": 0}, "plan_horizon"),
        ({"num_plans": -1}, "num_plans"),
        ({"game": "catch", "sticky": 0.5}, "Catch is played as it is"),
        ({"game": " CATCH ", "dream": "somewhere"}, "Catch is played as it is"),
        ({"game": "Catch", "world_model": "emulator", "ablation": True}, "real Atari game only"),
        ({"action_buffer_size": 0}, "buffer"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        PlanSettings(**changes)


@pytest.mark.parametrize(
    ("changes", "sticky"),
    [
        ({}, 0.0),
        ({"world_model": "emulator"}, 0.0),
        ({"world_model": "emulator", "sticky": 0.1}, 0.1),
        ({"world_model": "catch"}, 0.25),
        ({"world_model": "catch", "sticky": 0.5}, 0.5),
    ],
)
def test_a_game_does_not_stick_by_default_where_the_emulator_is_the_model(changes, sticky):
    environment = PlanSettings(**changes).environment()
    assert environment["env"] == {"repeat_action_probability": sticky}


def test_every_spelling_of_a_game_is_one_game():
    names = {PlanSettings(game=name).as_dict()["game_name"] for name in ("pong", "ALE/Pong-v5")}
    assert names == {"Pong"}
    assert PlanSettings(game="cAtCh", world_model="catch").game == "Catch"


def test_variants_say_what_they_use():
    (one,) = PlanSettings(use_action_buffer=False).variants
    assert one.plans and not one.buffer
    assert PlanSettings(ablation=True).variants == ABLATION
    assert len({variant.name for variant in ABLATION}) == len(ABLATION) == 5
    assert PlanSettings(ablation=True).needs_model


def test_plain_data_holds_no_second_name_for_the_environment():
    data = PlanSettings(env_option=["frame_skip=2"]).as_dict()
    assert data["program"] == "plan" and data["env"]["frame_skip"] == 2
    assert not {"game", "sticky", "env_option"} & data.keys()


def test_catch_is_judged_by_its_own_model():
    shop = PlanWorkshop(PlanSettings(game="Catch", world_model="catch", ablation=True))
    env = shop.make_env()
    assert isinstance(shop.world_model(env), CatchWorldModel)
    env.close()


def test_the_emulator_is_the_model_of_the_game_that_is_played():
    shop = PlanWorkshop(PlanSettings(game="Pong", world_model="emulator", ablation=True))
    env = shop.make_env()
    assert isinstance(shop.world_model(env), EmulatorWorldModel)
    env.close()


def test_a_model_of_another_game_shows_before_anything_is_played():
    with pytest.raises(MismatchError, match="RIGHT, LEFT"):
        PlanWorkshop(PlanSettings(game="Pong", world_model="catch", ablation=True))
