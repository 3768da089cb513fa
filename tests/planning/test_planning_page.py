"""The code in docs/planning.md runs."""

from pages import run_page


def test_code_on_the_page_runs(capsys):
    run_page("planning.md", 1)
    assert capsys.readouterr().out.splitlines()[-1] == "1.0"
