"""TextDescription and VLMPrompt: the facts, the actions, the objects, the prompt."""

import re
import string

import gymnasium
import numpy as np
import pytest
from colour_env import ColourDictEnv, ColourEnv, assert_same, rollout

from atari_vlm import games, prompts
from atari_vlm.description import Facts, read_actions
from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.spaces import MAX_PROMPT
from atari_vlm.wrappers import ResizeImage, TextDescription, VLMPrompt


def test_facts_count_steps_and_add_up_rewards():
    env = TextDescription(ColourDictEnv(), "Square")
    observation, _ = env.reset(seed=0)
    assert Facts.from_text(observation["text"]) == Facts("Square")
    total = 0
    for step, action in enumerate((3, 1, 4), start=1):
        total += action
        facts = Facts.from_text(env.step(action)[0]["text"])
        assert facts == Facts(
            "Square", step, read_actions(observation["action_space"])[action], action, total
        )
    assert Facts.from_text(env.reset()[0]["text"]) == Facts("Square")


def test_names_of_actions():
    named = TextDescription(ColourDictEnv()).reset()[0]
    nameless = TextDescription(ColourEnv()).reset()[0]
    assert read_actions(named["action_space"]) == ("NOOP", "turn_left", "turn_right", "go", "stop")
    assert read_actions(nameless["action_space"]) == ("A0", "A1", "A2", "A3", "A4")


@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        ("ALE/Pong-v5", "Pong"),
        ("AtariVLM/Freeway-cot-v5", "Freeway"),
        ("ColourSquare-v0", "ColourSquare"),
    ],
)
def test_name_of_the_game(env_id, name):
    assert Facts.from_text(TextDescription(gymnasium.make(env_id)).reset()[0]["text"]).game == name


def test_an_environment_without_id_is_called_by_its_class():
    assert Facts.from_text(TextDescription(ColourEnv()).reset()[0]["text"]).game == "ColourEnv"


@pytest.mark.parametrize("style", prompts.PROMPT_STYLES)
def test_equals_the_environment_s_own_words(style):
    own = gymnasium.make(f"AtariVLM/Seaquest-{style}-v5", image_format="numpy")
    plain = gymnasium.make("AtariVLM/Seaquest-v5", image_format="numpy")
    wrapped = VLMPrompt(TextDescription(plain), style)
    assert wrapped.observation_space == own.observation_space
    for one, other in zip(rollout(own, 12)[0], rollout(wrapped, 12)[0], strict=True):
        assert_same(one, other)


def test_plain_ale_says_the_same_as_our_id():
    ale, ours = TextDescription(gymnasium.make("ALE/Pong-v5")), gymnasium.make("AtariVLM/Pong-v5")
    for one, other in zip(rollout(ale, 60)[0], rollout(ours, 60)[0], strict=True):
        assert (one["text"], one["action_space"]) == (other["text"], other["action_space"])


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines", "Pöng", 3])
def test_wrong_name_is_refused(name):
    with pytest.raises(ConfigError):
        TextDescription(ColourEnv(), name)


def test_actions_that_cannot_be_listed_are_refused():
    class Continuous(ColourEnv):
        action_space = gymnasium.spaces.Box(-1, 1, (2,))

    with pytest.raises(ConfigError, match="Discrete"):
        TextDescription(Continuous())


def test_many_actions_fit():
    class Many(ColourEnv):
        action_space = gymnasium.spaces.Discrete(2000)

    env = VLMPrompt(TextDescription(Many()), "expert")
    assert env.observation_space.contains(env.reset()[0])


@pytest.mark.parametrize("style", prompts.PROMPT_STYLES)
def test_every_game_s_prompt_fits_the_space(style):
    names = [*games.game("Pong").controls]
    for name in games.game_names():
        prompt = prompts.instructions(style, name, names)
        assert set(prompt) <= set(string.printable)
        assert len(prompt) < MAX_PROMPT - 1024


def test_prompt_without_texts_names_what_is_missing():
    for env in (ColourEnv(), ColourDictEnv(), ResizeImage(ColourEnv())):
        with pytest.raises(ConfigError, match="TextDescription"):
            VLMPrompt(env)


