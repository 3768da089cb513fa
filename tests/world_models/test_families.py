"""The one registry of families: rows, refusals, and packages that bring broken ones."""

import types

import pytest

from atari_vlm import plugins
from atari_vlm.errors import ConfigError, NotSupportedError, UnknownNameError
from atari_vlm.world_models import families
from atari_vlm.world_models.families import Family, family, kinds_in, load_part, register_family

ROW = Family("mine", "my_package:load", presets=("small",))


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(families, "_FAMILIES", dict(families._FAMILIES))


def test_a_row_may_come_twice_and_another_of_its_kind_may_not():
    register_family(ROW, "package-a")
    register_family(ROW, "package-b")
    assert family("mine") is ROW and families.families()[-1] is ROW
    other = Family("mine", "their_package:load")
    with pytest.raises(ConfigError, match="'mine': package-a and package-c"):
        register_family(other, "package-c")
    assert family("mine") is ROW


def test_our_kinds_cannot_be_taken():
    with pytest.raises(ConfigError, match="'rem': atari_vlm and package-a"):
        register_family(Family("rem", "x:y"), "package-a")


def test_parts_that_a_family_lacks_are_named_with_those_that_have_them():
    register_family(ROW)
    with pytest.raises(NotSupportedError, match="'mine' has no learner; families with one: rem"):
        load_part("mine", "learner")
    with pytest.raises(UnknownNameError, match="mine"):
        load_part("mime", "model")


def test_an_import_that_fails_inside_a_family_is_its_own_error(monkeypatch, tmp_path):
    (tmp_path / "needs_more.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    register_family(Family("broken", "needs_more:load"))
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        load_part("broken", "model")
    register_family(Family("absent", "no_such_package.inside:load"))
    with pytest.raises(NotSupportedError, match="there is no module no_such_package"):
        load_part("absent", "model")


def raises():
    raise RuntimeError("the package is half installed")


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (lambda: ROW.kind, "is a Family, got str"),
        (lambda: Family("rem", "x:y"), "two packages bring"),
        (raises, "RuntimeError: the package is half installed"),
    ],
)
def test_a_broken_package_is_left_out_with_a_warning(monkeypatch, load, reason):
    good = types.SimpleNamespace(load=lambda: ROW, value="good:ROW", dist=None)
    bad = types.SimpleNamespace(load=load, value="bad:ROW", dist=types.SimpleNamespace(name="bad"))
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: [bad, good])
    with pytest.warns(UserWarning, match=f"the world models of bad are left out.*{reason}"):
        families.register_families()
    assert family("mine") is ROW and family("rem").learner is not None


def test_a_run_is_of_the_kind_whose_settings_it_has():
    register_family(ROW)
    assert list(kinds_in({"rem": {"epochs": 3}, "mine": "small"})) == ["rem"]
    assert list(kinds_in({"mine": {}})) == ["mine"]
    assert list(kinds_in(["mine"])) == list(kinds_in(None)) == []
