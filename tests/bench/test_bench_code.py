"""bench code in small: every case runs on both sides, and what has no goal is shown without one."""

import json

import numpy as np
import pytest

from atari_vlm.bench import code
from atari_vlm.bench.__main__ import SUBJECTS, main
from atari_vlm.bench.measure import Case, measure, to_markdown


@pytest.fixture
def small(monkeypatch):
    for name, value in {"CALLS": 3, "STEPS": 30, "PLANS": 4, "SIMULATIONS": 20}.items():
        monkeypatch.setattr(code, name, value)


def test_every_case_runs_on_both_sides(small):
    cases = code.cases({})
    assert len(cases) == 12 and sum(case.goal is None for case in cases) == 2
    for case in cases:
        result = measure(case, rounds=1)
        assert result.ours > 0 and result.peer > 0 and case.clock == "wall"


def test_the_program_prints_and_keeps_a_page(small, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("atari_vlm.bench.__main__.pin_to_one_core", lambda: None)
    main(["code", "--rounds", "1", "--only", "sandbox, step", "--out", str(tmp_path)])
    page = (tmp_path / "bench_code_sandbox_step.md").read_text()
    assert page in capsys.readouterr().out and "| - | - |" in page
    assert len(json.loads((tmp_path / "bench_code_sandbox_step.json").read_text())["results"]) == 2


def test_a_name_that_no_case_has_is_refused(small, monkeypatch, capsys):
    monkeypatch.setattr("atari_vlm.bench.__main__.pin_to_one_core", lambda: None)
    monkeypatch.setitem(SUBJECTS, "code", "test_bench_code:no_cases")
    assert main(["code", "--only", "mcst"]) == 2
    assert "no case of code has a name with 'mcst'" in capsys.readouterr().err


def no_cases(peers):
    return []


def test_a_time_of_its_own_is_a_goal_too():
    def case(**goals):
        return Case("a", "b", lambda: None, lambda: sum(range(20_000)), better="lower", **goals)

    fast, slow = (measure(case(goal=5.0, most=most), rounds=1) for most in (1e6, 1e-9))
    assert fast.reached and not slow.reached
    page = to_markdown("x", [fast, slow, measure(case(goal=None), rounds=1)])
    assert "| <= 5, <= 1e+06 us | yes |" in page and "| **no** |" in page and "| - | - |" in page


def test_the_two_programs_of_cart_pole_do_the_same():
    states, plans = np.random.default_rng(0).uniform(-0.2, 0.2, (16, 4)), np.ones((16, 9), int)
    plans[::2] = 0
    one, other = (
        code.LocalProgram(text).rollout(states, plans)
        for text in (code.CART_POLE, code.CART_POLE_BATCH)
    )
    np.testing.assert_allclose(one.states, other.states, rtol=1e-12)
    assert (one.dones == other.dones).all() and one.dones.any() and not one.dones.all()
