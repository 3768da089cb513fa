"""A disk that is full, as the kernel tells it: no file of this process, or of one that it begins, grows beyond a size."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def small_files(most_bytes: int) -> Iterator[None]:
    """``EFBIG`` for whatever would make a file larger than ``most_bytes``, until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
