"""The code in docs/code_atari.md runs and prints what it says."""

from pages import assert_printed, run_page


def test_code_on_the_page_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page("code_atari.md", 3)
    assert_printed(
        capsys, "True (1, 210, 160, 3)", "(224, 224)\n(224, 224)", "['clock', 'points']\n1.0"
    )
