"""The documentation as a site: it builds without a warning, every link leads somewhere, and every public name has its entry."""

import ast
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
import yaml
from browser import Tab, tab  # noqa: F401  a fixture

import atari_vlm

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
ENTRY = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
ANCHOR = re.compile(r'\bid="?([^"\s>]+)')
TARGET = re.compile(r'\b(?:href|src)="?([^"\s>]+)')
ELSEWHERE = re.compile(r'<(?:script|link|img|video)[^>]*(?:src|href)="?https?:')
TABLE = re.compile(r"^\| \w+ \|.*\|$", re.MULTILINE)
SHOWN_ELSEWHERE = {"atari_vlm"}  # repeats what its packages show


def pages_in(nav: list) -> list[str]:
    """The pages of ``mkdocs.yml``, in order."""
    found: list[str] = []
    for item in nav:
        for value in item.values() if isinstance(item, dict) else [item]:
            found += pages_in(value) if isinstance(value, list) else [value]
    return found


def public_names() -> dict[str, list[str]]:
    """Of every package that shows names, and of the checkers: the names."""
    packages = [
        name for _, name, is_package in pkgutil.walk_packages(atari_vlm.__path__, "atari_vlm.") if is_package
    ]  # fmt: skip
    shown = {
        name: list(getattr(importlib.import_module(name), "__all__", ()))
        for name in ["atari_vlm", *packages, "atari_vlm.checker"]
    }
    return {name: names for name, names in shown.items() if names}


