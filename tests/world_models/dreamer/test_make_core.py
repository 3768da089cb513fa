"""Cores by name, those of other packages too, and the check that holds any core to its contract."""

import shutil
import types
from pathlib import Path

import pytest
import torch

from atari_vlm import plugins
from atari_vlm.errors import ConfigError, ContractError, UnknownNameError
from atari_vlm.world_models.dreamer.cores import check_core, core_kinds, make_core, register_core
from atari_vlm.world_models.dreamer.cores import make as make_module
from atari_vlm.world_models.dreamer.cores.gru import GruCore

FOREIGN = Path(__file__).parents[2] / "helpers" / "foreign"


class SmallCore(GruCore):
    """A core of another package."""

    def __init__(self, input_sizes, output_size, *, depth=1):
        super().__init__(input_sizes, output_size, hidden=depth)


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(make_module, "_REGISTERED", {})


def bring(monkeypatch, *packages):
    points = [
        types.SimpleNamespace(
            name="small",
            value=f"{package}:C",
            dist=types.SimpleNamespace(name=package),
            load=lambda: SmallCore,
        )
        for package in packages
    ]
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: points)


def test_a_package_brings_a_core(monkeypatch):
    bring(monkeypatch, "package-a")
    assert core_kinds()[-1] == "small"
    core = make_core("small", (3,), 4, depth=2)
    assert isinstance(core, SmallCore)
    check_core(core, 3)


def test_a_foreign_package_needs_no_install_step(monkeypatch, tmp_path):
    """D3: found by its entry point where it lies; a second one of the same name is refused with both packages' names."""
    monkeypatch.syspath_prepend(str(FOREIGN))
    assert core_kinds()[-1] == "fading"
    core = make_core("fading", (3, 2), 4, keep=0.5)
    check_core(core, 5)
    with pytest.raises(
        UnknownNameError, match="size of the core 'fading' 'kept': did you mean keep"
    ):
        make_core("fading", (3, 2), 4, kept=0.5)
    shutil.copytree(FOREIGN / "toy_core-0.1.dist-info", tmp_path / "other_core-2.0.dist-info")
    (tmp_path / "other_core-2.0.dist-info" / "METADATA").write_text(
        "Name: other-core\nVersion: 2.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="core 'fading': other-core and toy-core"):
        make_core("fading", (3, 2), 4)


def test_two_packages_cannot_bring_the_same(monkeypatch):
    bring(monkeypatch, "package-a", "package-b")
    assert core_kinds().count("small") == 1
    with pytest.raises(ConfigError, match="core 'small': package-a and package-b"):
        make_core("small", (3,), 4)
    assert isinstance(make_core("gru", (3,), 4), GruCore)  # what is sound goes on working
    with pytest.raises(ConfigError, match="core 'gru': atari_vlm and package-c"):
        register_core("gru", SmallCore, "package-c")


def test_a_core_of_this_program():
    register_core("small", SmallCore)
    register_core("small", SmallCore)
    assert isinstance(make_core("small", (3,), 4), SmallCore)


def test_names_and_sizes_that_are_not_there():
    with pytest.raises(UnknownNameError, match="did you mean gru"):
        make_core("grru", (3,), 4)
    with pytest.raises(
        UnknownNameError, match="size of the core 'block_gru' 'block': did you mean blocks"
    ):
        make_core("block_gru", (3,), 8, hidden=4, block=2)
    with pytest.raises(ConfigError, match="'block_gru' needs hidden"):
        make_core("block_gru", (3,), 8)
    with pytest.raises(ConfigError, match="size must be a whole number of at least 1, got 0"):
        make_core("gru", (0,), 8)


def test_what_is_no_core_is_refused():
    register_core("odd", lambda input_sizes, output_size: torch.nn.Linear(2, 2))
    with pytest.raises(
        ConfigError, match="'odd' is a torch module with init, step, scan and select, got Linear"
    ):
        make_core("odd", (3,), 4)


class Forgets(GruCore):
    """Breaks a promise: its scan takes no notice of resets."""

    def scan(self, x, state, reset):
        return super().scan(x, state, torch.zeros_like(reset))


class Leaks(GruCore):
    """Breaks a promise: a row sees the mean of all."""

    def read(self, x):
        return super().read(x + x.mean(0, keepdim=True))


class Overwrites(GruCore):
    """Breaks a promise: the state it was given is gone."""

    def step(self, x, state, reset):
        y, after = super().step(x, state, reset)
        with torch.no_grad():
            state["h"] += 1
        return y, after


class Crosses(GruCore):
    """Breaks a promise: the value of a reset state is cleared, its gradient is not."""

    def _advance_or_start(self, features, h, reset):
        cleared = torch.where(reset[:, None], h - h.detach(), h)
        return self.advance(features, cleared)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Forgets, "a scan equals its steps"),
        (Leaks, "rows are independent"),
        (Overwrites, "in place"),
        (Crosses, "no gradient crosses a reset"),
    ],
)
def test_a_broken_promise_is_named(broken, promise):
    with pytest.raises(ContractError, match=promise):
        check_core(broken((3,), 4), 3)
