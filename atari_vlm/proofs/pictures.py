"""Pictures of the proofs: real and dreamed frames side by side, and curves of training."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from atari_vlm._lazy import require
from atari_vlm.evaluation.fidelity import HeldOutConfig, dream, read, segments
from atari_vlm.experience.replay import Replay
from atari_vlm.picture import encode_png
from atari_vlm.world_models.base import WorldModel

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7")


def frame_strip(
    model: WorldModel[Any], held_out: Replay, context: int, shown: Sequence[int], *, rows: int = 6
) -> bytes:
    """PNG: ``rows`` moments one below the other: the last real frame, then for each number of steps
    in ``shown`` the real frame and beside it one sampled dream.
    """
    config = HeldOutConfig(context=context, ahead=tuple(shown))
    cut = segments(held_out, config)
    whole = np.flatnonzero(cut.mask[:, -1])
    rng = np.random.default_rng(0)
    picked = np.sort(rng.choice(whole, min(rows, len(whole)), replace=False))
    play = read(model, held_out, cut.rows(picked))
    dreamed, last = dream(model, play, config, rng), context - 1
    real = play.observations  # (rows, T, H, W, 3)
    white = np.full((len(picked), real.shape[2], 4, 3), 255, np.uint8)
    thin = np.full((len(picked), real.shape[2], 1, 3), 128, np.uint8)
    columns = [real[:, last]]
    for k in shown:
        columns += [white, real[:, last + k], thin, dreamed[k]]
    moments = np.concatenate(columns, 2)  # (rows, H, W', 3)
    lined = np.concatenate([moments, np.full_like(moments[:, :2], 255)], 1)
    return encode_png(np.concatenate(lined)[:-2].repeat(2, 0).repeat(2, 1))


def curves(panels: Sequence[dict[str, Any]]) -> bytes:
    """PNG of panels side by side. A panel has ``lines`` {label: [(x, y), ...]}, names ``x`` and ``y``, ``log``, ``goal`` (a
    level).
    """
    figure = require("matplotlib.figure", "plots").Figure(
        figsize=(5 * len(panels), 4), layout="constrained"
    )
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        styles = itertools.product(("-", ":", "-."), COLOURS)
        for (label, points), (dashes, colour) in zip(panel["lines"].items(), styles, strict=False):
            style = {"linestyle": dashes, "color": colour, "marker": "o", "markersize": 3}
            axes.plot([x for x, _ in points], [y for _, y in points], label=label, **style)
        if panel.get("goal") is not None:
            axes.axhline(
                panel["goal"],
                color="#555555",
                linestyle="--",
                linewidth=1,
                label=f"goal {panel['goal']:g}",
            )
        if panel.get("log"):
            axes.set_yscale("log")
        axes.set(xlabel=panel["x"], ylabel=panel["y"])
        axes.legend(fontsize=7)
        axes.grid(alpha=0.25)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()
