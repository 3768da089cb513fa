"""What several tests of training share: runs that are cheap, and journals compared without their clocks."""

import copy
import json
import os
from pathlib import Path

from atari_vlm.reporting.page.html import without_clocks
from atari_vlm.runs.journal import Journal
from atari_vlm.vlm import ScriptedVLM


class CountingVLM:
    """The bundled player, which notes every call that reaches it in a file: one line each, also from other processes."""

    def __init__(self, path, name="scripted"):
        self.inner = ScriptedVLM()
        self.name, self.capabilities = name, self.inner.capabilities
        self.path = Path(path)

    def complete(self, messages, *, sampling):
        self._note()
        return self.inner.complete(messages, sampling=sampling)

    def score_choices(self, messages, choices):
        self._note()
        return self.inner.score_choices(messages, choices)

    def _note(self):
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, b"call\n")
        os.close(handle)

    @property
    def calls(self):
        return self.path.read_text().count("\n") if self.path.exists() else 0


def contents(path):
    """Everything in a journal but clocks and attempts."""
    with Journal(path, read_only=True) as journal:
        episodes = journal.episodes()
        return {
            "meta": journal.meta(),
            "episodes": episodes,
            "steps": [
                _without_latency(step) for row in episodes for step in journal.steps(row.episode)
            ],
            "calls": [
                _without_clocks(call, journal)
                for row in episodes
                for call in journal.calls(row.episode)
            ],
        }


def run_data(folder):
    """What a run leaves behind, but for clocks: journal and tables, and when it is finished results and report."""
    folder = Path(folder)
    names = ("episodes.csv", "metrics.jsonl", "results.json", "report.html")
    files = {name: (folder / name).read_text() for name in names if (folder / name).exists()}
    if "report.html" in files:
        files["report.html"] = without_clocks(files["report.html"])
    return {"journal": contents(folder / "journal.sqlite"), **files}


def _without_latency(step):
    step = copy.deepcopy(step)
    step.decision["latency_s"] = 0.0
    return step


def _without_clocks(call, journal):
    reply = (
        None
        if call.reply is None
        else {k: v for k, v in call.reply.items() if k not in ("latency_s", "attempts")}
    )
    for _, parts in call.request:
        for _, sha in parts:
            journal.blob(sha)
    return (
        call.task,
        call.call,
        call.step,
        call.kind,
        call.request_key,
        json.dumps(call.request),
        json.dumps(reply),
    )
