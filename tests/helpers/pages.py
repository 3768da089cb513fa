"""The Python on a page of the documentation, run as a reader would."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def run_page(name, count):
    """Run a page's Python blocks, which must be ``count``, one after the other; the names that they leave."""
    page = DOCS / name
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == count
    names = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    return names


def assert_printed(capsys, *texts):
    """All of these stand in what was printed."""
    printed = capsys.readouterr().out
    assert [text for text in texts if text not in printed] == []
