"""What a worker records arrives in the journal of the run: without Ray, with a thread in the worker's place."""

import pickle
import threading
import time
from contextlib import ExitStack

import own_games  # noqa: F401 - registers its games
import pytest
from own_players import LightVLM

from atari_vlm.errors import BudgetExhaustedError, RunError, UnavailableError
from atari_vlm.evaluation.cells import cells, named
from atari_vlm.evaluation.evaluate import entrants, evaluate, lessons_of
from atari_vlm.evaluation.spread import StudyWork, units_of
from atari_vlm.evaluation.study import check
from atari_vlm.evaluation.study_options import EvaluateConfig
from atari_vlm.runs.cluster.limits import SharedLimit, budget_and_limit
from atari_vlm.runs.cluster.progress import ListeningShippedProgress
from atari_vlm.runs.cluster.shipping import Known, Outbox, UnitRecord, keep, known_of
from atari_vlm.runs.cluster.units import Lots, Needs, Unit
from atari_vlm.runs.cluster.worker import Seat, Tools, portable
from atari_vlm.runs.journal import Journal
from atari_vlm.types import Reply
from atari_vlm.vlm.layers.budget import Budget
from atari_vlm.vlm.remote.concurrency import ConcurrencyPolicy


def study(folder, **changes):
    return EvaluateConfig(
        **{
            "games": ["own_games:Lane-v0,steps=8"],
            "agents": ["taught=own_players:LightVLM,use_icl=true,num_episodes=2,round_size=1"],
            "seeds": [0],
            "max_steps": 4,
            "save_dir": folder,
            "run_name": "run",
            **changes,
        }
    )


class Unshared:
    """In the place of the actor's handle on a worker."""

    def limit(self, endpoint, policy):
        raise AssertionError("nobody asks an address here")


def play_unit(config, journal, number, *, dies_after=None):
    """Play one unit in a thread, its shipments kept in ``journal``; it dies after so many shipments, unkept ones lost."""
    played = check(config)
    laid_out = cells(played, {("taught", "", ""): 2})
    work, outbox, stop = StudyWork(config), Outbox(), threading.Event()
    with ExitStack() as opened:
        made = entrants(played, Budget(), opened, lessons_of(played))
        units = units_of(laid_out, lambda cell: made[named(cell.variant)], (), has_gpus=False)
        unit = list(units)[number]
        rows = {row.episode: row for row in journal.episodes()}
        known = known_of(journal, rows, unit.episodes)
        errors = []

        def run():
            try:
                play = work.open(Tools(Budget(), Unshared()), opened)
                seat = Seat(
                    UnitRecord(known, outbox),
                    ListeningShippedProgress(outbox, "worker 1", True),
                    stop,
                )
                play(unit.what, seat)
            except BaseException as error:
                errors.append(error)
            outbox.put_now(("ended", "", (None,)), wait=False)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        taken = 0
        while True:
            for sort, name, arguments in outbox.take(0.05):
                if sort == "ended":
                    thread.join()
                    assert not errors, errors
                    return unit
                if sort == "journal":
                    keep(journal, name, arguments)
                    taken += 1
                    if taken == dies_after:
                        stop.set()
                        while thread.is_alive():
                            outbox.take(0.01)  # nobody keeps it, and no thread outlives the test
                        return unit


def rows_of(journal):
    steps = [
        (s.episode, s.step, s.action, s.source, s.reward, s.info)
        for row in journal.episodes()
        for s in journal.steps(row.episode)
    ]
    calls = [
        (c.task, c.call, c.step, c.request_key, c.reply["text"])
        for row in journal.episodes()
        for c in journal.calls(row.episode)
    ]
    return journal.episodes(), steps, calls


@pytest.mark.parametrize("dies_after", [None, 1, 4, 7, 12, 25])
def test_units_that_lose_their_workers_end_as_the_serial_study(tmp_path, dies_after):
    path, _ = evaluate(study(tmp_path))
    before = LightVLM.calls
    with Journal(tmp_path / "journal.sqlite") as journal:
        for number in range(2):  # random, and the agent with lessons
            if dies_after is not None:
                play_unit(study(tmp_path), journal, number, dies_after=dies_after)
            play_unit(study(tmp_path), journal, number)
        asked = LightVLM.calls - before
        with Journal(path / "journal.sqlite", read_only=True) as serial:
            assert rows_of(journal) == rows_of(serial)
            answered = sum(1 for _ in serial.replies())
    assert answered <= asked <= answered + (dies_after is not None)  # the one in flight


