"""Imports point strictly down, strings that name modules too, and nothing goes round in a circle.

``ROOMS`` is the one table of the house: every module belongs to the longest prefix that is written there. Floors 0 words, 1
worlds, 2 deciding, 3 runs and viewing, 4 reporting, 5 making, 6 programs; rooms of one floor do not see one another.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

WORDS = (
    "_lazy plugins own_classes hub sharing types errors actions games description prompts pil_images spaces picture files "
    "yaml_files plain_json space_json space_trees trees settings conditions video registration "
    "checker checker_abilities checker_models checker_states "
    "experience objects scores vlm world_models agents vlm.base vlm.remote.keys agents.base "
    "world_models.base world_models.seeing world_models.view world_models.families "
    "env.emulator env.camera env.observing"
)
PROGRAMS = (
    "__main__ train evaluate plan dream tune codewm codewm_apps codewm_evaluate codewm_speed check perceive play "
    "report cli ending bench proofs integrations"
)
ROOMS = {  # prefix below atari_vlm -> (floor, room)
    "": (0, "words"),
    **{name: (0, "words") for name in WORDS.split()},
    "env": (1, "env"),
    "wrappers": (1, "env"),
    "vlm.": (1, "vlm"),
    "world_models.": (1, "world models"),
    "planning": (2, "planning"),
    "agents.": (2, "agents"),
    "runs": (3, "runs"),
    "viewing": (3, "viewing"),
    "reporting": (4, "reporting"),
    "training": (5, "training"),
    "training.in_context": (5, "in-context learning"),
    "training.imagination": (5, "imagination"),
    "training.tuning": (5, "tuning"),
    "evaluation": (5, "evaluation"),
    "synthesis": (5, "synthesis"),
    **{name: (6, "programs") for name in PROGRAMS.split()},
}
SEES = {("agents", "planning")}  # rooms of one floor that may, in one direction
# Registries hold the names of what is above them, and load it when it is asked for.
REGISTRIES = {
    "atari_vlm.registration",
    "atari_vlm.world_models.families",
    "atari_vlm.vlm.load",
    "atari_vlm.cli",
    "atari_vlm.checker",
}
A_MODULE = re.compile(r"atari_vlm(\.[a-z_0-9]+)+(:[A-Za-z_]\w*)?")


def place(module: str) -> tuple[int, str]:
    """Floor and room of a module; ``KeyError`` for one that no row of the table names."""
    name = module.removeprefix("atari_vlm").removeprefix(".")
    prefixes = [
        p for p in ROOMS if p and (name == p or name.startswith(p if p.endswith(".") else p + "."))
    ]
    return ROOMS[max(prefixes, key=len)] if prefixes else ROOMS[name]


def source_files() -> dict[str, Path]:
    """Every module of the package and where it lies."""
    tops = (
        ("atari_vlm", "atari_vlm"),
        ("agents", "atari_vlm.agents"),
        ("wrappers", "atari_vlm.wrappers"),
    )
    files = {}
    for top, package in tops:
        for path in sorted((ROOT / top).rglob("*.py")):
            relative = path.relative_to(ROOT / top)
            if top == "atari_vlm" and relative.parts[0] in ("agents", "wrappers", "data"):
                continue  # links, and programs that are no modules
            parts = [part for part in relative.with_suffix("").parts if part != "__init__"]
            files[".".join([package, *parts])] = path
    return files


FILES = source_files()


def names_of(text: str, module: str) -> Iterator[str]:
    """Modules of this package that a source text imports or, outside registries and package faces, names in a string."""
    tree = ast.parse(text)
    reads_strings = module not in REGISTRIES and not _is_face(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [name if name in FILES else node.module for name in below]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and reads_strings:
            if A_MODULE.fullmatch(node.value):
                yield node.value.split(":")[0]


def _is_face(tree: ast.Module) -> bool:
    """Whether this is a package's face: names that load lazily and nothing else."""
    return any(
        isinstance(node, ast.ImportFrom) and node.module == "atari_vlm._lazy" for node in tree.body
    ) and not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body)


