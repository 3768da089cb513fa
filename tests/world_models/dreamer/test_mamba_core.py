"""Mamba against transformers' MambaModel, the promises of a core, and what the library's own continuation gets wrong."""

import pytest
import torch

from atari_vlm.world_models.dreamer.cores import MambaCore, check_core, make_core
from atari_vlm.world_models.dreamer.cores import selective_scan as scan_module
from atari_vlm.world_models.dreamer.cores.selective_scan import selective_scan

transformers = pytest.importorskip("transformers")
SIZES = {
    "small": {"width": 24, "layers": 3},
    "odd": {
        "width": 18,
        "layers": 2,
        "state_size": 5,
        "conv_kernel": 3,
        "expand": 3,
        "time_step_rank": 2,
    },
    "one tap": {"width": 16, "layers": 1, "conv_kernel": 1},
}


def pair(width, layers, noise=0.1, **sizes):
    """transformers' model with random weights, and ours with the same."""
    config = transformers.MambaConfig(
        hidden_size=width, num_hidden_layers=layers, vocab_size=11, use_cache=False, **sizes
    )
    torch.manual_seed(0)
    theirs = transformers.MambaModel(config).eval()
    for parameter in theirs.parameters():
        parameter.data += noise * torch.randn_like(parameter)
    ours = MambaCore(width, layers, **sizes)
    weights = theirs.state_dict()
    del weights["embeddings.weight"]
    ours.load_state_dict(weights)  # every name there is, and no other
    return ours, theirs


def never(*shape):
    return torch.zeros(*shape, dtype=torch.bool)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_outputs_and_gradients_are_those_of_transformers(sizes):
    ours, theirs = pair(**sizes)
    x = torch.randn(3, 21, sizes["width"], requires_grad=True)
    weights = torch.randn(3, 21, sizes["width"])
    y, _ = ours.scan(x, ours.init(3), never(3, 21))
    expected = theirs(inputs_embeds=x).last_hidden_state
    assert (y - expected).abs().max() < 1e-5
    (y * weights).sum().backward()
    mine, x.grad = x.grad, None
    (expected * weights).sum().backward()
    others = dict(theirs.named_parameters())
    pairs = [(mine, x.grad), *((p.grad, others[n].grad) for n, p in ours.named_parameters())]
    for gradient, reference in pairs:
        assert (gradient - reference).abs().max() < 1e-4 * reference.abs().max()


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_core_keeps_its_promises(sizes):
    torch.manual_seed(1)
    check_core(MambaCore(**sizes), sizes["width"])


def test_projections_stand_where_widths_differ(caplog):
    with caplog.at_level("INFO"):
        core = make_core("mamba", (5, 3), 12, width=16, layers=1)
    assert "16 wide: inputs of 5 + 3 and outputs of 12 are brought to its width" in caplog.text
    check_core(core, 8)
    assert core.step(torch.randn(2, 8), core.init(2), never(2))[0].shape == (2, 12)
    caplog.clear()
    assert isinstance(make_core("mamba", (16,), 16, layers=1), MambaCore) and not caplog.records


def test_gradients_of_a_scan_are_those_of_its_steps():
    torch.manual_seed(2)
    core = MambaCore(16, 2)
    x, reset = torch.randn(4, 19, 16), torch.rand(4, 19) < 0.2
    weights, state = torch.randn(4, 19, 16), core.init(4)
    (core.scan(x, state, reset)[0] * weights).sum().backward()
    by_scan = [parameter.grad.clone() for parameter in core.parameters()]
    core.zero_grad()
    outputs = []
    for t in range(19):
        y, state = core.step(x[:, t], state, reset[:, t])
        outputs.append(y)
    (torch.stack(outputs, 1) * weights).sum().backward()
    for first, second in zip(by_scan, (p.grad for p in core.parameters()), strict=True):
        assert (first - second).abs().max() < 1e-4 * second.abs().max()


def test_packed_episodes_are_the_separate_ones():
    torch.manual_seed(3)
    core, lengths = MambaCore(16, 2), [2, 7, 1, 9]
    x, reset = torch.randn(1, sum(lengths), 16), never(1, sum(lengths))
    reset[0, torch.tensor([0, *lengths[:-1]]).cumsum(0)] = True
    dirty = {name: torch.randn_like(value) for name, value in core.init(1).items()}
    packed, last = core.scan(x, dirty, reset)
    for episode, alone in zip(packed.split(lengths, 1), x.split(lengths, 1), strict=True):
        y, state = core.scan(alone, core.init(1), never(1, alone.shape[1]))
        assert (episode - y).abs().max() < 1e-5
    assert all((last[name] - state[name]).abs().max() < 1e-5 for name in state)


def test_transformers_continues_several_tokens_wrongly_and_we_do_not():
    """The scan of Mamba-1 has no first state there: a chunk after the first begins from nothing."""
    ours, theirs = pair(24, 2, noise=0.3)
    x = torch.randn(2, 23, 24)
    with torch.no_grad():
        whole = theirs(inputs_embeds=x).last_hidden_state
        cache = theirs(inputs_embeds=x[:, :9], use_cache=True).cache_params
        continued = theirs(inputs_embeds=x[:, 9:], cache_params=cache, use_cache=True)
        _, state = ours.scan(x[:, :9], ours.init(2), never(2, 9))
        y, _ = ours.scan(x[:, 9:], state, never(2, 14))
    assert (continued.last_hidden_state - whole[:, 9:]).abs().max() > 1e-2
    assert (y - whole[:, 9:]).abs().max() < 1e-5


@pytest.mark.parametrize("steps", [1, 8, 9, 21])
def test_the_gradient_written_by_hand(steps, monkeypatch):
    monkeypatch.setattr(scan_module, "_BLOCK", 24)  # two rows at a time
    torch.manual_seed(4)
    decay = torch.rand(3, steps, 4)
    decay[torch.rand(3, steps) < 0.2] = 1e30  # resets
    terms = (
        decay, torch.randn(3, steps, 4), -torch.rand(3, 4) - 0.1, torch.randn(3, steps, 3), torch.randn(3, steps, 3),
        torch.randn(3, 3, 4),
    )  # fmt: skip
    double = [term.double().requires_grad_() for term in terms]
    where = decay[..., None] < 1e30

    def smooth(shown, *others):  # numeric differences of an endless time are none
        return selective_scan(torch.where(where[..., 0], shown, 1e30), *others)

    assert torch.autograd.gradcheck(smooth, double, fast_mode=steps > 8)


def test_half_precision_keeps_its_memory_whole():
    core = MambaCore(32, 2)
    x = torch.randn(2, 12, 32)
    exact, _ = core.scan(x, core.init(2), never(2, 12))
    with torch.autocast("cpu", torch.bfloat16):
        y, state = core.scan(x, core.init(2), never(2, 12))
        y, state = core.scan(x, core.init(2), never(2, 12))
        y.float().sum().backward()
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert (y - exact).abs().max() < 0.1
