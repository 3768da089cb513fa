"""The page of a board: protocols apart, words escaped, the published scores beside."""

from atari_vlm.reporting.board.site import board_page

ROW = {
    "game": "Pong",
    "agent": "random",
    "model": "",
    "model_served": "",
    "base_url": "",
    "seed": 0,
    "episodes": 1,
    "score": -20.0,
    "human_normalised": 0.02,
    "truncated": 0,
    "steps": 800,
    "calls": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "fallback_rate": 0.0,
    "cost_usd": 0.0,
}


def bundle(name, protocol, *rows):
    told = {"name": protocol, "version": 1, "frame_skip": 4, "noops": None, "max_steps": None}
    return {"bundle": name, "protocol": told, "rows": list(rows), "steps": 800, "checked": ["x: y"]}


def test_two_protocols_share_no_table():
    page = board_page(
        {
            "accepted": [
                bundle("one", "standard", ROW),
                bundle("two", "standard, seeds=3", {**ROW, "seed": 3, "score": -18.0}),
                bundle("three", "quick", {**ROW, "score": 5.0}),
            ],
            "refused": [],
        }
    )
    standard, quick = page.index("<h2>standard</h2>"), page.index("<h2>quick</h2>")
    assert page.count("<h2>standard") == 1
    first, second = page[standard:quick], page[quick : page.index("<h2>Atari-GPT")]
    assert first.index("-18") < first.index("-20") and ">one<" in first and ">two<" in first
    assert ">three<" in second and ">one<" not in second
    assert "3 bundles accepted, 0 refused" in page and "not published" in page


def test_words_of_a_bundle_are_text():
    bad = "<img src=x onerror=alert(1)>\x1b[2J\u202e"
    row = {**ROW, "agent": bad, "model_served": bad, "cost_usd": None, "human_normalised": None}
    page = board_page(
        {
            "accepted": [bundle(bad, "standard", row)],
            "refused": [{"bundle": bad, "reason": bad}],
        }
    )
    assert "<img" not in page and "\x1b" not in page and "\u202e" not in page
    assert "unknown" in page and "default-src 'none'" in page


def test_a_board_without_bundles_is_a_page():
    page = board_page({"accepted": [], "refused": []})
    assert "0 bundles accepted, 0 refused" in page and "GPT-4o" in page
