"""ONNX Runtime's session over one model file that this package made itself."""

from __future__ import annotations

from typing import Any

from atari_vlm._lazy import require

FILE, LOGITS, EXTRA = "model.onnx", "logits", "onnx"


def session(content: bytes) -> Any:
    """A session on one CPU thread. ``content`` is the whole file, so that nothing beside it on the disk can be read in.

    Only for content that is ours: ONNX Runtime is not made to be given a stranger's.
    """
    runtime = require("onnxruntime", EXTRA)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
