"""Programs judged on the workers of a Ray session: a unit is one program, and a worker needs the transitions alone.

The writer is asked, the budget kept and the run written by the program that was started, so no worker needs a key, and a
judgement that was lost with its worker costs no call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from atari_vlm._lazy import require
from atari_vlm.runs.cluster.calling import Call, Caller
from atari_vlm.runs.cluster.session import Executing, Session, check_ray, session
from atari_vlm.synthesis.judged_once import Judge
from atari_vlm.synthesis.recording import sha_of
from atari_vlm.synthesis.records import Outcome


class Spread(Executing, Protocol):
    """The options that are read."""

    @property
    def executor(self) -> str: ...  # noqa: D102


@contextmanager
def workers(options: Spread) -> Iterator[Session | None]:
    """Within the block a session of Ray, where the options ask for one. ``MissingDependencyError`` without Ray."""
    if options.executor == "local":
        yield None
        return
    check_ray()
    with session(options) as opened:
        yield opened


@dataclass(frozen=True)
class KeptJudge:
    """A judge that lies in Ray's object store: it travels to a machine once, and not with every program."""

    reference: Any

    def __call__(self, program: str) -> Outcome:
        """What the judge says."""
        judge: Judge = require("ray", "scale").get(self.reference)
        return judge(program)


def judging_on(opened: Session, say: Callable[[str], object]) -> Callable[[Judge], Judge]:
    """What takes a judge to the workers of a session. Its calls wait for the outcome; several threads may make them."""
    caller = Caller(opened, say=say)

    def placed(judge: Judge) -> Judge:
        kept = KeptJudge(opened.ray.put(judge))

        def judged(program: str) -> Outcome:
            title = f"program {str(sha_of(program))[:12]}"
            ((_, outcome),) = caller.results(kept, [Call(program, title)])
            return outcome  # type: ignore[no-any-return]

        return judged

    return placed
