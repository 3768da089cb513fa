"""For the site's API pages: what docstrings write in reStructuredText's way becomes Markdown.

A Griffe extension, named in ``mkdocs.yml``. A cross-reference (``:class:`~a.b.Name```) links to its entry where there is one, and
stays code elsewhere; the two colons before a block that is set in go.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc|obj):`(~?)([\w.:]+)`")
_BLOCK = re.compile(r"(?m)^::$|(?<=\w):(?=:$)")


def as_markdown(text: str) -> str:
    """``text`` with every role as a link that may lead nowhere: ``<autoref optional>``, which the site resolves."""
    return _ROLE.sub(_link, _BLOCK.sub("", text))


def _link(role: re.Match[str]) -> str:
    name = role[2].replace(":", ".")
    shown = name.rpartition(".")[2] if role[1] else name
    if not name.startswith("atari_vlm."):
        return f"`{shown}`"
    return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'


class Roles(griffe.Extension):
    """Rewrites each docstring once, when its object was read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by Griffe for every object that it has read."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
