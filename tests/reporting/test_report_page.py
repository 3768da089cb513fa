"""The report page in a browser: it renders, its scrubber moves, and what a model says stays text."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from conftest import NAMES, drawn, embedded, replay, write_episode

from atari_vlm.errors import ConfigError
from atari_vlm.reporting.page.html import (
    RunFacts,
    render_page,
    report_page,
    script_json,
    without_clocks,
)
from atari_vlm.reporting.page.run_data import ReplayNotes

FACTS = RunFacts(
    "pong-tiny",
    "Pong-v5, tiny-1",
    (("Seeds", "100 to 102"),),
    (),
    "python -m atari_vlm.train --game Pong-v5",
)
SCRIPTED = [f"The ball comes.\nACTION: {NAMES[i % 4]}" for i in range(40)]


@pytest.fixture
def report(journal, tmp_path):
    write_episode(journal, 0, SCRIPTED)
    write_episode(journal, 1, [*SCRIPTED[:20], "no idea", *SCRIPTED[:20]])
    write_episode(journal, 2, SCRIPTED[:10], phase="eval")
    path = tmp_path / "report.html"
    path.write_text(report_page(journal, FACTS, replay), encoding="utf-8")
    return path


def test_renders_without_a_fault(tab, report):
    tab.events.clear()
    tab.open(report, "#e=1&s=20")
    assert tab.evaluate("document.title") == "pong-tiny: run report"
    assert tab.evaluate("document.getElementById('title').textContent") == "pong-tiny"
    assert tab.evaluate("document.querySelectorAll('#episodes tr').length") == 3
    assert tab.evaluate("document.querySelectorAll('#curve circle.dot').length") >= 3
    assert tab.evaluate("document.getElementById('source').textContent").startswith("fallback")
    assert "no action in" in tab.evaluate("document.getElementById('warnings').textContent")
    tab.wait_for("document.getElementById('frame').naturalWidth === 84")
    assert tab.faults() == []


def test_scrubber_keys_and_buttons_move(tab, report):
    tab.events.clear()
    tab.open(report, "#e=0&s=0")
    step = "Number(document.getElementById('slider').value)"
    source = "document.getElementById('frame').src"
    first = tab.evaluate(source)
    tab.key("ArrowRight", 39)
    assert tab.evaluate(step) == 1 and tab.evaluate(source) != first
    assert tab.evaluate("document.getElementById('action').textContent") == "FIRE"
    tab.evaluate(
        "document.getElementById('slider').value = 30; document.getElementById('slider').dispatchEvent(new Event('input'))"
    )
    assert (
        tab.evaluate("document.getElementById('position').textContent")
        == "Episode 0 · step 31 of 40"
    )
    tab.key("Home", 36)
    assert tab.evaluate(step) == 0 and tab.evaluate(source) == first
    tab.evaluate("document.getElementById('next-reward').click()")
    assert tab.evaluate(step) == 3
    tab.key("End", 35)
    assert tab.evaluate("document.getElementById('action').textContent") == "End of the episode"
    tab.key("ArrowDown", 40)
    tab.evaluate("document.getElementById('next-fallback').click()")
    assert (tab.evaluate("state.episode"), tab.evaluate(step)) == (1, 20)
    tab.evaluate("document.getElementById('play').click()")
    tab.wait_for(f"{step} >= 22")
    tab.evaluate("document.getElementById('play').click()")
    box = tab.evaluate(
        "(() => { const strip = document.getElementById('strip'); strip.scrollIntoView();"
        " const b = strip.getBoundingClientRect(); return [b.x, b.y, b.width]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        tab.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=box[0] + box[2] / 2,
            y=box[1] + 10,
            button="left",
            buttons=1,
            clickCount=1,
        )
    assert tab.evaluate(step) == 20
    assert tab.faults() == []


def test_narrow_page_does_not_scroll_sideways(tab, report):
    tab.call(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=740,
        deviceScaleFactor=2,
        mobile=True,
    )
    try:
        tab.open(report, "#e=1&s=20")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        tab.call("Emulation.clearDeviceMetricsOverride")


def test_plans_are_a_table(tab, report):
    tab.open(report, "#e=0&s=5")
    assert tab.evaluate("document.querySelector('.plans tr.chosen td').textContent") == "UP UP"


SEEDS = [
    "<script>alert(1)</script>",
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<svg onload=alert(1)>",
    "<!--<script>",
    "]]><script>alert(1)</script>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<a id=hostile href=\"javascript:document.title='owned'\">x</a>",
    "<style>body{display:none}</style>",
    "<body onload=alert(1)>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "<img src=http://127.0.0.1:9/leak>",
    "\x1b[2J\x1b]0;owned\x07",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "\u202eOOON :NOITCA\u202c",
    "\u200b\u200e\u2066\ufeff" * 50,
    "\U000e0041\U000e0042 hidden",
    "A" * 200_000,
    "\x00\x01\x7f\x9b31m",
    "${alert(1)} $script $data @STYLE@ {{7*7}}",
    "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<form action=http://127.0.0.1:9/><input name=hostile autofocus onfocus=alert(1)></form>",
    "'\"><hostile-element>",
    "\u2028alert(1)\u2029",
    "} ; alert(1) ; {",
    "url(http://127.0.0.1:9/x) ; background:red",
    "__proto__",
    "constructor",
    "<base href=http://127.0.0.1:9/>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<object data=javascript:alert(1)></object>",
    "Z\u0341\u0342\u0343" * 3000,
    "<template><script>alert(1)</script></template>",
    "<video><source onerror=alert(1)></video>",
    "<details open ontoggle=alert(1)>",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "<x style=animation-name:a onanimationstart=alert(1)>",
]
WRAPPINGS = (
    "{}",
    "{}\nACTION: UP",
    '{{"reasoning": {json}, "action": "UP"}}',
    "```html\n{}\n```",
    "I will\n\n{}\n{}",
)


def hostile_replies() -> list[str]:
    return [
        pattern.replace("{json}", json.dumps(seed)).replace("{}", seed)
        for seed in SEEDS
        for pattern in WRAPPINGS
    ]


def test_200_hostile_replies_stay_text(tab, journal, tmp_path):
    replies = hostile_replies()
    assert len(replies) >= 200
    write_episode(journal, 0, replies)
    facts = RunFacts(
        "</title><script>alert(1)</script>",
        SEEDS[2],
        [(SEEDS[0], SEEDS[8])],
        [(SEEDS[4], SEEDS[9])],
        SEEDS[1],
        [SEEDS[3]],
    )
    page = report_page(
        journal,
        facts,
        lambda row, steps, show: ReplayNotes(
            (SEEDS[0], SEEDS[1], SEEDS[2], SEEDS[3]), note=SEEDS[2]
        ),
    )
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 3
    tab.events.clear()
    tab.open(path)
    allowed = json.dumps(allowed_elements(page))
    found = tab.evaluate(
        f"""(() => {{
          const allowed = new Set({allowed}), strange = [];
          for (let step = 0; step < {len(replies)}; step++) {{
            show(step);
            document.querySelectorAll('details').forEach((entry) => {{ entry.open = true; }});
            document.querySelectorAll('button.more').forEach((button) => button.click());
            for (const node of document.querySelectorAll('*')) {{
              const acts = (a) => /^on|^style$|^href$|^action$/.test(a.name) && a.value !== 'data:,';
              const links = [...node.attributes].filter(acts);
              const loads = node.getAttribute('src') && !node.getAttribute('src').startsWith('data:image/png;base64,');
              if (!allowed.has(node.localName) || links.length || loads) strange.push([step, node.outerHTML.slice(0, 200)]);
            }}
          }}
          return strange.slice(0, 5);
        }})()"""
    )
    assert found == []
    assert tab.evaluate("document.title") == html.unescape(
        re.search("<title>(.*?)</title>", page)[1]
    )  # type: ignore[index]
    assert tab.faults() == []


def allowed_elements(page: str) -> list[str]:
    """The elements of the template and those that the page's own script makes."""
    template = render_page("", {}, {})
    made = re.findall(r'\b(?:el|svg)\("(\w+)"', template)
    return sorted(
        {*re.findall(r"<([a-z][a-z0-9]*)", template.split("<script")[0]), "script", *made}
    )


