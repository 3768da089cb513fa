"""Text from servers, made fit for one line of a terminal and for files."""

from __future__ import annotations

import re


def clip(text: str, length: int = 300) -> str:
    """``text`` as one printable line: tags of an HTML page, control and escape characters removed, cut to ``length``."""
    plain = re.sub(r"<[^<>]{0,1000}>", " ", text[:20_000])
    line = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def clean_text(text: str) -> str:
    """``text`` without lone surrogates, which no file and no request could hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
