"""The code in docs/in_context_learning.md runs and prints what it says."""

import pytest
from pages import assert_printed, run_page


def test_code_on_the_page_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("minari")
    pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    run_page("in_context_learning.md", 4)
    assert_printed(
        capsys,
        "reward-centred results.json",
        "3 ['user', 'assistant'] True",
        "Example: ACTION:",
        "2 [-2, -1]",
    )
