"""Checkpoints: what is saved is what is read; what is damaged, dangerous or does not fit is refused."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pickle
import signal
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from forked import in_child
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from atari_vlm.errors import CheckpointError, ConfigError, MismatchError, UnknownNameError
from atari_vlm.world_models import (
    CatchWorldModel,
    load_world_model,
    read_checkpoint,
    save_checkpoint,
)
from atari_vlm.world_models.base import StartFrames
from atari_vlm.world_models.checkpoint_files import (
    check_tensor_header,
    pack_tensors,
    unpack_tensors,
)

SIZES = {"rows": 6, "columns": 5, "cell_px": 2, "num_balls": 3}
CONFIG = {
    **SIZES,
    "action_names": ["NOOP", "RIGHT", "LEFT"],
    "frame_skip": 1,
    "reward_transform": "none",
}
TENSORS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "b": np.array(7, np.int64),
    "c": np.zeros((0, 3), np.float16),
    "d": np.array([True, False]),
}


def save(folder, **changes):
    given = {
        "kind": "catch",
        "config": CONFIG,
        "tensors": TENSORS,
        "start": CatchWorldModel(**SIZES).start,
    }
    return save_checkpoint(
        folder, **{**given, "provenance": {"command": "make", "seeds": [0]}, **changes}
    )


def resign(folder):
    """Make the manifest agree with the files, as a forger would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for path in folder.iterdir():
        if path.name != "manifest.json":
            raw = path.read_bytes()
            manifest["files"][path.name] = {
                "bytes": len(raw),
                "sha256": hashlib.sha256(raw).hexdigest(),
            }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_is_saved_is_read(tmp_path):
    folder = save(tmp_path / "catch")
    read = read_checkpoint(folder)
    assert read.kind == "catch" and read.config == CONFIG and read.tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert read.tensors[name].dtype == array.dtype and read.tensors[name].flags.writeable
        np.testing.assert_array_equal(read.tensors[name], array)
    np.testing.assert_array_equal(
        read.start.observations, CatchWorldModel(**SIZES).start.observations
    )
    assert read.provenance["command"] == "make" and "numpy" in read.provenance["versions"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "manifest.json", "provenance.json", "start.npz", "weights.safetensors"
    ]  # fmt: skip


def test_files_that_are_not_needed_are_not_there(tmp_path):
    folder = save(tmp_path / "catch", tensors={}, start=None)
    assert not (folder / "weights.safetensors").exists() and not (folder / "start.npz").exists()
    read = read_checkpoint(folder)
    assert read.tensors == {} and read.start is None


def test_a_loaded_model_is_the_saved_one(tmp_path):
    loaded, model = load_world_model(save(tmp_path / "catch")), CatchWorldModel(**SIZES)
    rng = np.random.default_rng(0)
    frames = model.start.observations
    one, other = (m.init(frames, np.zeros((5, 0), int), rng=rng) for m in (loaded, model))
    for step in range(12):
        action = np.full(5, step % 3)
        one, other = (
            m.step(s, action, rng=np.random.default_rng(step)).state
            for m, s in ((loaded, one), (model, other))
        )
        np.testing.assert_array_equal(loaded.decode(one), model.decode(other))


def test_saving_again_replaces_everything(tmp_path):
    folder = save(tmp_path / "catch")
    save(folder, tensors={}, start=None, config={**CONFIG, "num_balls": 9})
    assert read_checkpoint(folder).config["num_balls"] == 9
    assert [path.name for path in tmp_path.iterdir()] == ["catch"]


