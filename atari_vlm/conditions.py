"""What a number was measured on: the machine, and the versions of what computed it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("atari-vlm", "ale-py", "gymnasium", "numpy", "safetensors", "torch")
_MEASURED = (
    *("gymnasium", "ale-py", "numpy", "pillow", "opencv-python-headless", "torch", "transformers"),
    "stable-baselines3",
)


def machine() -> dict[str, Any]:
    """The conditions of a measurement: processor, Python, package versions."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    installed = versions(_MEASURED)
    return {
        "cpu": cpu,
        "python": installed.pop("python"),
        "system": platform.system(),
        "versions": installed,
    }


def hardware() -> str:
    """:func:`machine` as a line of a page."""
    info = machine()
    packages = ", ".join(f"{name} {version}" for name, version in info["versions"].items())
    return f"Hardware: {info['cpu']}, Python {info['python']}; {packages}."


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on, where they are installed."""
    installed = {"python": platform.python_version()}
    for name in packages:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def free_memory() -> int | None:
    """Bytes of memory that this process can still take: what the system, its container and its own limit leave it.

    ``None`` where none of them says.
    """
    limits = [_available_memory(), _container_memory(), _own_limit()]
    known = [limit for limit in limits if limit is not None]
    return max(0, min(known)) if known else None


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
        if limit == "max":
            return None
        given_back = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / "memory.current").read_text()) - int(given_back.get("inactive_file", 0))
        return int(limit) - used
    except (OSError, ValueError):
        return None


def _own_limit() -> int | None:
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError, ValueError):
        return None
    return None if limit == resource.RLIM_INFINITY else limit - pages * resource.getpagesize()
