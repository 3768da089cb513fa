"""The form of a small model that plays without torch, made anew: needs onnx, which the extra onnx-export brings."""

import pytest

from atari_vlm.errors import NotSupportedError
from atari_vlm.vlm.local.onnx import exporting


def test_another_architecture_has_no_onnx_form(tiny):
    with pytest.raises(NotSupportedError, match="'qwen2_vl' model"):
        exporting.export(tiny("qwen2-vl"))


@pytest.mark.slow
def test_equal_weights_give_equal_bytes_without_paths(tmp_path):
    pytest.importorskip("onnx")
    from atari_vlm.vlm.local.tiny.player import build_player

    folder = build_player(tmp_path / "model", 0)
    first = exporting.export(folder).read_bytes()
    assert exporting.export(folder).read_bytes() == first
    assert len(first) < 10_000_000 and b"graph.py" not in first and b"site-packages" not in first
