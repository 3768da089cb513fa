"""What a number was measured on: named where it is known, left out where it is not."""

import platform

import pytest

from atari_vlm import conditions
from atari_vlm.conditions import free_memory, hardware, machine, versions


def test_versions_of_what_is_not_installed_are_left_out():
    installed = versions(("numpy", "no-such-package-of-anybody"))
    assert set(installed) == {"python", "numpy"}
    assert installed["python"] == platform.python_version()


def test_the_machine_and_its_line_agree():
    info = machine()
    assert info["cpu"] and "python" not in info["versions"]
    line = hardware()
    assert info["cpu"] in line and f"numpy {info['versions']['numpy']}" in line


@pytest.mark.parametrize(
    ("available", "container", "own", "free"),
    [
        (8, 4, None, 4),
        (8, None, 2, 2),
        (None, None, None, None),
        (8, -1, None, 0),  # the container is over its limit already
        (5, None, None, 5),
    ],
)
def test_free_memory_is_what_the_tightest_limit_leaves(
    monkeypatch, available, container, own, free
):
    limits = {"_available_memory": available, "_container_memory": container, "_own_limit": own}
    for name, value in limits.items():
        monkeypatch.setattr(conditions, name, lambda value=value: value)
    assert free_memory() == free
