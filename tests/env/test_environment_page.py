"""The code in docs/environment.md runs and shows what it says."""

from pages import run_page


def test_the_code_on_the_page_runs():
    names = run_page("environment.md", 3)
    assert names["frames"].shape == (4, 224, 224, 3) and names["stack"].shape == (2, 4, 84, 84)
    assert names["picture"].size == (224, 224) and list(names["observation"]) == ["image"]