def test_an_unfinished_save_leaves_the_old_one(tmp_path):
    folder = save(tmp_path / "catch")
    with pytest.raises(ConfigError, match="plain JSON"):
        save(folder, config={**CONFIG, "threshold": float("nan")})
    with pytest.raises(ConfigError, match="floats, integers or bools"):
        save(folder, tensors={"words": np.array([{}], dtype=object)})
    folder.rename(tmp_path / ".catch.previous")  # the moment between the two renames
    assert read_checkpoint(folder).config == CONFIG
    (tmp_path / ".catch.0123456789abcdef.new").mkdir()
    save(folder, config={**CONFIG, "num_balls": 2})
    assert read_checkpoint(folder).config["num_balls"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["catch"]


def saved_on_and_on(folder, pipe):
    """Saves, and tells of each save when it is done."""
    for n in range(10**9):
        tensors = {"w": np.full(200_000, n, np.float32)}
        save(folder, config={**CONFIG, "num_balls": n}, tensors=tensors)
        os.write(pipe, b".")


@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_a_kill_never_loses_or_halves_a_checkpoint(tmp_path, kills):
    rng, folder = np.random.default_rng(kills), tmp_path / "catch"
    save(folder, config={**CONFIG, "num_balls": 1})
    for _ in range(kills):
        child, pipe = in_child(functools.partial(saved_on_and_on, folder))
        told = os.read(pipe, 1)  # what is slow the first time is over now
        assert told
        time.sleep(rng.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with open(pipe, "rb") as rest:
            told += rest.read()
        read, last = read_checkpoint(folder), len(told) - 1
        assert last <= read.config["num_balls"] <= last + 1
        assert (read.tensors["w"] == read.config["num_balls"]).all()


def test_reading_while_another_thread_saves(tmp_path):
    folder = save(tmp_path / "catch")
    stop = threading.Event()

    def keep_saving():
        number = 0
        while not stop.is_set():
            number += 1
            save(
                folder,
                config={**CONFIG, "num_balls": number},
                tensors={"w": np.full(50_000, number)},
            )

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(keep_saving)
        try:
            for _ in range(100):
                read = read_checkpoint(folder)
                assert (
                    "w" not in read.tensors or (read.tensors["w"] == read.config["num_balls"]).all()
                )
        finally:
            stop.set()
        saving.result()


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("BOMB",)


@pytest.mark.parametrize(
    "name", ["weights.pt", "model.pkl", "pytorch_model.bin", "LAST.PTH", "x.pickle"]
)
def test_pickles_are_refused_and_run_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = save(tmp_path / "catch")
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="run code"):
        load_world_model(folder)
    assert not (tmp_path / "BOMB").exists()


def test_python_objects_in_start_frames_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save(tmp_path / "catch")
    bomb = np.empty((1, 1), object)
    bomb[0, 0] = Bomb()
    np.savez(folder / "start.npz", observations=bomb, actions=np.zeros((1, 0), int))
    resign(folder)
    with pytest.raises(CheckpointError, match="Python objects"):
        load_world_model(folder)
    assert not (tmp_path / "BOMB").exists()


@pytest.mark.parametrize(
    "name", ["config.json", "provenance.json", "weights.safetensors", "start.npz", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "gone", "link", "folder", "pipe"])
def test_damage_is_noticed(tmp_path, name, damage):
    folder = save(tmp_path / "catch")
    path, raw = folder / name, (folder / name).read_bytes()
    elsewhere = tmp_path / "elsewhere"
    path.unlink()
    if damage == "flip":
        path.write_bytes(
            raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 0x80]) + raw[len(raw) // 2 + 1 :]
        )
    elif damage == "cut":
        path.write_bytes(raw[:-3])
    elif damage == "longer":
        path.write_bytes(raw + b" x")
    elif damage == "link":
        elsewhere.write_bytes(raw)
        path.symlink_to(elsewhere)
    elif damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    with pytest.raises(CheckpointError):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=2), "version 2"),
        (lambda m: m.update(format="zip"), "'zip'"),
        (
            lambda m: m["files"].update({"../../etc/passwd": {"bytes": 1, "sha256": ""}}),
            "nothing but",
        ),
        (lambda m: m["files"].update({"/etc/passwd": {"bytes": 1, "sha256": ""}}), "nothing but"),
        (lambda m: m["files"].update({"code.py": {"bytes": 1, "sha256": ""}}), "nothing but"),
        (lambda m: m["files"].pop("config.json"), "must name"),
        (lambda m: m.update(files=["config.json"]), "must name"),
        (lambda m: m["files"]["config.json"].pop("bytes"), "bytes and sha256"),
        (lambda m: m["files"].update({"config.json": 3}), "bytes and sha256"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path, change, message):
    folder = save(tmp_path / "catch")
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "raw",
    [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"kind": "a", "kind": "b"}', b"{}", b"nul"],
)
def test_a_wrong_config_is_refused_even_when_signed(tmp_path, raw):
    folder = save(tmp_path / "catch")
    (folder / "config.json").write_bytes(raw)
    resign(folder)
    with pytest.raises(CheckpointError):
        read_checkpoint(folder)


def header(entries, body=b"", claimed=None):
    raw = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(raw) if claimed is None else claimed).to_bytes(8, "little") + raw + body


