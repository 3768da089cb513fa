"""Pickled buffers of the GIF-MCTS repository: read as plain data, and nothing that lies in one is ever run."""

import collections
import os
import pickle
import struct

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Tuple

from atari_vlm.errors import ConfigError
from atari_vlm.experience import read_buffer
from atari_vlm.experience.pickled_values import array_of, parse


def fields(n=6, **changes):
    """What the source's replay buffer keeps, for CartPole."""
    rng = np.random.default_rng(0)
    made = {
        "capacity": n + 4,
        "file_path": "/home/somebody/replay_buffers/CartPole-v1",
        "obs": list(rng.normal(size=(n, 4)).astype(np.float32)),
        "next_obs": list(rng.normal(size=(n, 4)).astype(np.float32)),
        "actions": list(rng.integers(2, size=n)),
        "extra_info": [{"valid_actions": Discrete(2, seed=i)} for i in range(n)],
        "rewards": np.append(np.full(n, 0.1, np.float32), np.zeros(4, np.float32)),
        "dones": np.append(np.arange(n) == n - 1, np.ones(4, bool)),
        "traj_starts": np.array([0, 0, 0, *[3] * (n - 3), 7, 7, 7, 7], np.int32),
        "idx": n,
        "full": False,
    }
    return {**made, **changes}


def written(tmp_path, value, protocol=4):
    path = tmp_path / "train_buffer.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def test_a_pickled_buffer_is_read(tmp_path):
    made = fields()
    buffer = read_buffer(written(tmp_path, made))
    assert buffer.env_id == "CartPole-v1"
    assert len(buffer) == 6
    assert buffer.action_space == Discrete(2)
    assert buffer.trajectory_starts.tolist() == [0, 3]
    np.testing.assert_array_equal(buffer.observations, made["obs"])
    np.testing.assert_array_equal(buffer.next_observations, made["next_obs"])
    np.testing.assert_array_equal(buffer.actions, made["actions"])
    assert buffer.rewards.tolist() == [float(np.float32(0.1))] * 6
    assert buffer.terminated.tolist() == [False] * 5 + [True]
    assert not buffer.truncated.any()
    assert "somebody" not in str(buffer.provenance)


def test_an_end_at_the_step_limit_is_a_truncation(tmp_path):
    n = 201
    starts = np.zeros(n + 4, np.int32)
    starts[200:] = 200
    dones = np.arange(n + 4) >= 199
    made = fields(n, file_path="/x/MountainCar-v0", traj_starts=starts, dones=dones)
    made["obs"] = made["next_obs"] = list(np.zeros((n, 2), np.float32))
    buffer = read_buffer(written(tmp_path, made))
    assert np.flatnonzero(buffer.truncated).tolist() == [199]
    assert np.flatnonzero(buffer.terminated).tolist() == [200]


def test_tuples_words_and_continuous_actions(tmp_path):
    cards = [(1, 2, 0), (3, 4, 1), (5, 6, 0), (7, 8, 1), (9, 10, 0), (11, 1, 1)]
    made = fields(obs=cards, next_obs=cards, file_path="/x/Blackjack-v1")
    buffer = read_buffer(written(tmp_path, made))
    assert buffer.observation_space == Tuple((Discrete(32), Discrete(11), Discrete(2)))
    assert buffer.observations[1].tolist() == [2, 4, 6, 8, 10, 1]

    boards = [(np.array([["wall", "you"]], object), np.str_("empty")) for _ in range(6)]
    made = fields(obs=boards, next_obs=boards, file_path="/x/rtfm/simple")
    buffer = read_buffer(written(tmp_path, made))
    assert buffer.provenance["words"] == ["empty", "wall", "you"]
    assert buffer.observation_space == Tuple((MultiDiscrete([[3, 3]]), Discrete(3)))
    assert buffer.observations[0][0].tolist() == [[1, 2]]

    pushes = [np.full(1, 0.5, np.float32) for _ in range(6)]
    info = [{"valid_actions": Box(-2, 2, (1,), np.float32)}] * 6
    buffer = read_buffer(written(tmp_path, fields(actions=pushes, extra_info=info)))
    assert buffer.action_space == Box(-2, 2, (1,), np.float32)
    assert buffer.actions.tolist() == [[0.5]] * 6


class Does:
    """Something whose unpickling calls a function."""

    def __init__(self, *called):
        self._called = called

    def __reduce__(self):
        function, *arguments = self._called
        return function, tuple(arguments)


def _text(opcodes: bytes) -> bytes:
    return b"\x80\x04" + opcodes + b"."


def _short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def _torch_like(inner: bytes) -> bytes:
    """A call of torch's loader of nested bytes, as tensors in a pickle have it."""
    name = _short("torch.storage") + _short("_load_from_bytes") + b"\x93"
    return name + b"B" + struct.pack("<I", len(inner)) + inner + b"\x85R"


