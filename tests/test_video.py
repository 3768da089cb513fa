"""Videos are complete or absent, and what keeps one from being written is said in one sentence with its path."""

import os

import numpy as np
import pytest
from small_disk import small_files

from atari_vlm.errors import StorageError
from atari_vlm.video import VideoWriter

pytest.importorskip("imageio_ffmpeg")


def noise(n):
    return np.random.default_rng(n).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def write(path, pictures):
    writer = VideoWriter(path, 15)
    for n in range(pictures):
        writer.add(noise(n))
    writer.close()


def test_a_whole_video(tmp_path):
    write(tmp_path / "v.mp4", 5)
    assert os.listdir(tmp_path) == ["v.mp4"]


@pytest.mark.parametrize("pictures", [3, 600])
def test_no_room(tmp_path, capfd, pictures):
    """Noticed when the last picture is written, or while pictures come in."""
    (tmp_path / "v.mp4").write_bytes(b"before")
    with (
        small_files(500),
        pytest.raises(
            StorageError, match=r"v\.mp4 cannot be written: ffmpeg was stopped"
        ) as caught,
    ):
        write(tmp_path / "v.mp4", pictures)
    assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == ["v.mp4"] and (tmp_path / "v.mp4").read_bytes() == b"before"


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    with small_files(500), pytest.raises(StorageError, match="the disk is full"):
        write(tmp_path / "v.mp4", 3)


@pytest.mark.parametrize("folder", ["/proc", "/dev/null"])
def test_no_place(folder):
    with pytest.raises(StorageError, match=rf"{folder}/v\.mp4 cannot be written"):
        write(f"{folder}/v.mp4", 1)
