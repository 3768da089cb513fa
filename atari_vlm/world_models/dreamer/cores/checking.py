"""Whether a core keeps its promises: the conformance test that ships with the protocol."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atari_vlm.errors import require
from atari_vlm.world_models.dreamer.cores.base import SequenceCore, State

_ROWS, _STEPS, _TOLERANCE = 3, 9, 1e-4


def check_core(core: SequenceCore, input_size: int) -> None:
    """Hold a core, a torch module that reads positions of ``input_size`` numbers, to its contract.

    Raises ``ContractError`` with a sentence for the first promise that does not hold: shapes; a scan equals its steps, with
    resets and cut anywhere; neither values nor gradients cross a reset; rows are independent; no state is changed in place.
    """
    require(isinstance(core, SequenceCore), "a core has init, step, scan, select and output_size")
    require(isinstance(core, nn.Module), "a core is a torch module")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.randn(_ROWS, _STEPS, input_size)
        reset = torch.rand(_ROWS, _STEPS) < 0.25
        before = _state_after(core, torch.randn(_ROWS, 2, input_size))
    for check in (_shapes, _scan_is_steps, _cut_anywhere, _resets, _rows):
        kept = {name: value.clone() for name, value in before.items()}
        check(core, x, before, reset)
        require(_same(before, kept), "init, step, scan and select never change a state in place")


def _state_after(core: SequenceCore, x: Tensor) -> State:
    never = torch.zeros(x.shape[:2], dtype=torch.bool)
    return _detached(core.scan(x, core.init(len(x)), never)[1])


def _shapes(core: SequenceCore, x: Tensor, state: State, reset: Tensor) -> None:
    y, after = core.scan(x, state, reset)
    require(y.shape == (_ROWS, _STEPS, core.output_size), "scan gives (B, T, output_size)")
    y, _ = core.step(x[:, 0], state, reset[:, 0])
    require(y.shape == (_ROWS, core.output_size), "step gives (B, output_size)")
    for tree in (core.init(_ROWS), after):
        sound = all(isinstance(v, Tensor) and v.shape[:1] == (_ROWS,) for v in tree.values())
        require(sound, "a state is a flat dict of tensors with the rows first")
        require(tree.keys() == state.keys(), "every state has the same names")


def _scan_is_steps(core: SequenceCore, x: Tensor, state: State, reset: Tensor) -> None:
    y, after = core.scan(x, state, reset)
    stepped, at = [], state
    for t in range(_STEPS):
        out, at = core.step(x[:, t], at, reset[:, t])
        stepped.append(out)
    near = _near(y, torch.stack(stepped, 1)) and _near_states(after, at)
    require(near, "a scan equals its steps, resets and the state after it included")


def _cut_anywhere(core: SequenceCore, x: Tensor, state: State, reset: Tensor) -> None:
    y, after = core.scan(x, state, reset)
    for cut in range(1, _STEPS):
        first, between = core.scan(x[:, :cut], state, reset[:, :cut])
        second, end = core.scan(x[:, cut:], between, reset[:, cut:])
        near = _near(y, torch.cat([first, second], 1)) and _near_states(after, end)
        require(near, f"a scan cut after {cut} positions equals the uncut one")


def _resets(core: SequenceCore, x: Tensor, state: State, reset: Tensor) -> None:
    at, never = _STEPS // 2, torch.zeros_like(reset)
    once = never.clone()
    once[:, at] = True
    inputs = x.clone().requires_grad_()
    earlier = {name: value.clone().requires_grad_() for name, value in state.items()}
    y, after = core.scan(inputs, earlier, once)
    alone, end = core.scan(x[:, at:], core.init(_ROWS), never[:, at:])
    near = _near(y[:, at:], alone) and _near_states(after, end)
    require(near, "a reset row goes on as a fresh one")
    (y[:, at:].sum() + sum(value.sum() for value in after.values())).backward()
    crossed = [inputs.grad[:, :at], *(value.grad for value in earlier.values())]  # type: ignore[index]
    none = all(grad is None or not grad.any() for grad in crossed)
    require(none, "no gradient crosses a reset")


def _rows(core: SequenceCore, x: Tensor, state: State, reset: Tensor) -> None:
    y, after = core.scan(x, state, reset)
    index = torch.tensor([2, 0, 0])
    chosen, end = core.scan(x[index], core.select(state, index), reset[index])
    near = _near(y[index], chosen) and _near_states(core.select(after, index), end)
    require(near, "rows are independent, and select takes them in the order that is asked for")


def _detached(state: State) -> State:
    return {name: value.detach() for name, value in state.items()}


def _near(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=_TOLERANCE, atol=_TOLERANCE)


def _near_states(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(_near(first[n], second[n]) for n in first)


def _same(first: State, second: State) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)
