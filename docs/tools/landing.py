"""The landing page's film and pictures: ``python docs/tools/landing.py`` writes them anew into ``docs/assets``.

The bundled player plays Breakout offline; the film is what ``play --record`` writes, the pictures are the report of a short
run in headless Chromium, light and dark. Takes about a minute; needs the extra ``video`` and Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ASSETS = Path(__file__).parent.parent / "assets"
GAME, STEPS = "Breakout-v5", 600
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=4000"
).split()
SCHEMES = {"light": 1, "dark": 0}  # Chromium's numbers of what a reader prefers
MOMENT = "#e=0&s=72"


def run_program(program: str, *options: object) -> None:
    """Run ``python -m atari_vlm.PROGRAM``; its failure ends this program too."""
    command = [sys.executable, "-m", f"atari_vlm.{program}", *map(str, options)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_film(folder: Path) -> Path:
    """The bundled player at Breakout: an mp4 of about 40 s."""
    film = folder / "breakout.mp4"
    run_program(
        "play", "--id", f"AtariVLM/{GAME}", "--agent", "scripted",
        "--record", film, "--steps", STEPS,
    )  # fmt: skip
    return film


def make_report(folder: Path) -> Path:
    """The report of a short run in which examples from its first episodes stand in later prompts."""
    run_program(
        "train", "--vlm", "scripted", "--use-icl", "--game", GAME, "--num-episodes", 2, "--num-eval-episodes", 1,
        "--max-steps", 150, "--save-dir", folder, "--run-name", "Breakout-scripted",
    )  # fmt: skip
    return folder / "Breakout-scripted" / "report.html"


def photograph(page: Path, picture: Path, scheme: str) -> None:
    """A page as headless Chromium shows it, 1280 x 860 pixels."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)  # fmt: skip
    if browser is None:
        sys.exit("the pictures need Chromium (on Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser, *FLAGS, f"--user-data-dir={profile}", "--window-size=1280,860",
                f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--screenshot={picture}",
                page.as_uri() + MOMENT,
            ],
            check=True, stderr=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip


def main() -> None:
    """Make all three, and move them into place when they are whole."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [make_film(folder)]
        report = make_report(folder)
        for scheme in SCHEMES:
            made.append(folder / f"report_{scheme}.png")
            photograph(report, made[-1], scheme)
        ASSETS.mkdir(exist_ok=True)
        for path in made:
            shutil.copyfile(path, ASSETS / path.name)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
