"""A page says on which machine and commit each seed was measured."""

from atari_vlm.proofs.pages import conditions, measured_on


def test_seeds_of_one_machine_and_commit_share_a_line():
    here = {"hardware": "A", "commit": "abc"}
    assert measured_on([{"seed": 1, **here}, {"seed": 2, **here}]) == "Commit abc. A"


def test_others_have_lines_of_their_own():
    rows = [{"seed": 1, "hardware": "A"}, {"seed": 2, "hardware": "A", "commit": "abc"}]
    assert measured_on(rows) == "Seed 1: A\n\nSeed 2: Commit abc. A"


def test_without_git_no_commit_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert set(conditions()) == {"hardware"}
