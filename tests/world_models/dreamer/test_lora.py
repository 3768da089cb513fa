"""LoRA on every projection of a Mamba core, and its files against peft's."""

import json

import pytest
import torch
from torch import nn

from atari_vlm.errors import CheckpointError, ConfigError, MismatchError, UnknownNameError
from atari_vlm.world_models.dreamer.cores import MambaCore, check_core, make_core
from atari_vlm.world_models.dreamer.lora import (
    add_lora,
    load_lora,
    lora_parameters,
    merge_lora,
    save_lora,
)

ALL = ["in_proj", "x_proj", "dt_proj", "out_proj"]


@pytest.fixture
def core():
    torch.manual_seed(0)
    return MambaCore(16, 2, state_size=4)


def outputs(core, seed=1):
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(seed))
    return core.scan(x, core.init(2), torch.zeros(2, 7, dtype=torch.bool))[0]


def learn(core, updates=3):
    """A few steps towards a target that the base is far from."""
    parameters = [p for p in core.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=3e-2)
    for _ in range(updates):
        optimizer.zero_grad()
        (outputs(core) - 1).square().mean().backward()
        optimizer.step()


def test_adapters_begin_as_the_base_and_the_base_is_frozen(core):
    before, base = outputs(core), {n: p.detach().clone() for n, p in core.named_parameters()}
    add_lora(core, 3, 12, ALL)
    assert torch.equal(outputs(core), before)
    learning = {n for n, p in core.named_parameters() if p.requires_grad}
    assert learning == lora_parameters(core).keys() and len(learning) == 2 * 2 * len(ALL)
    assert lora_parameters(core)["layers.1.mixer.dt_proj.lora_B.weight"].shape == (32, 3)
    learn(core)
    assert all(torch.equal(core.get_parameter(name), value) for name, value in base.items())
    assert not torch.allclose(outputs(core), before, atol=1e-2)
    check_core(core, 16)


def test_every_adapter_gets_a_gradient(core):
    add_lora(core, 2, 4, ALL)
    learn(core, updates=2)
    core.zero_grad()
    (outputs(core) - 1).square().mean().backward()
    for name, parameter in lora_parameters(core).items():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_a_merged_core_is_plain_and_computes_the_same(core):
    names = set(core.state_dict())
    add_lora(core, 2, 4, ["x_proj", "out_proj", "dt_proj"])
    learn(core)
    expected = outputs(core)
    merge_lora(core)
    assert (outputs(core) - expected).abs().max() < 1e-5
    assert set(core.state_dict()) == names and lora_parameters(core) == {}
    assert type(core.layers[0].mixer.x_proj) is nn.Linear
    assert all(parameter.requires_grad for parameter in core.parameters())


def test_projections_around_a_core_go_on_learning():
    core = make_core("mamba", (5,), 12, width=16)
    add_lora(core, 2, 4, ["in_proj"])
    learning = {n for n, p in core.named_parameters() if p.requires_grad}
    assert {"into.weight", "out.weight", "core.layers.0.mixer.in_proj.lora_A.weight"} <= learning
    assert "core.layers.0.mixer.A_log" not in learning
    assert "layers.0.mixer.in_proj.lora_A.weight" in lora_parameters(core)


def test_what_cannot_be_adapted(core):
    with pytest.raises(UnknownNameError, match="LoRA target 'in_porj': did you mean in_proj"):
        add_lora(core, 2, 4, ["in_proj", "in_porj"])
    with pytest.raises(ConfigError, match="a list of targets"):
        add_lora(core, 2, 4, [])
    with pytest.raises(ConfigError, match="rank must be a whole number of at least 1"):
        add_lora(core, 0, 4, ALL)
    with pytest.raises(ConfigError, match="no LoRA adapters to save"):
        save_lora(core, ".")
    add_lora(core, 2, 4, ALL)
    with pytest.raises(ConfigError, match="adapters already"):
        add_lora(core, 2, 4, ALL)


