"""The board in the docs is what the proof made."""

import json
from pathlib import Path

from atari_vlm.evaluation.board.board import Board
from atari_vlm.proofs.board import FORGED, STUDIES, to_markdown
from atari_vlm.proofs.board_forgeries import FORGERIES

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_ten_studies_and_twenty_forgeries():
    assert len(STUDIES) == 10 and FORGED in STUDIES
    assert len({forgery.name for forgery in FORGERIES}) == len(FORGERIES) == 20


def test_what_came_of_each_is_said():
    honest = Board((), ({"bundle": "catch", "reason": "it is damaged"},))
    forged = Board((), ({"bundle": "00", "reason": "score is 5.0 | no"},))
    page = to_markdown(honest, forged)
    assert "Honest: 0 of 10 accepted. Forged: 1 of 20 refused." in page
    assert "REFUSED: it is damaged" in page and "score is 5.0 \\| no" in page
    assert page.count("ACCEPTED") == 19


def agents(entry):
    return {row["agent"] for row in entry["rows"]}


def test_the_site_in_the_docs_is_whole():
    page = (RESULTS / "board.md").read_text(encoding="utf-8")
    assert "Honest: 10 of 10 accepted. Forged: 20 of 20 refused." in page
    site = RESULTS / "board_site"
    content = json.loads((site / "board.json").read_text(encoding="utf-8"))
    assert [entry["bundle"] for entry in content["accepted"]] == sorted(STUDIES)
    page = (site / "index.html").read_text(encoding="utf-8")
    shown = {cell for entry in content["accepted"] for cell in (entry["bundle"], *agents(entry))}
    assert all(f">{cell}<" in page for cell in shown) and "10 bundles accepted, 0 refused" in page
    assert sum(file.stat().st_size for file in site.iterdir()) < 500_000
