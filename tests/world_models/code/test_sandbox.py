"""The sandbox seen by an honest caller: both contracts, what crosses, deadlines, what an error says."""

import os
import signal
import threading

import numpy as np
import pytest
from sandbox_programs import ADDER, WALK

from atari_vlm.errors import (
    ConfigError,
    SandboxCrashError,
    SandboxError,
    SandboxProgramError,
    SandboxTimeoutError,
    SandboxViolationError,
)
from atari_vlm.world_models.code import Sandbox


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 1 << 80, -0.5, "é\n", [], [1, [2.5, "x"]], {"a": {"b": [None]}}, [1.5] * 40,
        {"text": "\\u2028 {"}, [[[]]],
    ],
)  # fmt: skip
def test_plain_data_comes_back_as_it_was(adder, value):
    answer = adder.call("echo", value)
    assert answer == value and type(answer) is type(value)


@pytest.mark.parametrize(
    ("value", "arrives", "plain"),
    [
        (np.arange(3, dtype=np.float32), "ndarray", [0.0, 1.0, 2.0]),
        (np.zeros((0, 3), np.int16), "ndarray", []),
        (np.array([[True, False]]), "ndarray", [[True, False]]),
        (np.float32(0.5), "float", 0.5),
        (np.int64(7), "int", 7),
        (np.array(2.0), "float", 2.0),
        (np.array(["a", "b"]), "list", ["a", "b"]),
        ((1, (2, 3)), "list", [1, [2, 3]]),
    ],
)
def test_arrays_arrive_as_arrays_and_come_back_as_lists(adder, value, arrives, plain):
    assert adder.call("kind", value) == arrives
    assert adder.call("echo", value) == plain
    assert adder.call("echo", [value, {"k": value}]) == [plain, {"k": plain}]


def test_nan_and_infinity_cross(adder):
    assert np.isnan(adder.call("echo", float("nan")))
    assert adder.call("echo", [float("inf"), np.array([-np.inf])]) == [np.inf, [-np.inf]]


@pytest.mark.parametrize("value", [object(), {1: 2}, {(1, 2): 3}, b"x", {1, 2}, 1j, "\ud800"])
def test_what_is_no_plain_data_is_refused_before_it_crosses(adder, value):
    with pytest.raises(ConfigError, match="plain data"):
        adder.call("echo", value)


def test_contract_1_answers_call_by_call(home):
    with home(ADDER) as program:
        assert (program.contract, {"set_state", "step", "echo"} <= program.methods) == (1, True)
        assert program.call("set_state", 3) is None
        assert program.call("step", 2) == [5, 5.0, False]
        assert program.call("step", np.int64(60)) == [65, 65.0, True]
        assert program.call("count") == 1 and program.call("count") == 2


def test_contract_2_answers_call_by_call(home):
    with home(WALK) as program:
        assert program.contract == 2
        state = program.call("reset", np.array([[0, 1], [2, 3]]), np.array([0]))
        assert state == {"at": [2, 3], "path": [1, [2, 3]]}
        assert program.call("step", state, 6) == [{"at": [8, 9], "path": [1, [2, 3]]}, 6, True]
        assert program.step(state, 6)[1:] == (6.0, True)
        assert program.call("observe", state) == [2, 3]


def test_a_step_of_one_row_keeps_its_type(home):
    with home(ADDER) as program:
        state, reward, done = program.step(np.ones(2, np.float32), 2)
        assert state.dtype == np.float32 and state.tolist() == [3, 3]
        assert (reward, done) == (6.0, False)
        assert program.step(4, 2) == (6, 6.0, False)


def test_randomness_is_a_function_of_the_seed(home):
    with home(ADDER) as program, home(ADDER) as other:
        n = (
            4 if home is Sandbox else 2
        )  # in this process generators of their own keep their own seeds
        first = program.call("draws", seed=3)[:n]
        program.call("draws")
        assert first == program.call("draws", seed=3)[:n] == other.call("draws", seed=3)[:n]
        assert not set(first) & set(program.call("draws", seed=4))


def test_an_error_says_what_where_and_nothing_that_moves_a_cursor(home):
    with home(ADDER) as program, pytest.raises(SandboxProgramError) as raised:
        program.call("fails")
    said = str(raised.value)
    assert said.startswith("ValueError: [31mred[0m xxx") and len(said) < 800
    assert said.isprintable() and "(line 28: raise ValueError" in said and raised.value.line == 28


def test_a_syntax_error_names_its_line(home):
    with pytest.raises(SandboxProgramError, match=r"SyntaxError.*\(line 2: x =\)") as raised:
        home("import math\nx =\n")
    assert raised.value.line == 2


