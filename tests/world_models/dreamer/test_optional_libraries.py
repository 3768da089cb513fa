"""Dreamer with every core needs torch and safetensors alone."""

import subprocess
import sys
import textwrap

PROGRAM = """
    import importlib, pkgutil, sys, time, warnings
    BLOCKED = {"transformers", "tokenizers", "peft", "dm_control", "mamba_ssm", "causal_conv1d", "kernels", "huggingface_hub",
               "lightning", "hydra", "sheeprl", "torchrl"}

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in BLOCKED:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Blocker())
    began = time.process_time()
    import atari_vlm
    import atari_vlm.world_models.dreamer as dreamer
    assert time.process_time() - began < 2
    assert "torch" not in sys.modules
    for module in pkgutil.walk_packages(dreamer.__path__, dreamer.__name__ + "."):
        importlib.import_module(module.name)
    import torch
    from atari_vlm.world_models.dreamer.cores import core_kinds, make_core
    from atari_vlm.world_models.dreamer.lora import add_lora
    for kind, sizes in (("gru", {}), ("block_gru", {"hidden": 4}), ("mamba", {"layers": 1})):
        core = make_core(kind, (3, 2), 8, **sizes)
        core.scan(torch.randn(2, 4, 5), core.init(2), torch.zeros(2, 4, dtype=torch.bool))[0].sum().backward()
    add_lora(core, 2, 4, ["in_proj"])
    assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
    print(*core_kinds())
"""


def test_nothing_optional_is_loaded():
    """D22: none of them is needed, not even where everything is imported and every core is used."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["gru", "block_gru", "mamba"]