def test_the_pages_of_the_navigation_exist_and_are_named_once():
    nav = pages_in(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert not [page for page in nav if not (DOCS / page).is_file()]
    assert len(nav) == len(set(nav))
    reached = {DOCS / page for page in nav} | set((DOCS / "results").glob("*.md"))
    assert not {*DOCS.rglob("*.md")} - reached


def test_every_public_name_has_an_entry_in_the_api():
    entries = [
        entry
        for page in sorted((DOCS / "api").glob("*.md"))
        for entry in ENTRY.findall(page.read_text(encoding="utf-8"))
    ]
    assert len(entries) == len(set(entries))
    last = {entry.rpartition(".")[2] for entry in entries}
    shown = public_names()
    assert {f"atari_vlm.{name}" for name in ("agents", "wrappers", "vlm", "planning")} <= set(shown)
    missing = {
        package: sorted(set(names) - last)
        for package, names in shown.items()
        if set(names) - last and package not in SHOWN_ELSEWHERE
    }
    assert not missing, f"add a line '::: module.name' to a page in docs/api for {missing}"
    everything = {name for names in shown.values() for name in names}
    assert set(shown["atari_vlm"]) <= everything & last


def test_every_setting_of_a_program_has_an_entry_in_the_api():
    shown = ENTRY.findall((DOCS / "api" / "programs.md").read_text(encoding="utf-8"))
    programs = [f"atari_vlm.{path.stem}" for path in sorted((ROOT / "atari_vlm").glob("*.py"))]
    wanted = set()
    for module in {*programs, *(entry.rpartition(".")[0] for entry in shown)}:
        path = (ROOT / module.replace(".", "/")).with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            if module in programs and node.name.endswith("Config"):
                wanted.add(node.name)
            if f"{module}.{node.name}" in shown:  # its groups of options are links
                wanted |= {base.id for base in node.bases if isinstance(base, ast.Name)}
    names = {entry.rpartition(".")[2] for entry in shown}
    assert len(names) > 40 and wanted - names == {"Options"}


def table_of(text: str) -> dict[str, dict[str, list[float]]]:
    """``{game: {column: numbers}}`` of the first table about games; what stands in round brackets is left out."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.findall(text)]
    header, *rows = rows
    return {
        row[0]: {
            word: [float(number) for number in re.findall(r"-?\d+\.\d+", cell.split("(")[0])]
            for word, cell in zip(header, row, strict=True)
        }
        for row in rows
    }


def test_the_numbers_of_the_landing_page_are_those_of_their_source():
    shown = table_of((DOCS / "index.md").read_text(encoding="utf-8"))
    source = (DOCS / "results" / "planning_ale.md").read_text(encoding="utf-8")
    held = table_of(source.split("Differences")[0])
    assert set(shown) == set(held) and len(shown) == 5
    for game, columns in shown.items():
        for word in ("random", "scripted", "mcts", "plans judged"):
            assert len(columns[word]) == 3
            assert columns[word] == [round(number, 1) for number in held[game][word]]


def test_the_film_and_the_pictures_are_small():
    for name in ("breakout.mp4", "report_light.png", "report_dark.png"):
        assert 10_000 < (DOCS / "assets" / name).stat().st_size < 1_000_000


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
    assert (cited["version"], cited["license"]) == (atari_vlm.__version__, "MIT")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site, in a folder of its own; a warning ends the build."""
    pytest.importorskip("zensical", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", folder)
    (folder / "atari_vlm").symlink_to(ROOT / "atari_vlm", target_is_directory=True)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


def test_the_site_builds_and_every_link_of_it_leads_somewhere(site):
    texts = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    anchors = {page: set(ANCHOR.findall(text)) for page, text in texts.items()}
    dead = []
    for page, text in texts.items():
        if page.name == "404.html":
            continue  # shown under any address, so its links begin at the root
        for link in set(TARGET.findall(text)):
            target, fragment = urldefrag(urljoin(page.as_uri(), link.replace("&amp;", "&")))
            if not target.startswith("file:"):
                continue
            file = Path(unquote(target.removeprefix("file://").split("?")[0]))
            file = file / "index.html" if file.is_dir() else file
            if file.suffix != ".html":
                fragment = ""
            if not file.is_file() or (fragment and unquote(fragment) not in anchors[file]):
                dead.append(f"{page.relative_to(site)}: {link}")
    assert len(texts) > 40
    assert not dead


def test_the_site_asks_nothing_of_elsewhere_and_shows_no_raw_markup(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(ELSEWHERE, text), page
        assert "<autoref" not in text and ":class:" not in text and ":func:" not in text, page


CONTRAST = """(() => {
  const light = (text) => {
    const parts = text.match(/[\\d.]+/g).map(Number);
    const linear = parts.slice(0, 3).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const canvas = document.createElement("canvas").getContext("2d");
  const shown = (colour, under) => {
    canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return `rgb(${canvas.getImageData(0, 0, 1, 1).data.slice(0, 3).join()})`;
  };
  const page = getComputedStyle(document.body).backgroundColor;
  const words = getComputedStyle(document.querySelector(".md-typeset p")).color;
  const pair = [light(shown(page, "white")), light(shown(words, page))];
  return [pair[0], (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
})()"""
SCROLLED = """(() => {
  const box = [...document.querySelectorAll(".md-typeset__scrollwrap")].find((b) => b.scrollWidth > b.clientWidth + 200);
  box.scrollLeft = 150;
  const cell = box.querySelector("tbody tr td");
  return [box.scrollLeft, cell.getBoundingClientRect().left - box.getBoundingClientRect().left];
})()"""


def view(browser: Tab, page: Path, width: int, scheme: str) -> None:
    """Open a page of the site as a reader with this screen and this preference sees it."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.call("Emulation.setDeviceMetricsOverride", **screen)
    preference = {"name": "prefers-color-scheme", "value": scheme}
    browser.call("Emulation.setEmulatedMedia", features=[preference])
    browser.open(page)
    name = "slate" if scheme == "dark" else "default"
    browser.wait_for(f"document.body.dataset.mdColorScheme === '{name}'")


def test_pages_can_be_read_in_light_and_dark_on_a_desk_and_on_a_phone(site, tab):  # noqa: F811
    pages = ("index.html", "api/agents/index.html", "results/atari100k/index.html")
    for scheme in ("light", "dark"):
        for width in (1400, 390):
            for page in pages:
                view(tab, site / page, width, scheme)
                assert tab.evaluate("document.documentElement.scrollWidth") <= width, (page, width)
                ground, contrast = tab.evaluate(CONTRAST)
                assert (ground < 0.1) == (scheme == "dark") and contrast > 7, (page, scheme)
            tab.wait_for("document.querySelectorAll('.md-typeset__scrollwrap').length > 2")
            moved, place = tab.evaluate(SCROLLED)  # the last page's widest table
            assert moved == 150 and abs(place) < 2, "the first column stays in sight"
