"""Which executor plays a run: this process, or the workers of a Ray cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from atari_vlm.errors import ConfigError
from atari_vlm.runs.options import TYPED_ONLY, UNRECORDED, Options

_HERE = {
    **TYPED_ONLY,
    **UNRECORDED,
}  # of no consequence for a run, and of the line that goes on with it
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")


@dataclass(frozen=True)
class ExecutorOptions(Options):
    """Who does the work; results do not depend on it. Under Ray --parallel is the number of units played at once."""

    asks_here: ClassVar[bool] = False  # models are asked by the program itself and not by workers

    executor: Literal["local", "ray"] = field(default="local", metadata=_HERE)
    """local: this process; ray: workers of a Ray cluster, of this machine alone without --ray-address (extra scale)"""
    ray_address: str | None = field(default=None, metadata=_HERE)
    """HOST:PORT of a head (ray start --head --port PORT), or auto: the cluster that this machine belongs to"""

    def __post_init__(self) -> None:
        address = self.ray_address
        if address is not None and self.executor != "ray":
            raise ConfigError("--ray-address needs --executor ray")
        if address is not None and address != "auto" and not _is_address(address):
            raise ConfigError(f"--ray-address takes HOST:PORT or auto, got {address!r}")
        if self.executor == "ray" and getattr(self, "api_key", None) is not None:
            raise ConfigError(
                "--api-key stands in the command that Ray shows of its jobs; with --executor ray put the key into an environment "
                "variable of every machine, the vendor's own or one that --api-key-env names"
            )
        if address is not None and getattr(self, "cache", None) is not None and not self.asks_here:
            raise ConfigError("--cache is a file of one machine; leave it or --ray-address away")
        super().__post_init__()


def _is_address(word: str) -> bool:
    found = _ADDRESS.fullmatch(word)
    return found is not None and 0 < int(found[2]) < 65536