def test_saved_adapters_come_back(core, tmp_path):
    base = {name: value.clone() for name, value in core.state_dict().items()}
    add_lora(core, 2, 4, ALL)
    learn(core)
    save_lora(core, tmp_path / "adapter")
    files = sorted(path.name for path in (tmp_path / "adapter").iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    for adapters in (False, True):
        other = MambaCore(16, 2, state_size=4)
        other.load_state_dict(base)
        if adapters:
            add_lora(other, 2, 4, ALL)
        load_lora(other, tmp_path / "adapter")
        assert torch.equal(outputs(other), outputs(core))


def model_and_core():
    transformers = pytest.importorskip("transformers")
    config = transformers.MambaConfig(
        hidden_size=16, num_hidden_layers=2, vocab_size=11, state_size=4, use_cache=False
    )
    model = transformers.MambaModel(config).eval()
    core = MambaCore(16, 2, state_size=4)
    weights = model.state_dict()
    del weights["embeddings.weight"]
    core.load_state_dict(weights)
    return model, core


def shown(model):
    x = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))
    return model(inputs_embeds=x).last_hidden_state


@pytest.mark.filterwarnings("ignore")
def test_peft_reads_ours(tmp_path):
    peft = pytest.importorskip("peft")
    model, core = model_and_core()
    add_lora(core, 3, 6, ["in_proj", "x_proj"])
    learn(core)
    save_lora(core, tmp_path)
    theirs = peft.PeftModel.from_pretrained(model, tmp_path)
    assert (shown(theirs) - outputs(core)).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["MambaModel", "MambaForCausalLM"])
def test_we_read_pefts(tmp_path, layout):
    peft = pytest.importorskip("peft")
    model, core = model_and_core()
    whole = model
    if layout == "MambaForCausalLM":
        transformers = pytest.importorskip("transformers")
        whole = transformers.MambaForCausalLM(model.config)
        whole.backbone = model
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=["in_proj", "x_proj"])
    theirs = peft.get_peft_model(whole, config)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(generator=torch.Generator().manual_seed(2))
    theirs.save_pretrained(tmp_path)
    load_lora(core, tmp_path)
    assert (shown(model.eval()) - outputs(core)).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_peft_passes_over_dt_proj_and_refuses_out_proj():
    """What our own adapters are for: in transformers' Mamba two of the four projections never learn."""
    peft = pytest.importorskip("peft")
    model, _ = model_and_core()
    with pytest.raises(ValueError, match="out_proj"):
        peft.get_peft_model(model, peft.LoraConfig(target_modules=["out_proj"]))
    model, _ = model_and_core()
    theirs = peft.get_peft_model(model, peft.LoraConfig(target_modules=["in_proj", "dt_proj"]))
    shown(theirs).sum().backward()
    silent = {n for n, p in theirs.named_parameters() if p.requires_grad and p.grad is None}
    assert {name.split(".mixer.")[1].split(".")[0] for name in silent} == {"dt_proj"}


def saved(core, folder):
    add_lora(core, 2, 4, ["in_proj"])
    save_lora(core, folder)
    return json.loads((folder / "adapter_config.json").read_text())


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({"use_dora": True}, MismatchError, "use_dora = True; only plain LoRA"),
        ({"r": 1 << 20}, CheckpointError, "r is at most 4096"),
        ({"r": "2"}, CheckpointError, "r must be a whole number"),
        ({"lora_alpha": 0}, CheckpointError, "lora_alpha must be greater than 0"),
        ({"r": 3}, CheckpointError, r"\(2, 16\) as layers.0.mixer.in_proj.lora_A.weight"),
    ],
)
def test_a_configuration_that_lies(core, tmp_path, values, error, match):
    config = saved(core, tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **values}))
    other = MambaCore(16, 2, state_size=4)
    with pytest.raises(error, match=match):
        load_lora(other, tmp_path)
    assert lora_parameters(other) == {}  # as it was


def test_adapters_of_another_core(core, tmp_path):
    saved(core, tmp_path)
    with pytest.raises(MismatchError, match=r"layers\.1\.mixer\.in_proj.*has not"):
        load_lora(MambaCore(16, 1, state_size=4), tmp_path)
    with pytest.raises(MismatchError, match="adapts in_proj; the core has"):
        load_lora(make_core("gru", (3,), 4), tmp_path)
    other = MambaCore(16, 2, state_size=4)
    add_lora(other, 4, 4, ["x_proj"])
    with pytest.raises(
        MismatchError, match="rank 2, alpha 4, in_proj; those of the core rank 4, alpha 4, x_proj"
    ):
        load_lora(other, tmp_path)


def test_pickled_and_damaged_adapters(core, tmp_path):
    saved(core, tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    whole = file.read_bytes()
    for data in (b"", whole[:50], whole[:-4]):
        file.write_bytes(data)
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_lora(MambaCore(16, 2, state_size=4), tmp_path)
    file.rename(tmp_path / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="can run code and are refused"):
        load_lora(core, tmp_path)
