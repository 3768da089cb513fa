"""What of the integrations works without any framework: what is seen is what was played, and what is missing says so."""

import base64
import hashlib
import importlib.util
import inspect
import io
import json
import subprocess
import sys

import gymnasium
import numpy as np
import PIL.Image
import pytest

from atari_vlm.errors import AtariVLMError, ConfigError, MissingDependencyError, UnknownNameError
from atari_vlm.integrations.openenv import Session, make_app, make_client
from atari_vlm.integrations.playing import button_in
from atari_vlm.integrations.trl import environment_factory

BUTTONS = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")


def played(seed, buttons):
    """Digest of the RGB bytes, reward and end of every moment, by gymnasium alone."""
    env = gymnasium.make("AtariVLM/Pong-v5", image_format="numpy")
    names = env.unwrapped.get_action_meanings()
    moments = [(env.reset(seed=seed)[0], 0.0, False)]
    for button in buttons:
        observation, reward, terminated, truncated, _ = env.step(names.index(button))
        moments.append((observation, reward, terminated or truncated))
    env.close()
    return [(hashlib.sha256(o["image"].tobytes()).hexdigest(), r, d) for o, r, d in moments]


def some_buttons(count):
    return [BUTTONS[number] for number in np.random.default_rng(5).integers(0, 6, count)]


def test_a_session_sends_what_was_played():
    buttons, session = some_buttons(40), Session(game="Pong-v5")
    told = [session.reset(seed=3, episode_id="mine"), *(session.step(b) for b in buttons)]
    for moment, (digest, reward, done) in zip(told, played(3, buttons), strict=True):
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(moment["png"]))).convert("RGB")
        assert hashlib.sha256(picture.tobytes()).hexdigest() == moment["sha256"] == digest
        assert (moment["reward"], moment["done"]) == (reward, done)
    assert [moment["step"] for moment in told] == list(range(41))
    assert {(m["episode_id"], m["seed"]) for m in told} == {("mine", 3)}
    assert json.loads(json.dumps(told)) == told and session.state() == {
        "episode_id": "mine",
        "step_count": 40,
    }
    session.close()


def test_a_session_draws_what_it_is_not_given_and_says_it():
    session = Session("Breakout", max_steps=2)
    first = session.reset()
    again = Session("Breakout-v5").reset(seed=first["seed"])
    assert again["sha256"] == first["sha256"] and again["episode_id"] != first["episode_id"]
    assert not session.step("NOOP")["done"] and session.step("NOOP")["done"]
    with pytest.raises(AtariVLMError, match="the episode is over"):
        session.step("NOOP")
    assert session.reset(seed=1)["step"] == 0


def test_what_is_not_meant_is_refused():
    session = Session("Pong-v5")
    with pytest.raises(AtariVLMError, match="reset comes before"):
        session.step("NOOP")
    session.reset(seed=0)
    for button in ("JUMP", "noop", "", 3, None):
        with pytest.raises(UnknownNameError, match="unknown button of Pong"):
            session.step(button)
    for seed in (-1, 1 << 31, 1.5, "3", True):
        with pytest.raises(ConfigError, match="a seed is"):
            session.reset(seed=seed)
    for episode_id in ("", 3, "x" * 256):
        with pytest.raises(ConfigError, match="episode_id"):
            session.reset(episode_id=episode_id)
    with pytest.raises(UnknownNameError):
        Session("Chess")
    with pytest.raises(ConfigError):
        environment_factory(game="Pong-v5", max_steps=0)
    with pytest.raises(UnknownNameError):
        environment_factory(game="Chess")


def test_the_trainers_environment_returns_the_pictures_that_were_played():
    buttons = some_buttons(12)
    env = environment_factory(game="Pong-v5", max_steps=12)()
    assert "RIGHTFIRE" in env.reset(seed=7, prompt="play", extra=1)
    seen = [env.press(button) for button in buttons]
    for content, (digest, _, _) in zip(seen, played(7, buttons)[1:], strict=True):
        picture, text = content
        assert picture["type"] == "image" and text["type"] == "text" and "Pong" in text["text"]
        assert hashlib.sha256(picture["image"].convert("RGB").tobytes()).hexdigest() == digest
    assert "The episode is over." in seen[-1][1]["text"]
    assert "was not played" in env.press("NOOP")[1]["text"]
    with pytest.raises(UnknownNameError):
        env.reset(seed=7)
        env.press("JUMP")


def test_the_reward_is_the_sum_of_the_episodes_rewards():
    env = environment_factory(game="Pong-v5", max_steps=200)()
    env.reset(seed=0)
    for _ in range(200):
        env.press("NOOP")
    wanted = sum(reward for _, reward, _ in played(0, ["NOOP"] * 200))
    assert env.get_reward() == wanted != 0
    env.reset(seed=0)
    assert env.get_reward() == 0.0


def test_the_trainer_finds_one_tool_with_a_described_button():
    env = environment_factory()()
    public = {
        n for n, _ in inspect.getmembers(type(env), inspect.isfunction) if not n.startswith("_")
    }
    assert public == {"reset", "press", "get_reward"}
    schema = pytest.importorskip("transformers.utils").get_json_schema(env.press)["function"]
    assert schema["name"] == "press"
    assert schema["parameters"]["properties"]["button"]["type"] == "string"
    assert schema["parameters"]["required"] == ["button"]


@pytest.mark.parametrize(
    ("reply", "button"),
    [("LEFT", "LEFT"), ("I go right.\nRIGHT", "RIGHT"), ("**FIRE**", "FIRE"), ("Button: LEFTFIRE.", "LEFTFIRE"),
     ("left", "LEFT"), ("LEFT or RIGHT", None), ("the ball is left of me", None), ("", None)],
)  # fmt: skip
def test_a_reply_names_one_button_or_none(reply, button):
    assert button_in(reply, BUTTONS) == button


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("verifiers", "verifiers", "verifiers"), ("inspect", "inspect_ai", "inspect")],
)
def test_a_missing_framework_is_named_with_its_extra(module, package, extra):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(MissingDependencyError, match=rf"atari-vlm\[{extra}\]"):
        importlib.import_module(f"atari_vlm.integrations.{module}")


def test_openenvs_server_and_client_name_their_extra():
    if importlib.util.find_spec("openenv") is not None:
        pytest.skip("openenv is installed")
    for call in (lambda: make_app("Pong-v5"), lambda: make_client("http://127.0.0.1:1")):
        with pytest.raises(MissingDependencyError, match=r"atari-vlm\[openenv\]"):
            call()


def test_the_package_of_integrations_loads_none_of_them():
    code = "import sys, atari_vlm.integrations as i; print([m for m in sys.modules if m.startswith('atari_vlm.integrations.')])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