def entry(begin, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\0\0",
        header({}, claimed=2**63),
        header({}, claimed=50_000_000),
        header(b"[]"),
        header(b"{" * 50_000),
        header({"a": entry(0, 4, [1])}),  # nothing follows
        header({"a": entry(0, 4, [2])}, bytes(4)),
        header({"a": entry(0, 4, [2**62, 2**62])}, bytes(4)),
        header({"a": entry(0, 4, [-1])}, bytes(4)),
        header({"a": entry(0, 4, [1.0])}, bytes(4)),
        header({"a": entry(0, 4, [1], "BF99")}, bytes(4)),
        header({"a": entry(-4, 0, [1])}, bytes(4)),
        header({"a": entry(4, 0, [1])}, bytes(4)),
        header({"a": {"dtype": "F32"}}, bytes(4)),
        header({"a": 5}, bytes(4)),
        header({"a": entry(0, 4, [1]), "b": entry(0, 4, [1])}, bytes(4)),  # overlap
        header({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),
        header({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, bytes(12)),  # hole
        header({"a": entry(0, 4, [1])}, bytes(5)),  # bytes that belong to nothing
    ],
)
def test_unsound_weights_are_refused_at_once(raw):
    begun = time.perf_counter()
    with pytest.raises(CheckpointError):
        unpack_tensors(raw, "weights.safetensors")
    assert time.perf_counter() - begun < 1


ARRAYS = st.sampled_from(["f4", "f8", "f2", "i8", "i4", "u1", "?"]).flatmap(
    lambda dtype: arrays.arrays(
        np.dtype(dtype), arrays.array_shapes(min_dims=0, max_side=3, min_side=0)
    )
)
NAMES = st.text(max_size=8).filter(lambda name: name != "__metadata__")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=4))
def test_tensors_survive(tensors):
    read = unpack_tensors(pack_tensors(tensors), "here")
    assert read.keys() == tensors.keys()
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype and read[name].tobytes() == array.tobytes()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 120))
def test_no_bytes_do_worse_than_a_checkpoint_error(noise, at):
    sound = pack_tensors({"a": np.ones(3, np.float32), "b": np.zeros((2, 2), np.int64)})
    raw = sound[:at] + noise + sound[at + len(noise) :]
    try:
        check_tensor_header(raw, "here")
    except CheckpointError:
        return
    assert isinstance(
        unpack_tensors(raw, "here"), dict
    )  # what the header check lets pass can be loaded


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path):
    folder = save(tmp_path / "catch")
    claim = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        claim, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 1)}
    )
    small = io.BytesIO()
    np.save(small, np.zeros((1, 0), int))
    with zipfile.ZipFile(folder / "start.npz", "w") as archive:
        archive.writestr("observations.npy", claim.getvalue())
        archive.writestr("actions.npy", small.getvalue())
    resign(folder)
    with pytest.raises(CheckpointError, match="more than it holds"):
        read_checkpoint(folder)


def test_what_does_not_fit_names_both_sides(tmp_path):
    def loading(**changes):
        return load_world_model(save(tmp_path / "catch", **changes))

    with pytest.raises(MismatchError, match=r"frame skip 1; the config .* has 4"):
        loading(config={**CONFIG, "frame_skip": 4})
    with pytest.raises(
        MismatchError, match=r"acts with NOOP, RIGHT, LEFT; .* with NOOP, LEFT, RIGHT"
    ):
        loading(config={**CONFIG, "action_names": ["NOOP", "LEFT", "RIGHT"]})
    with pytest.raises(MismatchError, match=r"rewards are 'none'.*'sign'"):
        loading(config={**CONFIG, "reward_transform": "sign"})
    with pytest.raises(MismatchError, match=r"12, 10, 3.*\(16, 16, 3\)"):
        loading(start=CatchWorldModel(8, 8, cell_px=2).start)
    with pytest.raises(MismatchError, match="float32"):
        loading(start=StartFrames(np.zeros((1, 1, 12, 10, 3), np.float32), np.zeros((1, 0), int)))


def test_wrong_arguments(tmp_path):
    with pytest.raises(UnknownNameError, match="rem"):
        save(tmp_path / "x", kind="rme")
    for broken in (
        {"action_names": []},
        {"action_names": "NOOP"},
        {"frame_skip": 0},
        {"frame_skip": True},
    ):
        with pytest.raises(ConfigError, match=next(iter(broken))):
            save(tmp_path / "x", config={**CONFIG, **broken})
    with pytest.raises(UnknownNameError, match="sign"):
        save(tmp_path / "x", config={**CONFIG, "reward_transform": "log"})
    with pytest.raises(ConfigError, match="cell_px"):
        load_world_model(save(tmp_path / "x", config={**CONFIG, "cell_px": "2"}))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not overwritten"):
        save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    for missing in (tmp_path / "nowhere", tmp_path / "mine"):
        with pytest.raises(CheckpointError, match="not a checkpoint"):
            load_world_model(missing)
