"""Imports point strictly down: floor 0 words, 1 worlds (blind to one another), 2 deciding, 3 learning, 4 programs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

WORDS = {
    "atari_vlm", "atari_vlm._lazy", "atari_vlm.types", "atari_vlm.errors", "atari_vlm.games", "atari_vlm.spaces",
    "atari_vlm.description", "atari_vlm.prompts", "atari_vlm.picture", "atari_vlm.files", "atari_vlm.registration",
    "atari_vlm.env.emulator", "atari_vlm.env.camera", "atari_vlm.env.observing",
    "atari_vlm.vlm", "atari_vlm.vlm.base", "atari_vlm.world_models", "atari_vlm.world_models.base",
    "atari_vlm.agents", "atari_vlm.agents.base", "atari_vlm.checker",
}  # fmt: skip
ROOMS = {  # prefix -> (floor, room); rooms on floor 1 do not see one another
    "atari_vlm.env.environment": (1, "env"),
    "atari_vlm.env.vector": (1, "env"),
    "atari_vlm.wrappers": (1, "env"),
    "atari_vlm.vlm": (1, "vlm"),
    "atari_vlm.world_models": (1, "world_models"),
    "atari_vlm.agents": (2, "deciding"),
    "atari_vlm.planning": (2, "deciding"),
    "atari_vlm.training": (3, "learning"),
    "atari_vlm.reporting": (3, "learning"),
}


def place(module: str) -> tuple[int, str]:
    if module in WORDS:
        return 0, "words"
    for prefix in sorted(ROOMS, key=len, reverse=True):
        if module == prefix or module.startswith(prefix + "."):
            return ROOMS[prefix]
    return 4, "programs"


def source_files() -> list[tuple[str, Path]]:
    files = []
    for top, package in (
        ("atari_vlm", "atari_vlm"),
        ("agents", "atari_vlm.agents"),
        ("wrappers", "atari_vlm.wrappers"),
    ):
        for path in sorted((ROOT / top).rglob("*.py")):
            relative = path.relative_to(ROOT / top)
            if relative.parts[0] in ("agents", "wrappers") and top == "atari_vlm":
                continue
            parts = [package, *relative.with_suffix("").parts]
            files.append((".".join(p for p in parts if p != "__init__"), path))
    return files


def imported(path: Path) -> set[str]:
    """Modules of this package that a file imports, outside ``if TYPE_CHECKING``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name == "atari_vlm" or name.startswith("atari_vlm.")}


@pytest.mark.parametrize(("module", "path"), source_files(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_down(module, path):
    floor, room = place(module)
    for target in imported(path):
        target_floor, target_room = place(target)
        assert target_floor < floor or target_room == room, (
            f"{module} (floor {floor}) imports {target} ({target_floor})"
        )