def test_reply_is_shown_verbatim_and_controls_by_number(tab, journal, tmp_path):
    text = 'a <b> & "c" \u202e\x1b[31m end'
    write_episode(journal, 0, [text])
    path = tmp_path / "report.html"
    path.write_text(report_page(journal, FACTS, replay), encoding="utf-8")
    tab.open(path)
    shown = tab.evaluate("document.querySelector('.said.reply').textContent")
    assert shown == 'a <b> & "c" U+202E U+001B[31m end'


def test_policy_allows_nothing_from_outside(report):
    policy = re.search('Content-Security-Policy" content="(.*?)"', report.read_text())[1]  # type: ignore[index]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert not re.search(
        r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", report.read_text().split('id="data"')[0]
    )


def test_equal_runs_give_equal_pages_but_for_clocks(tmp_path):
    from atari_vlm.runs.journal import Journal

    pages = []
    for name, slower in (("a", 0.0), ("b", 3.5)):
        with Journal(tmp_path / name) as journal:
            write_episode(journal, 0, SCRIPTED, slower=slower)
            pages.append(report_page(journal, FACTS, replay))
    assert pages[0] != pages[1]
    assert without_clocks(pages[0]) == without_clocks(pages[1])
    assert embedded(pages[1], "clocks")["episodes"]["0"]["latency"][0] == pytest.approx(3.9)


