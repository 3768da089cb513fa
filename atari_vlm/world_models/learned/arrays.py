"""Named arrays of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The entries named ``prefix.*``, without the prefix."""
    return {key[len(prefix) + 1 :]: value for key, value in arrays.items() if key.startswith(prefix + ".")}


def _array(value: Any) -> np.ndarray:
    return value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
