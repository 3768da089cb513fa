"""The code in docs/wrappers.md runs and prints what it says."""

from pages import assert_printed, run_page


def test_code_on_the_page_runs(capsys):
    run_page("wrappers.md", 4)
    assert_printed(
        capsys,
        "['action_space', 'frames', 'image', 'prompt', 'text']",
        "48 True",
        "other paddle",
        "(2, 2, 210, 160, 3) Game: Pong",
    )
