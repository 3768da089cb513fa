"""The code in docs/agents.md runs."""

from pages import run_page


def test_the_code_of_the_page_runs_in_order():
    run_page("agents.md", 4)
