import re
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "environment.md"


def test_the_code_on_the_page_runs():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["frames"].shape == (4, 224, 224, 3) and names["stack"].shape == (2, 4, 84, 84)
    assert names["picture"].size == (224, 224) and list(names["observation"]) == ["image"]
