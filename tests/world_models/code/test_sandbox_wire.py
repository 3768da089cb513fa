"""The wire: what goes in comes out, and no bytes whatever do more than raise ``WireError``."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.world_models.code.wire import WireError, clean, pack, unpack

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
DTYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64".split()


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_plain_data_is_the_same_again(value):
    again = unpack(pack(value))
    assert repr(again) == repr(value)  # NaN too, and minus zero


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (0,), (2, 3), (0, 2, 3), (1, 2, 1, 2, 1, 2, 1, 2)])
def test_arrays_are_the_same_again(dtype, shape):
    array = (np.arange(np.prod(shape)) % 2).reshape(shape).astype(dtype)
    for value in (array, [array, {"x": array}], np.asfortranarray(array)):
        again = unpack(pack(value))
        first = again[0] if isinstance(again, list) else again
        assert first.dtype == array.dtype and first.flags.writeable
        np.testing.assert_array_equal(first, array)
    assert unpack(pack([array]), plain=True) == [array.tolist()]


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ((1, (2,)), [1, [2]]),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3),
        (np.bool_(True), True),
        (np.array(5), 5),
        (np.array(["a", "é"]), ["a", "é"]),
        (np.array([1, "x", None], object), [1, "x", None]),
        (np.str_("s"), "s"),
        ((1 << 1023) - 1, (1 << 1023) - 1),
        (-(1 << 63) - 1, -(1 << 63) - 1),
        ([0.5, 1], [0.5, 1]),
        ([0.5, True], [0.5, True]),
        (-0.0, -0.0),
    ],
)
def test_what_is_almost_plain_arrives_plain(value, arrives):
    again = unpack(pack(value))
    assert again == arrives and type(again) is type(arrives)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"x",
        {1},
        1j,
        {1: 2},
        {(1,): 2},
        {None: 1},
        range(3),
        iter([]),
        "\udfff",
        {"\ud800": 1},
        np.complex128(1),
        np.array([1j]),
        np.array(["2020"], "M8[s]"),
        np.zeros(2, "i4,i4"),
        np.array([object()]),
        np.zeros((1,) * 9),
        np.longdouble(1),
        np.bytes_(b"x"),
        np.zeros((2, 0)),
        1 << 1023,
        -(1 << 1024),
    ],
)
def test_what_is_no_plain_data_has_no_bytes(value):
    for wrapped in (value, [value], {"x": [value]}):
        with pytest.raises(WireError):
            pack(wrapped)


def nested(n):
    value = []
    for _ in range(n):
        value = [value]
    return value


def test_depth_has_a_limit_on_both_sides():
    assert unpack(pack(nested(63))) == nested(63)
    with pytest.raises(WireError, match="at most 64 deep"):
        pack(nested(64))
    with pytest.raises(WireError, match="at most 64 deep"):
        unpack(b"l\1\0\0\0" * 100_000 + b"n")
    circle = []
    circle.append(circle)
    with pytest.raises(WireError):
        pack(circle)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"d",
        b"d\0\0\0",
        b"i\0",
        b"l",
        b"l\xff\xff\xff\xff",
        b"l\2\0\0\0n",
        b"nn",
        b"s\5\0\0\0ab",
        b"s\2\0\0\0\xff\xfe",
        b"s\3\0\0\0\xed\xa0\x80",
        b"m\1\0\0\0nn",
        b"m\1\0\0\0",
        b"F\2\0\0\0" + bytes(8),
        b"F\xff\xff\xff\xff",
        b"z\xff\xff\xff\xff",
        b"v\x0b\1\0\0\0",
        b"v\x0c\1\0\0\0" + bytes(8),
        b"v\xff\0\0\0\0",
        b"a\x0b\x09" + b"\1\0\0\0" * 9 + bytes(8),
        b"a\x0b\2\xff\xff\xff\xff\xff\xff\xff\xff",
        b"a\x0b",
        b"a",
        b"v\x0b\xff\xff\xff\xff",
        b"a\x0b\2\xff\xff\xff\xff\0\0\0\0",
        b"a\0\x08" + b"\xff\xff\xff\xff" * 8,
    ],
)
def test_bytes_that_are_no_value(data):
    for plain in (False, True):
        with pytest.raises(WireError):
            unpack(data, plain=plain)


def test_a_truth_is_0_or_1_whatever_its_byte():
    array = unpack(b"v\0\3\0\0\0\0\7\xff")
    assert array.view(np.uint8).tolist() == [0, 1, 1]


def test_an_empty_array_of_any_size_costs_nothing():
    array = unpack(b"a\x0b\2" + struct.pack("<2I", 0, (1 << 32) - 1))
    assert array.shape == (0, (1 << 32) - 1) and array.nbytes == 0


def test_a_mebibyte_of_anything_stays_small_and_quick():
    for data in (b"n", b"t", b"l\0\0\0\0", b"m\0\0\0\0", b"s\0\0\0\0", b"v\0\0\0\0\0"):
        n = (1 << 20) // len(data)
        value = unpack(b"l" + struct.pack("<I", n) + data * n)
        assert len(value) == n


SAMPLES = [
    [np.arange(4.0), 1.0, False],
    {"a": [1, 2.5, None, "é" * 20], "b": {"c": np.zeros((2, 3), np.float32)}},
    [0.5] * 20,
    "text",
    1 << 100,
    [[np.zeros((2, 2), bool), np.arange(3)]] * 3,
    [["ValueError", "x", 3]],
]


@pytest.mark.parametrize("seed", range(4))
def test_mutated_bytes_give_a_value_or_a_wire_error(seed):
    draw = random.Random(seed)
    packed = [pack(sample) for sample in SAMPLES]
    values = 0
    for _ in range(3000):
        data = bytearray(draw.choice(packed))
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data))
            change = draw.randrange(4)
            if change == 0:
                data[at] = draw.choice([0, 1, 255, draw.randrange(256), *b"lmsdiavFzntf"])
            elif change == 1:
                del data[at : at + draw.randint(1, 8)]
            elif change == 2:
                data[at:at] = draw.randbytes(draw.randint(1, 8))
            else:
                data += draw.choice(packed)[: draw.randint(1, 30)]
            data = data or bytearray(b"n")
        try:
            unpack(bytes(data), 0, draw.random() < 0.5)
            values += 1
        except WireError:
            pass
    assert 0 < values < 3000


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\x1b[31mb\x07", "a[31mb"),
        ("two\nlines\tand  more", "two lines and more"),
        ("\u202eevil\u2066\ufeff", "evil"),
        ("\ud800x\udfff", "x"),
        ("\x9b31m\x00", "31m"),
        ("naïve 日本 🎮", "naïve 日本 🎮"),
        ("\U000e0041tag", "tag"),
        ("x" * 600, "x" * 499 + "…"),
        ("", ""),
    ],
)
def test_words_lose_what_is_no_writing(text, kept):
    assert clean(text) == kept
    assert clean(text).isprintable()