def arrows(text: str, module: str) -> set[str]:
    """What a module depends on within the package."""
    return {name for name in names_of(text, module) if name in FILES and name != module}


def wrong_arrows(text: str, module: str) -> list[str]:
    """Arrows that do not point down."""
    floor, room = place(module)
    wrong = []
    for target in sorted(arrows(text, module)):
        target_floor, target_room = place(target)
        if not (target_floor < floor or target_room == room or (room, target_room) in SEES):
            wrong.append(
                f"{module} (floor {floor}, {room}) -> {target} (floor {target_floor}, {target_room})"
            )
    return wrong


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module):
    assert wrong_arrows(FILES[module].read_text(), module) == []


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("atari_vlm.runs.journal", "from atari_vlm.reporting.page import html"),
        ("atari_vlm.runs.journal", "def f():\n    import atari_vlm.training.in_context.trainer"),
        ("atari_vlm.vlm.remote.client", "from atari_vlm.world_models.catch import CatchWorldModel"),
        (
            "atari_vlm.training.in_context.trainer",
            "from atari_vlm.training.imagination import trainer",
        ),
        ("atari_vlm.runs.command_line", 'PROGRAMS = {"train": "atari_vlm.train:TrainConfig"}'),
        ("atari_vlm.planning.scoring", 'load("atari_vlm.agents.planners")'),
    ],
)
def test_a_planted_arrow_is_seen(module, planted):
    assert len(wrong_arrows(planted, module)) == 1


def unreadable_loads(text: str) -> list[str]:
    """Calls of ``load`` whose module is put together from pieces, where no reader and no test sees which one it is."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "load"
        and any(isinstance(argument, (ast.JoinedStr, ast.BinOp)) for argument in node.args)
    ]


def named_parts(text: str) -> set[str]:
    """Strings ``module:name`` of this package."""
    nodes = ast.walk(ast.parse(text))
    strings = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {s for s in strings if A_MODULE.fullmatch(s) and ":" in s}


@pytest.mark.parametrize("module", sorted(set(FILES) - {"atari_vlm.cli"}))
def test_strings_name_parts_that_are_there(module):
    text = FILES[module].read_text()
    assert unreadable_loads(text) == []
    for part in named_parts(text):
        home, name = part.split(":")
        assert home in FILES and re.search(rf"\b{name}\b", FILES[home].read_text()), part


def test_a_planted_string_is_seen():
    assert unreadable_loads('load(f"{home}.config:preset")') == ["load(f'{home}.config:preset')"]
    assert named_parts('X = {"a": "atari_vlm.no.such:thing"}') == {"atari_vlm.no.such:thing"}


def test_every_room_is_named():
    homeless = []
    for module in FILES:
        try:
            place(module)
        except KeyError:
            homeless.append(module)
    assert homeless == []
    used = {place(module) for module in FILES}
    assert {row for name, row in ROOMS.items() if name} == used | {ROOMS["training"]}


def _circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph, or nothing."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph[node]):
            found = walk(following, [*path, node])
            if found:
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def test_no_circle_of_files():
    faces = {module for module, path in FILES.items() if path.name == "__init__.py"}
    graph = {module: arrows(path.read_text(), module) - faces for module, path in FILES.items()}
    assert _circle(graph) == []


def test_no_circle_of_rooms():
    graph: dict[str, set[str]] = {}
    for module, path in FILES.items():
        home = folder_of(module)
        graph.setdefault(home, set()).update(
            {folder_of(target) for target in arrows(path.read_text(), module)} - {home}
        )
    assert _circle({home: targets & graph.keys() for home, targets in graph.items()}) == []


def folder_of(module: str) -> str:
    """The room of a module, its folder within worlds; what is a word is of the words wherever it lies."""
    _, room = place(module)
    if room != "world models" or FILES[module].parent.name == "world_models":
        return room
    return str(FILES[module].parent.relative_to(ROOT))
