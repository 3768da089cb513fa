"""What a number was measured on: the machine, and the versions of what computed it."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """The conditions of a measurement: processor, Python, package versions."""
    from importlib import metadata

    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    versions = {}
    for name in (
        "gymnasium",
        "ale-py",
        "numpy",
        "pillow",
        "opencv-python-headless",
        "torch",
        "transformers",
        "stable-baselines3",
    ):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"cpu": cpu, "python": platform.python_version(), "system": platform.system(), "versions": versions}


_PACKAGES = ("atari-vlm", "ale-py", "gymnasium", "numpy", "safetensors", "torch")


def _versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on, where they are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def free_memory() -> int | None:
    """Bytes of memory that are free: the smaller of the system's and the container's. ``None``: unknown."""
    known = [limit for limit in (_available_memory(), _container_memory()) if limit is not None]
    return min(known) if known else None


def _available_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _container_memory() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        return None if limit == "max" else int(limit) - int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None
