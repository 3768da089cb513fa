"""Classes of the user's own by name: found in the working directory, and each mistake said in one sentence."""

from __future__ import annotations

import sys

import pytest

from atari_vlm.errors import ConfigError, UnknownNameError
from atari_vlm.own_classes import is_own, made, own_class
from atari_vlm.vlm.load import load_vlm

SOURCE = '''
from atari_vlm.types import Reply
from atari_vlm.vlm.base import NoScores


class Loud(NoScores):
    name = "loud"
    capabilities = frozenset()

    def __init__(self, word="FIRE", timeout_s=0.0):
        self.word, self.timeout_s = word, timeout_s

    def complete(self, messages, *, sampling):
        return Reply(f"ACTION: {self.word}", "loud", cost_usd=0.0)


class NoVLM:
    """Has nothing of a VLM but a name."""

    name = "none"


class Broken:
    def __init__(self):
        raise RuntimeError("no weights here")
'''


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "loud_models.py").write_text(SOURCE)
    (tmp_path / "cannot_begin.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("loud_models", None)


def test_a_class_is_found_in_the_working_directory(own_module):
    before = list(sys.path)
    assert own_class("loud_models:Loud").__name__ == "Loud"
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "own"),
    [("a:B", True), ("a.b:C", True), ("gpt-4o", False), ("http://x", False), ("a:b:c", False)],
)
def test_own_names_have_one_form(name, own):
    assert is_own(name) is own


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("loud_models:Lowd", UnknownNameError, "did you mean Loud"),
        ("loud_modls:Loud", UnknownNameError, "did you mean loud_models"),
        ("cannot_begin:X", ConfigError, "cannot be imported"),
        ("no class", ConfigError, "module:Class"),
    ],
)
def test_a_wrong_name_is_said(own_module, name, error, sentence):
    with pytest.raises(error, match=sentence):
        own_class(name)


def test_wrong_keywords_and_broken_constructors_are_said(own_module):
    loud = own_class("loud_models:Loud")
    with pytest.raises(UnknownNameError, match="did you mean word"):
        made("loud_models:Loud", loud, {"wrod": 1})
    with pytest.raises(ConfigError, match="RuntimeError: no weights here"):
        made("loud_models:Broken", own_class("loud_models:Broken"), {})


def test_a_vlm_of_ones_own_is_loaded_by_name(own_module):
    vlm = load_vlm("loud_models:Loud", word="UP", timeout_s=7.0)
    assert (vlm.word, vlm.timeout_s) == ("UP", 7.0)
    with pytest.raises(ConfigError, match="lacks capabilities, complete, score_choices"):
        load_vlm("loud_models:NoVLM")
    with pytest.raises(UnknownNameError, match="option of loud_models:Loud"):
        load_vlm("loud_models:Loud", model="x")
