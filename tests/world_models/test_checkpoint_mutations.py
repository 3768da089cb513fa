"""Checkpoints as strangers make them: nothing runs, nothing untyped comes through, and nothing that differs is taken."""

import hashlib
import io
import json
import os
import random
import resource
import struct
import time
import zipfile

import numpy as np
import pytest

from atari_vlm.errors import AtariVLMError, CheckpointError, ConfigError
from atari_vlm.world_models import (
    CatchWorldModel,
    load_world_model,
    read_checkpoint,
    save_checkpoint,
)
from atari_vlm.world_models.base import StartFrames

CATCH = {"rows": 8, "columns": 8, "cell_px": 8, "num_balls": 1}
CONFIG = {
    "kind": "catch",
    "action_names": ["NOOP", "RIGHT", "LEFT"],
    "frame_skip": 1,
    "reward_transform": "none",
    **CATCH,
}


def npy(shape, descr, data=b""):
    """An array file whose header claims any shape."""
    head = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    head += b" " * (64 - (len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def start(observations, actions, **zip_options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("observations.npy", observations)
        archive.writestr("actions.npy", actions)
    return {"start.npz": out.getvalue()}


def config(**changes):
    return {"config.json": json.dumps({**CONFIG, **changes}).encode()}


def weights(header, data=b""):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return {"weights.safetensors": struct.pack("<Q", len(head)) + head + data}


def entry(dtype, shape, begin, end):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


def write(folder, contents, **manifest):
    """A checkpoint whose manifest vouches for every file, as a stranger would make it."""
    folder.mkdir()
    listed = {
        n: {"bytes": len(r), "sha256": hashlib.sha256(r).hexdigest()} for n, r in contents.items()
    }
    for name, raw in contents.items():
        (folder / name).write_bytes(raw)
    whole = {"format": "atari_vlm world model", "version": 1, "files": listed, **manifest}
    (folder / "manifest.json").write_text(json.dumps(whole).replace('"1e999"', "1e999"))
    return folder


BASE = {"config.json": json.dumps(CONFIG).encode(), "provenance.json": b"{}"}
PICTURE, NO_ACTION = npy((1, 1, 64, 64, 3), "|u1", bytes(64 * 64 * 3)), npy((1, 0), "<i8")
TWO = npy((1, 2, 64, 64, 3), "|u1", bytes(2 * 64 * 64 * 3))
GOOD = start(PICTURE, NO_ACTION)["start.npz"]
HOSTILE = {
    "kind a list": config(kind=["catch"]),
    "kind missing": {
        "config.json": json.dumps({k: v for k, v in CONFIG.items() if k != "kind"}).encode()
    },
    "rows 1e9": config(rows=10**9),
    "rows 1e30": config(rows=10**30),
    "balls 1e30": config(num_balls=10**30),
    "rows true": config(rows=True),
    "rows negative": config(rows=-8),
    "frame skip true": config(frame_skip=True),
    "names of lists": config(action_names=[["NOOP"], "RIGHT", "LEFT"]),
    "reward a list": config(reward_transform=["none"]),
    "NaN in the config": {"config.json": BASE["config.json"].replace(b'"rows": 8', b'"rows": NaN')},
    "1e999 in the config": {
        "config.json": BASE["config.json"].replace(b'"rows": 8', b'"rows": 1e999')
    },
    "deep config": {"config.json": b'{"a":' * 50_000},
    "long number": {
        "config.json": BASE["config.json"].replace(b'"rows": 8', b'"rows": ' + b"1" * 5000)
    },
    "provenance a list": {"provenance.json": b"[]"},
    "start 0 x 1e30": start(npy((0, 10**30), "|u1"), NO_ACTION),
    "start shape true": start(npy((True, 1), "|u1", b"x"), NO_ACTION),
    "start brackets": start(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, NO_ACTION
    ),
    "start header code": start(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 30) + b"__import__('os').system('id') ", NO_ACTION
    ),
    "start version 9": start(b"\x93NUMPY\x09\x00" + PICTURE[8:], NO_ACTION),
    "start actions NaN": start(TWO, npy((1, 1), "<f8", struct.pack("<d", float("nan")))),
    "start actions inf": start(TWO, npy((1, 1), "<f4", struct.pack("<f", float("inf")))),
    "start pictures NaN": start(
        npy((1, 1, 2), "<f4", struct.pack("<2f", 1, float("nan"))), NO_ACTION
    ),
    "start bools of 7": start(npy((1, 1, 4), "|b1", b"\x01\x00\x07\x01"), NO_ACTION),
    "start longer": start(PICTURE + b"more", NO_ACTION),
    "start shorter": start(PICTURE[:-9], NO_ACTION),
    "start of words": start(npy((1, 1), "<U4", bytes(16)), NO_ACTION),
    "start one dimension": start(npy((4,), "|u1", bytes(4)), NO_ACTION),
    "start no dimension": start(npy((), "|u1", b"x"), NO_ACTION),
    "start deflate damaged": {"start.npz": GOOD[:80] + b"\xff\xfe" + GOOD[82:]},
    "start of another size": start(npy((1, 1, 8, 8, 3), "|u1", bytes(192)), NO_ACTION),
    "weights bool 3": weights(entry("BOOL", [4], 0, 4), b"\2\3\xff\0"),
    "weights 0 x 1e30": weights(entry("F32", [10**30, 0], 0, 0)),
    "weights true": weights(entry("F32", [True], 0, 4), bytes(4)),
    "weights dtype a list": weights(entry(["F32"], [1], 0, 4), bytes(4)),
    "weights name twice": weights(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":1}', b"x"
    ),
    "weights header 2 GiB": {"weights.safetensors": struct.pack("<Q", 2**31) + b"{}"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_checkpoint_is_one_sentence(tmp_path, name):
    folder, begin = write(tmp_path / "model", {**BASE, **HOSTILE[name]}), time.monotonic()
    with pytest.raises((CheckpointError, ConfigError), match=r"model|toy game|Catch") as refused:
        load_world_model(folder)
    assert time.monotonic() - begin < 3 and "\n" not in str(refused.value)


MANIFESTS = {
    "version true": {"version": True},
    "version 1.0": {"version": 1.0},
    "bytes infinite": {"files": {n: {"bytes": "1e999", "sha256": "0" * 64} for n in BASE}},
    "bytes true": {"files": {n: {"bytes": True, "sha256": "0" * 64} for n in BASE}},
    "bytes a float": {"files": {n: {"bytes": 2.0, "sha256": "0" * 64} for n in BASE}},
    "bytes negative": {"files": {n: {"bytes": -1, "sha256": "0" * 64} for n in BASE}},
    "sha a number": {"files": {n: {"bytes": 2, "sha256": 7} for n in BASE}},
    "sha short": {"files": {n: {"bytes": 2, "sha256": ""} for n in BASE}},
    "entry a list": {"files": {n: [2, "0" * 64] for n in BASE}},
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_one_sentence(tmp_path, name):
    with pytest.raises(CheckpointError, match="manifest"):
        read_checkpoint(write(tmp_path / "model", BASE, **MANIFESTS[name]))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        struct.pack("<Q", 2) + b"{}",
        weights(entry("U8", [(30 << 30) - 80], 0, (30 << 30) - 80)),
    ],
)
def test_a_sparse_giant_is_not_read(tmp_path, head):
    """30 GiB that take no room on the disk: refused by header, size or memory, in no time and no memory."""
    head = head["weights.safetensors"] if isinstance(head, dict) else head
    size = 30 << 30
    listed = {
        n: {"bytes": len(r), "sha256": hashlib.sha256(r).hexdigest()} for n, r in BASE.items()
    }
    listed["weights.safetensors"] = {"bytes": size, "sha256": "0" * 64}
    folder = write(tmp_path / "model", BASE, files=listed)
    with open(folder / "weights.safetensors", "wb") as file:
        file.write(head)
        file.truncate(size)
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="weights"):
        load_world_model(folder)
    assert time.monotonic() - begin < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18  # kB


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_waited_for(tmp_path, name, make):
    folder = write(tmp_path / "model", BASE)
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_world_model(folder)


def sound(folder):
    """A whole checkpoint with weights of every type and start frames."""
    types = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    tensors = {f"part.{name}": np.arange(6).astype(name).reshape(2, 3) for name in types}
    model = CatchWorldModel(**CATCH)
    given = {name: value for name, value in CONFIG.items() if name != "kind"}
    return save_checkpoint(
        folder,
        kind="catch",
        config=given,
        tensors=tensors,
        start=model.start,
        provenance={"seeds": [0]},
    )


def content(checkpoint):
    arrays = {
        **checkpoint.tensors,
        "observations": checkpoint.start.observations,
        "actions": checkpoint.start.actions,
    }
    described = {
        name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()
    }
    return checkpoint.kind, checkpoint.config, checkpoint.provenance, described


@pytest.mark.parametrize(
    "count", [150, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_mutated_checkpoints(tmp_path, count):
    """Seeded damage to one file of a checkpoint, half of it with a manifest that vouches for the damage.

    Without such a manifest nothing that differs is taken. With one it is a stranger's own checkpoint: either refused with a
    typed error, or plain data that passes every check of its format.
    """
    draw = random.Random(count)
    folder = sound(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    kept = content(read_checkpoint(folder))
    for number in range(count):
        name, signed = draw.choice(sorted(files)), number % 2 == 0
        raw = mutated(files[name], draw)
        contents = {**files, name: raw}
        if signed and name != "manifest.json":
            manifest = json.loads(files["manifest.json"])
            manifest["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
            contents["manifest.json"] = json.dumps(manifest).encode()
        for file, data in contents.items():
            (folder / file).write_bytes(data)
        try:
            read = read_checkpoint(folder)
            load_world_model(folder)
        except AtariVLMError as refused:
            assert isinstance(refused, (CheckpointError, ConfigError))
            continue
        finally:
            for file, data in files.items():
                (folder / file).write_bytes(data)
        if signed and name != "manifest.json":
            assert all(array.dtype.kind in "fiub" for array in read.tensors.values())
            assert read.start is None or isinstance(read.start, StartFrames)
        else:
            assert content(read) == kept


def mutated(raw, draw):
    data = bytearray(raw)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data)) if data else 0
        choice = draw.random()
        if not data or choice < 0.5:
            data[at : at + 1] = bytes([draw.randrange(256)])
        elif choice < 0.7:
            data[at] ^= 1 << draw.randrange(8)
        elif choice < 0.8:
            del data[at : at + draw.randint(1, 50)]
        elif choice < 0.9:
            data[at:at] = draw.choice(
                [
                    b"\xff" * 8,
                    b"\0" * 8,
                    b"999999999999",
                    b"true",
                    b"null",
                    b"-1",
                    b"1e999",
                    b"[[",
                    bytes(data[:40]),
                ]
            )
        else:
            data = data[:at]
    return bytes(data)