def test_size_limit_thins_and_says_so(journal):
    for episode in range(4):
        write_episode(
            journal, episode, [f"{'word ' * 4000}{episode} {i}\nACTION: UP" for i in range(40)]
        )
    whole = report_page(journal, FACTS, replay)
    assert embedded(whole, "data")["run"]["notices"] == []
    small = report_page(journal, FACTS, replay, max_mb=2.2)
    data = embedded(small, "data")
    assert len(small) < 2.4e6 < len(whole)
    shown = [episode for episode in data["episodes"] if episode["detail"]]
    assert 0 < len(shown) < 4
    assert "2 of 4 episodes" in data["run"]["notices"][0]
    assert all(
        "summary only" in episode["left_out"]
        for episode in data["episodes"]
        if not episode["detail"]
    )
    assert "keeps its picture and words" in data["run"]["notices"][1]
    for episode in shown:
        detail = episode["detail"]
        assert len(detail["action"]) == len(detail["reward"]) == 40
        assert [step is not None for step in detail["steps"]] == [
            i % detail["stride"] == 0 for i in range(40)
        ]
    with pytest.raises(ConfigError, match="max_mb"):
        report_page(journal, FACTS, replay, max_mb=0)


def test_pictures_are_stored_once(journal):
    write_episode(journal, 0, SCRIPTED)
    data = embedded(report_page(journal, FACTS, replay), "data")
    assert len(data["images"]) == len({drawn(i).png for i in range(41)})
    assert len([text for text in data["texts"] if text.startswith("You play Pong")]) == 1


def test_empty_run_and_running_episode(tab, journal, tmp_path):
    path = tmp_path / "report.html"
    for anything in (False, True):
        if anything:
            journal.begin_episode(0, "train", 1)
        path.write_text(report_page(journal, FACTS, replay), encoding="utf-8")
        tab.events.clear()
        tab.open(path)
        assert tab.evaluate("document.querySelectorAll('#episodes tr').length") == int(anything)
        for key, code in (("ArrowRight", 39), ("ArrowDown", 40), ("End", 35)):
            tab.key(key, code)
        assert tab.faults() == []


def test_numbers_that_json_cannot_hold():
    value: Any = {"score": float("nan"), "tuple": (float("inf"), 1)}
    assert json.loads(script_json(value)) == {"score": "nan", "tuple": ["inf", 1]}
