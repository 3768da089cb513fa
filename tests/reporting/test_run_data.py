"""A journal as the page's data: what is stored once, what is thinned, what is said of the rest."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
from conftest import drawn, replay, write_episode
from hypothesis import given, settings
from hypothesis import strategies as st

from atari_vlm.reporting.page.run_data import (
    Pool,
    ReplayNotes,
    ThinnedEpisode,
    collect_episode,
    plain,
    summary,
)

LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
TREE = st.recursive(
    LEAF, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=10
)


@settings(max_examples=40, deadline=None)
@given(TREE)
def test_plain_data_is_json_without_nan(value):
    text = json.dumps(plain(value), allow_nan=False)
    assert plain(json.loads(text)) == json.loads(text)


def test_plain_keeps_what_json_can_hold_and_names_what_it_cannot():
    assert plain({1: (1.5, math.inf, [math.nan])}) == {"1": [1.5, "inf", ["nan"]]}


def test_a_pool_stores_equal_things_once(journal):
    pool = Pool(journal)
    assert [pool.text("a"), pool.text("b"), pool.text("a")] == [0, 1, 0]
    size = pool.size
    assert pool.image("sha", b"png") == pool.image("sha", b"png") == 0 and pool.size > size
    assert base64.b64decode(pool.images[0]) == b"png"
    assert pool.holds("sha") and not pool.holds("other")


def test_a_very_long_text_is_cut_and_the_rest_is_counted(journal):
    pool = Pool(journal)
    number = pool.text("x" * 70_000)
    assert len(pool.texts[number]) == 65_536 and pool.cut == {number: 70_000 - 65_536}


def test_messages_share_their_parts(journal):
    write_episode(journal, 0, ["ACTION: UP"] * 3)
    pool = Pool(journal)
    for call in journal.calls(0):
        for role, parts in call.request:
            pool.message(role, parts)
    assert [role for role, _ in pool.messages] == ["system", "user", "user", "user"]
    kinds = [[kind for kind, _ in parts] for _, parts in pool.messages]
    assert kinds == [["text"], ["image", "text"], ["image", "text"], ["image", "text"]]
    assert len(pool.images) == 3 and len(pool.texts) == 4


@pytest.fixture
def thirty(journal):
    write_episode(journal, 0, [f"I think {step} ACTION: UP" for step in range(30)])
    return journal


def test_with_room_every_step_is_kept(thirty):
    episode = ThinnedEpisode(Pool(thirty), 0, 1e9)
    for at in range(31):
        episode.add(at, lambda at=at: drawn(at).png)
    assert episode.stride == 1 and sorted(episode.kept) == list(range(31))
    assert episode.kept[30].step is None and len(episode.kept[0].calls) == 1


def test_without_room_the_steps_kept_are_a_power_of_two_apart(thirty):
    made = []

    def picture(at):
        made.append(at)
        return drawn(at).png

    episode = ThinnedEpisode(Pool(thirty), 0, 6_000)
    for at in range(31):
        episode.add(at, lambda at=at: picture(at))
    assert episode.stride in (2, 4, 8, 16, 32)
    assert sorted(episode.kept) == list(range(0, 31, episode.stride))
    assert len(made) < 31  # what lies between is never drawn


def test_steps_of_which_no_picture_came_keep_their_words(thirty):
    episode = ThinnedEpisode(Pool(thirty), 0, 1e9)
    for at in range(10):
        episode.add(at, lambda at=at: drawn(at).png)
    episode.add_the_rest()
    assert sorted(episode.kept) == list(range(30))
    assert episode.kept[9].png is not None and episode.kept[10].png is None
    assert episode.kept[29].calls


def test_an_episode_on_the_page_has_every_action_however_small_its_share(thirty):
    (row,) = thirty.episodes()
    pool = Pool(thirty)
    whole = collect_episode(pool, row, replay, 1e9)
    small = collect_episode(Pool(thirty), row, replay, 5_000)
    assert whole.stride == 1 < small.stride
    for data in (whole, small):
        detail = data.page["detail"]
        assert detail["action"] == [2] * 30 and detail["source"] == "m" * 30
        assert detail["end"] == "terminated" and len(detail["frames"]) == 31
        assert len(data.clocks["latency"]) == 30
    assert all(words is not None for words in whole.page["detail"]["steps"])
    shown = [words is not None for words in small.page["detail"]["steps"]]
    assert np.flatnonzero(shown).tolist() == list(range(0, 30, small.stride))


def test_a_replay_without_pictures_says_why(thirty):
    (row,) = thirty.episodes()
    data = collect_episode(Pool(thirty), row, lambda *_: ReplayNotes(note="gone"), 1e9)
    detail = data.page["detail"]
    assert detail["frames"] == [] and detail["frame_note"] == "gone" and detail["names"] == []


def test_fallbacks_and_their_problems_are_shown(journal):
    write_episode(journal, 0, ["ACTION: UP", "no idea"])
    (row,) = journal.episodes()
    pool = Pool(journal)
    detail = collect_episode(pool, row, replay, 1e9).page["detail"]
    assert detail["source"] == "mf"
    (problem,) = detail["steps"][1]["problems"]
    assert pool.texts[problem] == "no action in 'no idea'" and detail["steps"][0]["problems"] == []


def test_a_summary_is_the_row_of_the_table(thirty):
    (row,) = thirty.episodes()
    line = summary(row, "too many")
    assert line["episode"] == 0 and line["length"] == 30 and line["left_out"] == "too many"
    assert line["detail"] is None and json.dumps(line)
