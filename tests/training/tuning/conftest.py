import json

import pytest
import tuning_helpers as helpers

torch = pytest.importorskip("torch")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """``bases(family)``: the folder of a tiny checkpoint with random weights."""
    from atari_vlm.vlm.local.tiny import build_tiny

    built = {}

    def folder(family, seed=0):
        if (family, seed) not in built:
            where = tmp_path_factory.mktemp("bases") / family
            built[family, seed] = build_tiny(family, where, seed=seed)
        return str(built[family, seed])

    return folder


@pytest.fixture(scope="session")
def tuned(bases, tmp_path_factory):
    """A finished run: LoRA on a tiny Qwen2-VL, two games' worth of nothing much."""
    folder = tmp_path_factory.mktemp("runs")
    code = helpers.sft(folder, "whole", "--base", "qwen-vl", "--model", bases("qwen2-vl"))
    assert code == 0
    return folder / "whole"


@pytest.fixture
def copied(tuned, tmp_path):
    """``copied(**changes)``: a copy of the adapter whose card says something else."""

    def copy(**changes):
        folder = helpers.copy_of(tuned / "adapter", tmp_path / "adapter")
        card = json.loads((folder / "atari_vlm.json").read_text())
        (folder / "atari_vlm.json").write_text(json.dumps({**card, **changes}))
        return folder

    return copy
