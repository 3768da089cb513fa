"""Programs that mean well keep working in the sandbox, and answer what they answer outside of it."""

import textwrap

import numpy as np
import pytest
from hostile import pieces

from atari_vlm.world_models.code import LocalProgram, Sandbox

HEAD = """
from __future__ import annotations
import abc, array, bisect, cmath, collections, collections.abc, colorsys, contextlib, copy, dataclasses, datetime, decimal
import enum, fractions, functools, heapq, io, itertools, json, math, numbers, operator, pprint, queue, random, re, statistics
import string, struct, textwrap, types, typing, warnings, weakref
import numpy as np
import numpy.linalg as la
from numpy.random import default_rng
from numpy.typing import NDArray
class Environment:
    def set_state(self, state):
        self.state = state
    def step(self, action):
"""
HONEST = {name: body for name, (body,) in pieces("honest").items()}


def test_there_are_30():
    assert len(HONEST) >= 30


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_works(name):
    text = HEAD + textwrap.indent(HONEST[name], " " * 8)
    states, actions = np.array([[0.5, 1.5], [1.0, -2.0], [3.0, 0.25]]), np.array([1, 2, 3])
    with Sandbox(text) as sandbox, LocalProgram(text) as local:
        for state, action in zip(states, actions, strict=True):
            (after, reward, done), wanted = sandbox.step(state, action), local.step(state, action)
            np.testing.assert_allclose(after, wanted[0])
            assert type(after) is type(wanted[0]) or isinstance(wanted[0], (list, tuple))
            assert (reward, done) == (pytest.approx(wanted[1]), wanted[2])
        rows, wanted_rows = sandbox.step_rows(states, actions), local.step_rows(states, actions)
        np.testing.assert_allclose(rows.states, wanted_rows.states)
        assert rows.errors == wanted_rows.errors == {}
