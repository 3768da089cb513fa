"""Play that no model decided: said after several fallbacks in a row, at the end, and in the exit code."""

import pytest

from atari_vlm.runs.fallbacks import ALL_FELL_BACK, SEVERAL, FallbackWatch, cure, verdict
from atari_vlm.runs.journal import EpisodeRow, Journal
from atari_vlm.runs.player import EpisodeSpec, finished_row, step_row
from atari_vlm.types import Decision, Source, Trajectory, Transition


def step(source, problem="cut: after 5 tokens", terminated=False):
    problems = (problem,) if source is Source.FALLBACK else ()
    decision = Decision(0, source, None, (), problems)
    return Transition({}, decision, 1.0, {}, terminated, False, {})


def warnings_of(*sources):
    watch = FallbackWatch()
    return [watch.see(step(source)) for source in sources]


def test_the_warning_comes_with_the_last_of_several_in_a_row_and_once():
    seen = warnings_of(*[Source.FALLBACK] * (2 * SEVERAL))
    assert [text is not None for text in seen] == [i == SEVERAL - 1 for i in range(2 * SEVERAL)]
    assert "cut: after 5 tokens" in seen[SEVERAL - 1]
    assert "raise --reply-tokens" in seen[SEVERAL - 1]


@pytest.mark.parametrize(("between", "warned"), [(Source.MODEL, False), (Source.BUFFER, True)])
def test_the_models_own_decision_ends_a_row_and_a_buffered_one_does_not(between, warned):
    """What is taken from a buffer says nothing of the replies that failed before it."""
    few = [Source.FALLBACK] * (SEVERAL - 1)
    assert any(warnings_of(*few, between, *few)) is warned


@pytest.mark.parametrize(
    ("reason", "option"),
    [
        ("cut: 64 tokens", "--reply-tokens"),
        ("empty", "--answer text"),
        ("refused: safety", "--prompt-type"),
        ("illegal: JUMP", "--answer json"),
        ("missing: no action", "--answer"),
        ("something new", "replies in the report"),
        ("", "replies in the report"),
    ],
)
def test_every_reason_has_something_that_can_be_done(reason, option):
    assert option in cure(reason)


def played(journal, episode, sources):
    spec = EpisodeSpec(episode, "train", episode)
    journal.begin_episode(episode, "train", episode)
    steps = tuple(step(source) for source in sources)
    for number, transition in enumerate(steps):
        journal.record_step(step_row(episode, number, transition, []))
    journal.finish_episode(finished_row(spec, Trajectory("Pong", episode, steps)))


@pytest.mark.parametrize(
    ("sources", "said", "code"),
    [
        ([Source.MODEL] * 3, "", 0),
        ([Source.MODEL, Source.MODEL, Source.FALLBACK], "", 0),
        ([Source.MODEL, Source.FALLBACK, Source.FALLBACK], "66.7% of the decisions fell back", 0),
        ([Source.FALLBACK] * 3, "every decision fell back", ALL_FELL_BACK),
        ([Source.POLICY] * 3, "", 0),
    ],
)
def test_the_verdict_weighs_every_decision(tmp_path, sources, said, code):
    with Journal(tmp_path / "journal.sqlite") as journal:
        played(journal, 0, sources)
        text, exit_code = verdict(journal, journal.episodes())
    assert exit_code == code and text.startswith(said) and bool(text) is bool(said)
    assert ("cut: after 5 tokens" in text) is bool(said)


def test_long_episodes_count_more_than_short_ones(tmp_path):
    """One of two episodes fell back entirely, but it was one step of ten."""
    with Journal(tmp_path / "journal.sqlite") as journal:
        played(journal, 0, [Source.FALLBACK])
        played(journal, 1, [Source.MODEL] * 9)
        assert verdict(journal, journal.episodes()) == ("", 0)


def test_nothing_played_is_no_verdict(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.begin_episode(0, "train", 0)
        assert verdict(journal, journal.episodes()) == ("", 0)
        assert verdict(journal, [EpisodeRow(3, "train", 0, "done", 0.0, 0, 1.0, 0.0)]) == ("", 0)
