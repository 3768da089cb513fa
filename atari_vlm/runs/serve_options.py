"""``--serve``: watching a program in a browser. Declared here once; every long program has it."""

from __future__ import annotations

from dataclasses import dataclass, field

from atari_vlm.errors import ConfigError
from atari_vlm.runs.options import AT_START, Options

_LAST_PORT = 65_535


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Options):
    """Watching what goes on; results do not depend on it."""

    serve: int | None = field(default=None, metadata={**AT_START, "alone": "0"})
    """[PORT]: a page on 127.0.0.1 with what goes on, at an address with a secret that is printed; 0 or no number: a free port"""

    def __post_init__(self) -> None:
        if self.serve is not None and not 0 <= self.serve <= _LAST_PORT:
            raise ConfigError(
                f"serve takes a port from 0 (a free one) to {_LAST_PORT}, got {self.serve!r}"
            )
        super().__post_init__()
