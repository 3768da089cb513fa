"""What was met while acting goes back to the writer, and a search may begin with a program."""

import dataclasses

import numpy as np
import pytest
import search_helpers as helpers
from search_helpers import Writer, buffer, prepared, program, reply
from test_judging import COUNTER, WALK, long_walk

from atari_vlm.errors import ConfigError, MismatchError
from atari_vlm.runs.journal import Journal
from atari_vlm.synthesis import SearchConfig, outputs, run_search, search
from atari_vlm.synthesis.repairing import repair

LOCAL = SearchConfig(budget=6, unsafe_local_code=True)
STOPS = WALK.replace("self.state += action", "self.state += action * (self.state < 12)")


@pytest.mark.parametrize("method", ["gif-mcts", "worldcoder"])
def test_a_step_that_was_mispredicted_while_acting_goes_back_with_the_way_there(method):
    walk = long_walk(40)
    known, met = walk.take(range(8)), walk.take(range(20))
    replies = [STOPS, WALK]
    writer = Writer(lambda number, *_: reply(replies[number - 1]))
    config = dataclasses.replace(LOCAL, method=method)
    result = repair(writer, STOPS, known, met, config)
    assert result.program == WALK.rstrip() and result.calls == 2 and result.verified is True
    asked = writer.asked[0][0]
    assert STOPS in asked and "State before the step: 12\nAction: 1" in asked
    assert [f"- in {before} action 1" in asked for before in (3, 4, 11)] == [False, True, True]
    first = result.nodes[0]
    assert (first.node, first.kind, first.call, first.program) == (0, "root", 0, STOPS)
    assert 0.5 < first.score < 1.0 and result.nodes[1].parent == 0


def test_a_program_that_replays_everything_needs_no_call():
    walk = long_walk(40)
    writer = Writer(lambda *_: "never")
    result = repair(writer, WALK, walk.take(range(8)), walk, LOCAL)
    assert (result.calls, result.program, result.verified) == (0, WALK, True)
    assert writer.asked == []


def test_the_start_stays_the_best_if_nothing_better_comes():
    result = repair(Writer(lambda *_: "no"), STOPS, long_walk(5), long_walk(40), LOCAL)
    assert result.program == STOPS and result.verified is False and result.calls == 6
    assert result.failures == {"no-code": 6}


@pytest.mark.parametrize("preset", ["paper", "code"])
def test_a_start_that_raises_is_fixed_or_left_for_others(preset):
    wrong = COUNTER.replace("% 5", "% 0")
    replies = [wrong, wrong, wrong, COUNTER]
    writer = Writer(lambda number, *_: reply(replies[number - 1]))
    config = dataclasses.replace(LOCAL, start=wrong, preset=preset)
    result = search(writer, buffer(), config)
    kinds = [node.kind for node in result.nodes]
    assert kinds[:3] == ["root", "fix", "fix"] and "generate" in kinds
    assert result.program == COUNTER.rstrip() and not result.nodes[0].terminal


def test_a_search_from_a_program_goes_on_in_its_folder(tmp_path, monkeypatch):
    judged = []

    def judge(text):
        judged.append(text)
        return helpers.judge(text)

    monkeypatch.setattr(run_search, "ProgramJudge", lambda *_: judge)
    monkeypatch.setattr(outputs, "_write_checkpoint", lambda *_: None)
    config = SearchConfig(budget=3, start=program(0.3, "start"))
    first = search(prepared(0.4, 0.2, 0.5), buffer(), config, folder=tmp_path / "run")
    assert search(prepared(), buffer(), config, folder=tmp_path / "run") == first
    assert len(judged) == 4  # the start too, once
    with Journal(tmp_path / "run" / "journal.sqlite", read_only=True) as journal:
        assert [(row.simulation, row.calls) for row in journal.simulations()] == [
            (0, 0),
            (1, 1),
            (2, 1),
            (3, 1),
        ]
        assert journal.calls(0) == []
    assert "the program to begin with" in (tmp_path / "run" / "tree.html").read_text()
    assert program(0.3, "start") not in (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(Exception, match="other settings"):
        other = dataclasses.replace(config, start=program(0.3, "other"))
        search(prepared(), buffer(), other, folder=tmp_path / "run")


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="begins with nothing"):
        SearchConfig(method="best-of-n", start="x")
    with pytest.raises(MismatchError, match=r"Counter-v0 do not go on from Walk-v0"):
        long_walk().followed_by(buffer())


def test_buffers_follow_one_another():
    both = long_walk(50).followed_by(long_walk(45))
    assert len(both) == 95 and both.trajectory_starts.tolist() == [0, 40, 50, 90]
    assert np.array_equal(both.observations[50:], long_walk(45).observations)
    assert both.observations.dtype == np.int64 and both.rewards.dtype == np.float64