def _bombs(canary):
    touch = Does(os.system, f"touch {canary}")
    evil = pickle.dumps(touch, protocol=4)
    command = f"touch {canary}"
    return {
        "a call of the system": pickle.dumps(fields(extra_info=[touch] * 6), protocol=4),
        "a call in place of the whole": evil,
        "evaluated text": pickle.dumps(Does(eval, f"open({str(canary)!r}, 'w')"), protocol=4),
        "protocol 0": b"cposix\nsystem\n(S'" + command.encode() + b"'\ntR.",
        "an instance": _text(b"(" + _short(command) + b"iposix\nsystem\n"),
        "an object": _text(b"(cposix\nsystem\n" + _short(command) + b"o"),
        "bytes that torch would open, as an observation": _text(
            b"}(" + _short("obs") + b"]" + _torch_like(evil) + b"au"
        ),
        "a persistent id": _text(b"Pposix.system\n"),
        "an extension": _text(b"\x82\x01"),
        "a name reached through an allowed module": _text(
            _short("numpy") + _short("f2py.crackfortran.myeval") + b"\x93" + b"(K\x01tR"
        ),
        "an array of objects": pickle.dumps(fields(rewards=np.array([touch] * 10)), protocol=4),
        "the state of a name": _text(_short("numpy") + _short("ndarray") + b"\x93" + b"}b"),
        "a call of a call": _text(
            _short("collections") + _short("OrderedDict") + b"\x93" + b")R" + b")R"
        ),
    }


@pytest.mark.parametrize("name", _bombs(""))
def test_nothing_is_ever_run(tmp_path, name, monkeypatch):
    canary = tmp_path / "canary"
    path = tmp_path / "train_buffer.pkl"
    path.write_bytes(_bombs(canary)[name])
    monkeypatch.setattr(pickle, "loads", _never)
    monkeypatch.setattr(pickle, "load", _never)
    monkeypatch.setattr(pickle, "Unpickler", _never)
    with pytest.raises(ConfigError) as refused:
        read_buffer(path)
    assert not canary.exists()
    assert "\n" not in str(refused.value)


def _never(*arguments, **options):
    raise AssertionError("a pickle was run")


def test_nested_bytes_of_torch_are_dropped_unopened(tmp_path, monkeypatch):
    """In the notes beside a transition they may lie; the transition is read without them."""
    canary = tmp_path / "canary"
    evil = pickle.dumps(Does(os.system, f"touch {canary}"), protocol=4)
    made = fields(extra_info=[{"wiki": b"HERE", "valid_actions": Discrete(2)}] * 6)
    plain = pickle.dumps(made, protocol=4)
    here = b"C\x04HERE"
    assert plain.count(here) == 1
    head, tail = plain.split(here)
    path = tmp_path / "train_buffer.pkl"
    path.write_bytes(head + _torch_like(evil) + tail)
    monkeypatch.setattr(pickle, "loads", _never)
    assert len(read_buffer(path)) == 6
    assert not canary.exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_cut_pickle_is_refused(tmp_path, share):
    path = written(tmp_path, fields())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ConfigError) as refused:
        read_buffer(path)
    assert "\n" not in str(refused.value)


def test_a_changed_byte_is_refused_or_harmless(tmp_path):
    path = written(tmp_path, fields())
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for position in rng.choice(len(data), 150, replace=False).tolist():
        changed = bytearray(data)
        changed[position] ^= int(rng.integers(1, 256))
        path.write_bytes(changed)
        try:
            assert len(read_buffer(path)) == 6
        except ConfigError as refused:
            assert "\n" not in str(refused)


@pytest.mark.parametrize(
    "changes",
    [
        {"idx": 5},
        {"idx": "6"},
        {"idx": 0},
        {"obs": None},
        {"actions": [None] * 6},
        {"obs": [{}] * 6},
        {"obs": [np.zeros(4), np.zeros(3)] * 3},
        {"obs": [(1, 2), (1,)] * 3},
        {"rewards": np.zeros(3, np.float32)},
        {"rewards": np.full(10, 1j)},
        {"traj_starts": np.full(10, 2)},
        {"traj_starts": np.full(10, 7)},
        {"dones": np.zeros((10, 2), bool)},
        {"extra_info": [{"valid_actions": Discrete(1)}] * 6},
    ],
    ids=str,
)
def test_other_contents_are_refused(tmp_path, changes):
    with pytest.raises(ConfigError) as refused:
        read_buffer(written(tmp_path, fields(**changes)))
    assert "\n" not in str(refused.value)


def test_values_that_blow_up_are_refused(tmp_path):
    """A place in memory far away, doubling, and depth: none of the instructions that make them is known, or it ends early."""
    far = _text(b"Nr\xff\xff\xff\xff")
    doubled = _text(b"]" + b"2\x86" * 60)
    deep = _text(b"]" + b"\x85" * 3000)
    for data in (far, doubled, deep):
        path = tmp_path / "train_buffer.pkl"
        path.write_bytes(data)
        with pytest.raises(ConfigError):
            read_buffer(path)


def test_notes_are_no_objects():
    noted = parse(pickle.dumps(collections.OrderedDict(), protocol=4))
    assert (noted.name, noted.arguments) == ("collections.OrderedDict", ())
    with pytest.raises(ConfigError, match="array of numbers"):
        array_of(noted)
    big_endian = np.arange(6, dtype=">i4").reshape(2, 3)
    for array in (big_endian, np.asfortranarray(np.ones((2, 3)))):
        again = array_of(parse(pickle.dumps(array, protocol=4)))
        np.testing.assert_array_equal(again, array)
        assert again.dtype.isnative
