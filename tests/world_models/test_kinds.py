"""Kinds of world models whose code is not there: a sentence, and only for exactly that module."""

import sys

import gymnasium
import pytest

import atari_vlm  # noqa: F401 (registers the ids)
from atari_vlm.env.environment import AtariVLMEnvironment
from atari_vlm.errors import NotSupportedError, UnknownNameError
from atari_vlm.world_models import CatchWorldModel, families, load_world_model, save_checkpoint


def another_dreamer(monkeypatch, model):
    monkeypatch.setitem(
        families._FAMILIES, "dreamer", (families.Family("dreamer", model), "a test")
    )


@pytest.fixture
def unknown_kind(tmp_path, monkeypatch):
    """A checkpoint of Pong of a kind whose module does not exist."""
    another_dreamer(monkeypatch, "atari_vlm.world_models.absent_kind.model:load")
    env = AtariVLMEnvironment("Pong")
    names = list(env.get_action_meanings())
    env.close()
    config = {"game": "Pong", "action_names": names, "frame_skip": 4, "reward_transform": "none"}
    return str(save_checkpoint(tmp_path / "model", kind="dreamer", config=config))


def test_a_kind_without_code_is_refused_with_a_sentence(unknown_kind):
    for make in (
        lambda: load_world_model(unknown_kind),
        lambda: gymnasium.make("AtariVLM/Pong-Dreamer-v5", checkpoint=unknown_kind),
        lambda: gymnasium.make_vec("AtariVLM/Pong-Dreamer-v5", 2, checkpoint=unknown_kind),
    ):
        with pytest.raises(
            NotSupportedError,
            match=r"'dreamer' cannot be run: .* no module atari_vlm.world_models.absent_kind",
        ):
            make()


@pytest.mark.parametrize("there", [True, False])
def test_when_the_module_comes_it_is_used_and_its_own_missing_imports_are_not_hidden(
    unknown_kind, tmp_path, monkeypatch, there
):
    source = (
        "from atari_vlm.world_models.catch import load"
        if there
        else "import no_such_module_anywhere"
    )
    (tmp_path / "arriving_kind.py").write_text(source + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "arriving_kind", raising=False)
    another_dreamer(monkeypatch, "arriving_kind:load")
    if there:
        config = {"rows": 8, "columns": 8, "cell_px": 8, "num_balls": 1, "reward_transform": "none"}
        config |= {"action_names": list(CatchWorldModel().action_names), "frame_skip": 1}
        model = load_world_model(save_checkpoint(tmp_path / "catch", kind="dreamer", config=config))
        assert isinstance(model, CatchWorldModel)
    else:
        with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
            load_world_model(unknown_kind)


@pytest.mark.parametrize("kind", [["rem"], {"rem": 1}, None, 3, "REM"])
def test_a_kind_is_a_known_word(kind):
    with pytest.raises(UnknownNameError, match="unknown kind of world model"):
        families.family(kind)
