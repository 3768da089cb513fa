"""The code in docs/wrappers.md runs and prints what it says."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "wrappers.md"


def test_code_on_the_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    for expected in (
        "['action_space', 'frames', 'image', 'prompt', 'text']",
        "48 True",
        "other paddle",
        "(2, 2, 210, 160, 3) Game: Pong",
    ):
        assert expected in printed
