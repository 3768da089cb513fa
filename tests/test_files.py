"""Files that are never half-written, names that never leave their folder."""

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.errors import ConfigError
from atari_vlm.files import atomic_write, child_folder, sha256_of


def test_a_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    atomic_write(path, "one")
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two" and [p.name for p in path.parent.iterdir()] == ["file.txt"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert sha256_of(path) == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"


def test_a_failing_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    atomic_write(path, "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, "new")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@given(st.text(max_size=80))
def test_a_child_is_a_child_or_an_error(name):
    try:
        path = child_folder("/some/root", name)
    except ConfigError:
        return
    assert os.path.dirname(os.path.normpath(path)) == "/some/root" and path.name == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "/abs", "a\0b", "con", "NUL.txt", "x" * 65, "-x", "a.", "a\n"]
)
def test_hostile_names_are_refused(name):
    with pytest.raises(ConfigError, match="cannot name a run"):
        child_folder("/some/root", name)


def test_a_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(ConfigError, match="symbolic link"):
        child_folder(tmp_path, "link")