def test_an_import_off_the_list_names_the_list(adder):
    with pytest.raises(SandboxProgramError, match=r"ImportError: .*gymnasium, only .*numpy"):
        adder.call("imports")
    with pytest.raises(SandboxProgramError, match="ImportError"):
        Sandbox("import os")


def test_a_call_that_lasts_is_ended_and_the_next_has_a_new_worker():
    with Sandbox(ADDER, deadline_s=0.5) as sandbox:
        sandbox.call("count")
        pid = sandbox.pid
        with pytest.raises(SandboxTimeoutError, match=r"within 0\.5 s"):
            sandbox.call("forever")
        assert not os.path.exists(f"/proc/{pid}")
        assert sandbox.call("count") == 1 and sandbox.pid != pid


def test_loading_has_the_deadline_too():
    with pytest.raises(SandboxTimeoutError):
        Sandbox("while True: pass", deadline_s=0.3)


def test_what_is_forbidden_what_dies_and_what_is_too_long(adder):
    with pytest.raises(SandboxViolationError, match="PermissionError"):
        adder.call("reads")
    with pytest.raises(SandboxCrashError, match="code 3"):
        adder.call("dies")
    with pytest.raises(SandboxProgramError, match="cannot be taken: 1,048,581 bytes"):
        adder.call("long")
    assert adder.call("echo", 1) == 1


@pytest.mark.parametrize("program", ["x" * (256 << 10) + "y", "a\0b", 3, b"x = 1", "\ud800"])
def test_what_can_be_no_program_is_refused(home, program):
    with pytest.raises(ConfigError, match="a program"):
        home(program)


@pytest.mark.parametrize("options", [{"deadline_s": 0}, {"memory_mb": -1}, {"memory_mb": 1.5}])
def test_limits_are_positive(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Sandbox(ADDER, **options)


def test_limits_may_be_endless():
    with Sandbox(ADDER, deadline_s=float("inf"), memory_mb=1 << 60) as sandbox:
        assert sandbox.call("echo", 1) == 1


def test_an_interrupt_in_a_call_is_not_the_program_s_fault():
    with Sandbox(ADDER, deadline_s=5.0) as sandbox:
        sandbox.call("count")
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            sandbox.call("forever")
        assert sandbox.call("count") == 1


def test_memory_ends_where_it_was_said():
    text = "def take(n):\n    return len(bytearray(n << 20))"
    with Sandbox(text, memory_mb=100) as sandbox:
        assert sandbox.call("take", 50) == 50 << 20
        with pytest.raises(SandboxProgramError, match="MemoryError"):
            sandbox.call("take", 150)


def test_a_closed_sandbox_is_over():
    sandbox = Sandbox(ADDER)
    pid = sandbox.pid
    sandbox.close()
    sandbox.close()
    assert not os.path.exists(f"/proc/{pid}")
    with pytest.raises(SandboxError, match="closed"):
        sandbox.call("count")


def test_threads_take_turns(adder):
    wrong = []

    def ask(n):
        wrong.extend(i for i in range(100) if adder.call("echo", [n, i]) != [n, i])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_worker_sees_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    text = "import random\ndef look():\n    return [dict(random._os.environ), random._os.sys.argv, random._os.sys.path]"
    with Sandbox(text) as sandbox:
        assert sandbox.call("look") == [{}, [""], []]
        with open(f"/proc/{sandbox.pid}/environ", "rb") as file:
            assert b"canary" not in file.read()
        with open(f"/proc/{sandbox.pid}/status") as file:
            status = file.read()
    assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status and "CapPrm:\t0000000000000000" in status


def test_a_fork_of_us_starts_its_own_worker(adder):
    pid = adder.pid
    child = os.fork()
    if child == 0:
        try:
            fine = adder.call("echo", 5) == 5 and adder.pid != pid
            adder.close()
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert adder.call("echo", 6) == 6 and adder.pid == pid


def test_sets_have_one_order_everywhere():
    text = "def f(): return [list({'a', 'b', 'c', 'd'}), hash('x')]"
    with Sandbox(text) as one, Sandbox(text) as other:
        assert one.call("f") == other.call("f")


def test_whatever_is_loaded_draws_the_same():
    text = "import random, numpy\nX = [random.random(), numpy.random.rand()]\ndef f(): return X"
    with Sandbox(text) as one, Sandbox(text) as other:
        assert one.call("f") == other.call("f")


def test_a_worker_goes_with_its_sandbox():
    sandbox = Sandbox(ADDER)
    pid = sandbox.pid
    del sandbox
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("seed", [-1, 1 << 40, np.int64(3)])
def test_any_whole_number_is_a_seed(adder, seed):
    assert adder.call("draws", seed=seed) == adder.call("draws", seed=seed)