def test_unknown_style_is_refused():
    with pytest.raises(UnknownNameError, match="basic, cot, expert"):
        VLMPrompt(TextDescription(ColourEnv()), "brief")


def where(observation: dict, name: str) -> tuple[int, int] | None:
    found = re.search(rf"^- {name}: x (-?\d+), y (-?\d+)$", observation["text"], re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def seen(
    picture: np.ndarray, colour: tuple[int, int, int], rows: slice, columns: slice
) -> tuple[float, float] | None:
    """Centre of the pixels of one colour within a window of the screen."""
    ys, xs = np.nonzero((picture[rows, columns] == colour).all(-1))
    if not len(ys):
        return None
    return (xs.min() + xs.max() + 1) / 2 + columns.start, (ys.min() + ys.max() + 1) / 2 + rows.start


WHOLE, MISSES_BY = slice(8, 160), 3  # pixels; the memory may be one frame ahead of the picture
OBJECTS = [
    ("Pong", "ball", (236, 236, 236), slice(40, 188), WHOLE),
    ("Pong", "other paddle", (213, 130, 74), slice(34, 194), slice(8, 40)),
    ("Breakout", "ball", (200, 72, 72), slice(94, 188), slice(8, 152)),
    ("Breakout", "paddle", (200, 72, 72), slice(189, 193), slice(8, 152)),
    ("Freeway", "your chicken", (252, 252, 84), slice(110, 196), slice(40, 60)),
    ("Freeway", "car in lane 1", (210, 210, 64), slice(168, 184), WHOLE),
    ("Freeway", "car in lane 10", (167, 26, 26), slice(24, 40), WHOLE),
]


@pytest.mark.parametrize(("game", "name", "colour", "rows", "columns"), OBJECTS)
def test_objects_are_where_the_picture_shows_them(game, name, colour, rows, columns):
    env = TextDescription(gymnasium.make(f"ALE/{game}-v5"), objects=True)
    assert env.metadata["privileged"] is True
    env.action_space.seed(1)
    observation, _ = env.reset(seed=1)
    misses, both, either = [], 0, 0
    for step in range(150):
        action = 1 if step % 40 == 0 else env.action_space.sample()
        observation, _, terminated, truncated, _ = env.step(action)
        told, shown = (
            where(observation, name),
            seen(env.unwrapped.ale.getScreenRGB(), colour, rows, columns),
        )
        told = told if told and rows.start <= told[1] < rows.stop else None
        either += told is not None or shown is not None
        if told is not None and shown is not None:
            both += 1
            misses.append(max(abs(told[0] - shown[0]), abs(told[1] - shown[1])))
        if terminated or truncated:
            env.reset()
    assert both > 40 and both >= 0.85 * either
    assert np.median(misses) <= 1 and np.quantile(misses, 0.9) <= MISSES_BY


def test_your_paddle_in_pong_follows_the_actions():
    env = TextDescription(gymnasium.make("AtariVLM/Pong-v5"), objects=True)
    env.reset(seed=0)
    for action, end in ((2, "up"), (3, "down")):
        for _ in range(30):
            observation = env.step(action)[0]
        shown = seen(
            env.unwrapped.ale.getScreenRGB(), (92, 186, 92), slice(34, 194), slice(130, 150)
        )
        x, y = where(observation, "your paddle")
        assert abs(x - shown[0]) <= 1 and abs(y - shown[1]) <= 8, end


def test_objects_are_off_unless_asked_for():
    env = TextDescription(gymnasium.make("AtariVLM/Pong-v5"))
    assert not env.metadata.get("privileged") and "Objects" not in env.reset(seed=0)[0]["text"]


def test_objects_fit_the_space_and_the_facts_still_read():
    env = VLMPrompt(TextDescription(gymnasium.make("AtariVLM/Freeway-v5"), objects=True))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert Facts.from_text(observation["prompt"]) == Facts("Freeway")


def test_objects_without_reader_or_emulator_are_refused():
    with pytest.raises(UnknownNameError, match="Breakout, Freeway"):
        TextDescription(gymnasium.make("ALE/Alien-v5"), objects=True)
    with pytest.raises(ConfigError, match="emulator"):
        TextDescription(ColourEnv(), "Pong", objects=True)
