"""Files that are never half-written, names that never leave their folder."""

import errno
import gc
import os
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atari_vlm.errors import ConfigError, StorageError
from atari_vlm.files import (
    append,
    atomic_write,
    check_no_links,
    child_folder,
    open_new,
    open_real,
    read_real,
    remove_left_behind,
    replacing,
    sha256_of,
)
from atari_vlm.video import VideoWriter


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
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/abs",
        "a\0b",
        "con",
        "NUL.txt",
        "x" * 65,
        "-x",
        "a.",
        "a\n",
    ],
)
def test_hostile_names_are_refused(name):
    with pytest.raises(ConfigError, match="cannot name a run"):
        child_folder("/some/root", name)


def test_a_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(ConfigError, match="symbolic link"):
        child_folder(tmp_path, "link")


@pytest.mark.parametrize("dangling", [False, True])
def test_what_is_written_replaces_a_link_and_leaves_its_target(tmp_path, dangling):
    mine, path = tmp_path / "mine", tmp_path / "file.txt"
    if not dangling:
        mine.write_text("thesis")
    path.symlink_to(mine)
    atomic_write(path, "new")
    assert path.read_text() == "new" and not path.is_symlink()
    assert not mine.exists() if dangling else mine.read_text() == "thesis"


def test_a_video_is_not_written_through_a_link_under_a_name_that_can_be_foretold(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    mine = tmp_path / "mine"
    mine.write_text("thesis")
    for name in (".o.mp4", "o.mp4"):
        (tmp_path / name).symlink_to(mine)
    video = VideoWriter(tmp_path / "o.mp4", 10)
    for _ in range(3):
        video.add(np.zeros((16, 16, 3), np.uint8))
    video.close()
    assert mine.read_text() == "thesis" and (tmp_path / "o.mp4").read_bytes()[4:8] == b"ftyp"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".o.mp4", "mine", "o.mp4"]


def test_a_video_that_breaks_off_leaves_nothing(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    video = VideoWriter(tmp_path / "o.mp4", 10)
    video.add(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(ConfigError):
        video.add(np.zeros((8, 8, 3), np.uint8))
    del video
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_links_are_found_at_any_depth(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("")
    check_no_links(tmp_path)
    (tmp_path / "a" / "b" / "link").symlink_to("file")
    with pytest.raises(ConfigError, match="symbolic link"):
        check_no_links(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_opened(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(ConfigError, match="x "):
        open_real(tmp_path / "x", 100)


def test_append_follows_no_link_and_makes_no_file(tmp_path):
    (tmp_path / "mine").write_text("thesis")
    (tmp_path / "link").symlink_to("mine")
    with pytest.raises(OSError, match="link"):
        append(tmp_path / "link", "more")
    with pytest.raises(OSError, match="absent"):
        append(tmp_path / "absent", "more")
    append(tmp_path / "mine", "!")
    assert (tmp_path / "mine").read_text() == "thesis!"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_no_room_is_one_sentence_that_names_the_file_and_what_to_do(tmp_path, code):
    path = tmp_path / "scores.json"
    atomic_write(path, "old")
    with pytest.raises(StorageError, match=r"scores\.json cannot be written: .* make room"):
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(code, os.strerror(code))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["scores.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_whatever_breaks_off_passes_and_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "scores.json"
    atomic_write(path, "old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["scores.json"]


def test_an_error_about_another_file_is_left_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        open("/nowhere/at/all", "rb")
    assert os.listdir(tmp_path) == []


def test_a_new_file_takes_the_place_of_nothing(tmp_path):
    with open_new(tmp_path / "a") as file:
        file.write(b"first")
    with pytest.raises(FileExistsError):
        open_new(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    with pytest.raises(FileExistsError):
        open_new(tmp_path / "link")
    assert (tmp_path / "a").read_bytes() == b"first" and not (tmp_path / "absent").exists()


def test_only_unfinished_files_are_removed(tmp_path):
    unfinished = tmp_path / f".scores.json.{'0f' * 8}"
    kept = [tmp_path / name for name in ("scores.json", ".hidden", ".scores.json.xyz")]
    for path in (unfinished, *kept):
        path.write_text("")
    (tmp_path / f".folder.{'0f' * 8}").mkdir()
    remove_left_behind(tmp_path)
    assert not unfinished.exists() and all(path.exists() for path in kept)
    assert (tmp_path / f".folder.{'0f' * 8}").is_dir()


def test_a_file_beyond_the_limit_is_refused_and_one_at_it_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_real(path, 5) == b"12345"
    with pytest.raises(ConfigError, match="at most 4 bytes"):
        read_real(path, 4)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_real(link, 5, links=True) == b"12345"
    with pytest.raises(ConfigError, match="a symbolic link is not followed"):
        read_real(link, 5)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_real("nul\0name", 5)
