"""A program in a checkpoint is text: kept to the letter, under the manifest, and never run by reading it."""

import hashlib
import json

import pytest

from atari_vlm.errors import CheckpointError, ConfigError
from atari_vlm.world_models import read_checkpoint, save_checkpoint

CONFIG = {"action_names": ["0"], "frame_skip": 1, "reward_transform": "none"}
TEXT = "raise SystemExit('read, not run')\n# é ☃\r\n\tlast line without an end"


def save(folder, program=TEXT):
    return save_checkpoint(folder, kind="code", config=CONFIG, program=program)


def forge(folder, raw):
    """Another program, with a manifest that agrees."""
    (folder / "program.py").write_bytes(raw)
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256(raw).hexdigest()
    manifest["files"]["program.py"] = {"bytes": len(raw), "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_program_is_kept_to_the_letter_and_not_run(tmp_path):
    folder = save(tmp_path / "model")
    assert read_checkpoint(folder).program == TEXT
    assert (folder / "program.py").read_bytes() == TEXT.encode()


def test_a_checkpoint_without_a_program_has_none(tmp_path):
    assert read_checkpoint(save(tmp_path / "model", None)).program is None
    assert not (tmp_path / "model" / "program.py").exists()


def test_every_changed_byte_is_seen(tmp_path):
    folder = save(tmp_path / "model", "a = 1\n")
    for position in range(6):
        raw = bytearray(b"a = 1\n")
        raw[position] ^= 1
        (folder / "program.py").write_bytes(raw)
        with pytest.raises(CheckpointError, match=r"program\.py is damaged"):
            read_checkpoint(folder)


@pytest.mark.parametrize(
    ("program", "sentence"),
    [("a" * (1 << 18) + "a", "at most 262144 bytes"), ("a\0", "NUL"), ("\ud800", "surrogates")],
)
def test_what_is_no_text_of_256_kib_is_not_written(tmp_path, program, sentence):
    with pytest.raises(ConfigError, match=sentence):
        save(tmp_path / "model", program)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [(b"#" * ((1 << 18) + 1), "262144|262,144"), (b"a\0", "NUL"), (b"\xff", "utf-8")],
)
def test_a_forger_s_program_is_refused(tmp_path, raw, sentence):
    folder = save(tmp_path / "model")
    forge(folder, raw)
    with pytest.raises(CheckpointError, match=sentence):
        read_checkpoint(folder)
