"""Errors: what the programs end with, what survives pickling, the boundary of a format, the checks of arguments."""

import pickle
import re

import numpy as np
import pytest

from atari_vlm import errors
from atari_vlm.errors import (
    AtariVLMError,
    BudgetExhaustedError,
    CheckpointError,
    ConfigError,
    ContractError,
    MismatchError,
    MissingDependencyError,
    NotSupportedError,
    RunError,
    StorageError,
    UnknownNameError,
    check_count,
    check_positive,
    check_temperature,
    one_line,
    reading,
    require,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, AtariVLMError)
]
DOCUMENTED = {
    name: int(code) for name, code in re.findall(r"(\w+Error)\b.*\[(\d+)\]$", errors.__doc__, re.M)
}
BUILTIN = {
    ConfigError: ValueError,
    MissingDependencyError: ImportError,
    StorageError: OSError,
    ContractError: AssertionError,
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_class_ends_a_program_as_the_tree_says(name):
    assert getattr(errors, name).exit_code == DOCUMENTED[name]


def test_the_tree_names_the_codes_of_every_kind_of_end():
    assert {2, 65, 69, 73, 74, 75, 77} <= set(DOCUMENTED.values())
    assert errors.StoppedError.exit_code == 128 + 2  # as a shell reports an interrupt


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_pickled_with_its_sentence(kind):
    if kind is UnknownNameError:
        error = UnknownNameError("game", "Pnog", ["Pong", "Breakout"])
    else:
        error = kind("something is wrong")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind and str(copy) == str(error)


@pytest.mark.parametrize(("kind", "builtin"), BUILTIN.items())
def test_what_python_calls_it_too_is_caught_by_that_name(kind, builtin):
    with pytest.raises(builtin):
        raise kind("so it is")


def test_the_budget_s_kind_survives_pickling():
    error = pickle.loads(pickle.dumps(BudgetExhaustedError("3 of 3 calls are used", "calls")))
    assert (str(error), error.kind) == ("3 of 3 calls are used", "calls")


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("pong", ["Pong", "Freeway"], "did you mean Pong?"),
        ("Pogn", ["Pong", "Freeway"], "did you mean Pong?"),
        (3, ["Pong"], "unknown game 3: known: Pong"),
        ("zzz", [f"Game{i:02}" for i in range(20)], "Game11, … (20 in all)"),
        ("zzz", [], "unknown game 'zzz'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, known, words):
    assert words in str(UnknownNameError("game", name, known))


def test_a_hint_stands_instead_of_the_nearest_names():
    message = str(UnknownNameError("game", "Pogn", ["Pong"], hint="games are spelled as ALE does."))
    assert "games are spelled as ALE does." in message and "did you mean" not in message


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (KeyError("weights"), "model.npz cannot be read: KeyError: 'weights'"),
        (ValueError("not\n  a   number"), "model.npz cannot be read: not a number"),
        (OSError("gone"), "model.npz cannot be read: gone"),
        (RuntimeError(), "model.npz cannot be read: RuntimeError"),
        (MismatchError("of another game"), "model.npz cannot be read: of another game"),
        (RecursionError("too deep"), "model.npz cannot be read: RecursionError: too deep"),
    ],
)
def test_what_a_parser_raises_becomes_one_sentence(cause, sentence):
    with pytest.raises(CheckpointError) as raised, reading("model.npz", CheckpointError):
        raise cause
    assert sentence in str(raised.value) and "\n" not in str(raised.value)
    assert raised.value.__cause__ is cause


@pytest.mark.parametrize(
    "cause",
    [
        CheckpointError("its version is 9"),
        MissingDependencyError("needs torch"),
        NotSupportedError("not on this machine"),
        RunError("is locked"),
        KeyboardInterrupt(),
    ],
)
def test_what_says_enough_already_passes_the_boundary(cause):
    with pytest.raises(type(cause)) as raised:
        with reading("model.npz", CheckpointError, passing=(RunError,)):
            raise cause
    assert raised.value is cause


def test_one_line_is_short_and_has_no_breaks():
    assert one_line(ValueError("a\n\tb  c")) == "a b c"
    assert len(one_line(ValueError("x" * 5000))) == 200


@pytest.mark.parametrize("value", [0, -1, float("nan"), "3", None, True])
def test_what_is_not_positive_is_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"^scale must be greater than 0"):
        check_positive(scale=value)


@pytest.mark.parametrize("value", [0, -2, 1.0, "2", None, True, np.float32(2)])
def test_what_is_no_count_is_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"^horizon must be a whole number of at least 1"):
        check_count(population=np.int64(3), horizon=value)


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan"), "1", None, False])
def test_what_is_no_temperature_is_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"^temperature is 0 or a finite number above"):
        check_temperature(temperature=value)
    check_temperature(temperature=0, other=0.7)


def test_a_broken_promise_is_a_contract_error():
    require(True, "rows are independent")
    with pytest.raises(ContractError, match=r"^rows are independent$"):
        require(False, "rows are independent")