def test_a_unit_that_goes_otherwise_than_recorded_is_refused(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as journal:
        play_unit(study(tmp_path), journal, 0)
        row = journal.steps(0)[0]
        known = known_of(journal, {r.episode: r for r in journal.episodes()}, [0])
    record = UnitRecord(known, Outbox())
    record.record_step(row)
    changed = type(row)(**{**row.__dict__, "reward": row.reward + 1})
    with pytest.raises(RunError, match="diverged at step 0"):
        record.record_step(changed)


def test_a_reply_waits_until_the_driver_has_asked_again():
    outbox, done = Outbox(), threading.Event()
    record = UnitRecord(Known("id", None), outbox)

    def answer():
        record.record_reply(1, 0, {"text": "UP"})
        done.set()

    threading.Thread(target=answer, daemon=True).start()
    assert [name for _, name, _ in outbox.take(5)] == ["record_reply"]
    assert not done.wait(0.1)
    outbox.take(0)
    assert done.wait(5)


def test_a_reply_that_costs_nothing_goes_along():
    outbox = Outbox()
    record = UnitRecord(Known("id", None, is_paid=False), outbox)
    record.record_reply(1, 0, {"text": "UP"})  # nobody asks, and it does not wait
    shipped = [("journal", "record_reply", (1, 0, {"text": "UP"}, False))]
    assert outbox.take(0) == shipped


def test_lots_keep_a_worker_at_what_it_has_loaded_and_never_mix_needs():
    lots, gpu = Lots(), Needs(gpus=1.0, kind="big")
    units = [Unit(n, str(n), [n], gpu if n % 3 == 0 else Needs(), "ab"[n % 2]) for n in range(12)]
    for unit in units:
        lots.put(unit)
    assert lots.wanted() == {gpu: 4, Needs(): 8} and len(lots) == 12
    first = lots.next(Needs(), "")
    lots.put_back(first)
    group = [lots.next(Needs(), "a").what for _ in range(4)]
    assert group == [2, 4, 8, 10] and lots.next(Needs(), "a") is first is units[1]
    assert lots.next(Needs(cpus=2), "a") is None
    lots.clear()
    assert not len(lots)


def test_the_keeper_of_the_budget_refuses_without_raising_and_gives_lost_places_back():
    keeper = budget_and_limit(Budget(calls=2))
    policy = ConcurrencyPolicy(start=1, maximum=1)
    assert [keeper.reserve() for _ in range(2)] == [None, None]
    assert isinstance(keeper.reserve(), BudgetExhaustedError)
    keeper.release()
    assert keeper.reserve() is None
    assert keeper.enter("worker 1", "http://a", policy) == 0
    assert keeper.enter("worker 2", "http://a", policy) == 1  # one at most, and it is taken
    assert keeper.enter("worker 2", "http://b", policy) == 0
    keeper.forget("worker 1")
    assert keeper.enter("worker 2", "http://a", policy) == 0
    keeper.heard("http://a", "throttled")


def test_a_shared_limit_waits_for_a_place_and_gives_up_in_time():
    class Handle:
        def __init__(self):
            self.keeper = budget_and_limit(Budget())
            self.worker = "worker 1"

        def ask(self, method, *arguments):
            return getattr(self.keeper, method)(*arguments)

        tell = ask

    handle, policy = Handle(), ConcurrencyPolicy(start=1, maximum=1)
    limit = SharedLimit(handle, "http://a", policy)
    with limit.slot(1.0):
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="no place among 1 requests"):
            with limit.slot(0.05):
                pass
        assert time.monotonic() - began < 1
    with limit.slot(1.0):
        limit.succeeded()


def test_a_budget_travels_with_what_is_spent():
    budget = Budget(calls=3)
    budget.reserve_call()
    budget.spend(Reply("x", "m", cost_usd=None))
    copy = pickle.loads(pickle.dumps(budget))
    assert copy.spent == budget.spent and copy.limits == budget.limits
    copy.reserve_call()
    assert budget.spent["calls"] == 1


def test_an_error_that_cannot_be_sent_is_told_in_words_and_without_keys(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1234567890")

    class Local(Exception):
        pass

    told = portable(Local("key sk-secret-1234567890"))
    assert "Local" in str(told) and "sk-secret" not in str(told)
    told = portable(RunError("key sk-secret-1234567890"))
    assert type(told) is RunError and "sk-secret" not in str(told)
