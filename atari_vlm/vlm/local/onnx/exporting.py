"""``export``: the ONNX form of a small Qwen3-VL, made from its folder and compared with it before it is written.

It needs the extra ``local``, ``onnx`` and ``onnxruntime``. torch's exporter by tracing is taken: it needs no onnxscript, makes
the file in a second, and writes no paths of the machine into it; equal weights give equal bytes.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.errors import NotSupportedError, VLMError
from atari_vlm.files import atomic_write
from atari_vlm.vlm.local import weights
from atari_vlm.vlm.local.checkpoint_folder import read_object
from atari_vlm.vlm.local.loading import load_model
from atari_vlm.vlm.local.onnx.session import FILE, LOGITS, session
from atari_vlm.vlm.local.options import LocalOptions

MODEL_TYPE = "qwen3_vl"
TOLERANCE = 1e-4  # of logits
_OPSET = 17
_MOST_PARAMETERS = 50_000_000
_AXES = {
    "ids": {0: "rows", 1: "tokens"},
    "positions": {1: "rows", 2: "tokens"},
    "bias": {0: "rows", 2: "tokens", 3: "tokens"},
    "read": {0: "read"},
    "picture": {0: "rows", 1: "tokens"},
    **{
        name: {0: "pictures", 1: "patches"}
        for name in ("patches", "places", "corners", "shares", "seen")
    },
}


def export(folder: Path) -> Path:
    """Write ``model.onnx`` beside the weights in ``folder`` and return its path.

    Rows, tokens, pictures and patches may be of any number. ``NotSupportedError`` for another architecture or a large
    model, ``VLMError`` where the result computes something else than the model (more than ``TOLERANCE`` away).
    """
    weights.check_weights(str(folder), folder)
    _check_kind(folder)
    torch, transformers = require("torch", "local"), require("transformers", "local")
    for module in ("onnx", "onnxruntime"):  # before the work
        require(module, "onnx-export")
    from atari_vlm.vlm.local.onnx.graph import Graph

    model = load_model(
        transformers.AutoModelForImageTextToText,
        folder,
        ("cpu", "float32"),
        LocalOptions(),
        attention="eager",
    )
    graph = Graph(model).eval()
    content = _traced(torch, graph, _example(model.config, (2, 24, 3), (3, 4)))
    for rows, look in (((1, 40, 9), (2, 16)), ((3, 17, 1), (1, 1))):
        _compare(torch, graph, content, _example(model.config, rows, look))
    atomic_write(folder / FILE, content)
    return folder / FILE


def _check_kind(folder: Path) -> None:
    kind = read_object(folder / "config.json").get("model_type")
    if kind != MODEL_TYPE:
        raise NotSupportedError(
            f"{folder} is a {kind!r} model; the ONNX form is made of a small {MODEL_TYPE} alone"
        )
    if (count := weights.parameters(folder)) > _MOST_PARAMETERS:
        raise NotSupportedError(
            f"{folder} has {count:,} parameters; the ONNX form is for small models, up to {_MOST_PARAMETERS:,}"
        )


def _traced(torch: Any, graph: Any, example: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    tensors = tuple(torch.from_numpy(array) for array in example.values())
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that this exporter is the older one
        torch.onnx.export(
            graph,
            tensors,
            stream,
            dynamo=False,
            input_names=list(example),
            output_names=[LOGITS],
            dynamic_axes={**_AXES, LOGITS: {0: "rows", 1: "read"}},
            opset_version=_OPSET,
        )
    return stream.getvalue()


def _compare(torch: Any, graph: Any, content: bytes, example: dict[str, np.ndarray]) -> None:
    with torch.inference_mode():
        expected = graph(*(torch.from_numpy(array) for array in example.values())).numpy()
    (found,) = session(content).run([LOGITS], example)
    away = float(np.abs(found - expected).max())
    if not away <= TOLERANCE:  # a number that is none, too
        raise VLMError(f"the ONNX form is {away:.1e} away from the model's logits")


def _example(
    config: Any, rows: tuple[int, int, int], look: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Inputs with random content: rows, tokens and places that are read in ``rows``; pictures and tokens of each in ``look``."""
    rng = np.random.default_rng(0)
    (batch, tokens, read), eyes = rows, config.vision_config
    width = eyes.in_channels * eyes.temporal_patch_size * eyes.patch_size**2
    features = 1 + look[0] * look[1]
    look = (look[0], look[1] * eyes.spatial_merge_size**2)
    return {
        "ids": rng.integers(0, config.text_config.vocab_size, (batch, tokens)),
        "positions": rng.integers(0, tokens, (3, batch, tokens)),
        "bias": np.zeros((batch, 1, tokens, tokens), np.float32),
        "read": np.arange(tokens - read, tokens),
        "picture": rng.integers(0, features, (batch, tokens)),
        "patches": rng.normal(size=(*look, width)).astype(np.float32),
        "places": rng.integers(0, 8, (*look, 2)),
        "corners": rng.integers(0, eyes.num_position_embeddings, (*look, 4)),
        "shares": rng.random((*look, 4)).astype(np.float32),
        "seen": np.zeros(look, np.float32),
    }
