"""Words for everybody: no place of this machine, and no key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from atari_vlm.errors import ConfigError
from atari_vlm.files import open_real
from atari_vlm.sharing.client import token
from atari_vlm.sharing.contents import MOST_BYTES
from atari_vlm.vlm.remote.keys import looks_like_key

_WORD = r"[^\s/\\\"'`,;:|<>()\[\]{}=]+"
_PLACE = re.compile(rf"(?<![\w:/.~\\])(?:file://)?(?:~|[A-Za-z]:)?(?:[/\\]+{_WORD}){{2,}}[/\\]*")
_AT_ONCE, _OVERLAP = 1 << 20, 1 << 9
_SHORTEST = 4  # "/tmp"; what is shorter names no place of anybody's


class Cleaner:
    """Takes places of this machine out of words: known ones (``places``) are cut off, others become their last name."""

    def __init__(self, places: Iterable[Path]):
        names = {str(place) for place in places} | {str(place.resolve()) for place in places}
        known = sorted((n for n in names if len(n) >= _SHORTEST), key=len, reverse=True)
        joined = "|".join(re.escape(name) for name in known)
        self._known = re.compile(rf"(?<![\w.-])(?:{joined})(?![\w.-])(/?)") if known else None

    def text(self, text: str) -> str:
        """``text`` without places."""
        if self._known is not None:
            text = self._known.sub(lambda found: "" if found[1] else ".", text)
        return _PLACE.sub(lambda found: re.split(r"[/\\]+", found[0].rstrip("/\\"))[-1], text)

    def data(self, value: Any) -> Any:
        """Plain data whose words are cleaned."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.data(item) for name, item in value.items()}
        return [self.data(item) for item in value] if isinstance(value, (list, tuple)) else value


def check_no_key(content: Path | bytes, name: str) -> None:
    """Raise ``ConfigError`` where a file holds what looks like a key, or the token itself."""
    secret = token()
    for block in _blocks(content):
        text = block.decode("latin-1")
        if looks_like_key(text) or (secret is not None and secret.reveal() in text):
            raise ConfigError(
                f"something in {name} looks like a key, and what is shared is for everybody: nothing was sent"
            )


def _blocks(content: Path | bytes) -> Iterable[bytes]:
    """The content piece by piece, each with the end of the one before it."""
    if isinstance(content, bytes):
        yield content
        return
    before = b""
    with open_real(content, MOST_BYTES) as file:
        while block := file.read(_AT_ONCE):
            yield before + block
            before = block[-_OVERLAP:]
