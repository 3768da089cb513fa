"""A run of episodes with plans: the same folder, journal, limits and report as training."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atari_vlm.evaluation.plan_results import (
    VariantResult,
    mean_of,
    reward_correlation,
    to_markdown,
)
from atari_vlm.evaluation.plan_settings import PlanSettings, PlanWorkshop, Variant
from atari_vlm.evaluation.plan_work import PlanWork
from atari_vlm.files import atomic_write
from atari_vlm.reporting.page.run_report import write_report
from atari_vlm.runs import outputs
from atari_vlm.runs.answered import answered_in
from atari_vlm.runs.cluster.dealing import Desk
from atari_vlm.runs.cluster.session import Session
from atari_vlm.runs.continuing import ResumeRules
from atari_vlm.runs.journal import EpisodeRow
from atari_vlm.runs.options import (
    CacheOptions,
    FolderOptions,
    LimitOptions,
    LogOptions,
    PlayOptions,
    execution_of,
)
from atari_vlm.runs.player import EpisodeSpec, Player, PlayerOptions
from atari_vlm.runs.progress import Label, Progress, Quiet
from atari_vlm.runs.run_folder import RunFolder, RunRequest
from atari_vlm.runs.seeds import eval_seed
from atari_vlm.runs.stopping import Stop
from atari_vlm.runs.trackers import EpisodeLog, LogConfig, check_installed
from atari_vlm.runs.videos import worth_filming, write_video
from atari_vlm.settings import flat
from atari_vlm.video import can_write_videos
from atari_vlm.vlm.base import VLM
from atari_vlm.vlm.layers.stack import limited


@dataclass(frozen=True)
class PlanExecution(FolderOptions, LogOptions, PlayOptions, CacheOptions, LimitOptions):
    """How a run is carried out, which its results do not depend on; the fields mean what ``TrainerOptions`` says."""

    command: Mapping[str, Any] = field(default_factory=dict)
    command_line: str = ""
    progress: Progress = field(default_factory=Quiet)
    stop: Stop | None = None


class PlanRun:
    """Plays the variants of ``settings`` with ``vlm``. Use it as a context manager: it holds the run's lock.

    The same settings continue the latest unfinished run that was made with them; ``execution.resume`` names one.
    """

    def __init__(
        self,
        settings: PlanSettings,
        vlm: VLM,
        execution: PlanExecution,
        identity: Mapping[str, Any],
        *,
        api_key: str | None = None,
    ):
        self.settings, self._execution, self._identity = settings, execution, identity
        check_installed(execution.log)
        self._workshop = PlanWorkshop(settings)
        with ExitStack() as opened:
            self._vlm = limited(vlm, execution, api_key=api_key)
            opened.callback(self._vlm.close)
            self.budget = self._vlm.budget
            self.run = RunFolder.open(self._request(identity))
            opened.callback(self.run.close)
            self._vlm.restore(self.run.journal.replies(paid=True))
            config = LogConfig(execution.log, flat(settings.as_dict()))
            self._log = EpisodeLog(self.run.path, config, execution.progress.say)
            opened.callback(self._log.close)
            self._opened = opened.pop_all()
        self._counts = [part["num_episodes"] for part in self.run.parts] + [settings.num_episodes]

    def __enter__(self) -> PlanRun:
        return self

    def __exit__(self, *_: object) -> None:
        with self._opened:
            outputs.write_tables(self.run.path, self.run.journal)

    def play(self, dealt: tuple[Session, PlanWork] | None = None) -> list[VariantResult]:
        """Play every variant on the same seeds, write results and report, and mark the run as finished.

        With ``dealt`` episodes are played on the workers of a session.
        """
        variants = self.settings.variants
        if len(variants) > 1:
            labels = {
                str(spec.episode): variant.name
                for variant in variants
                for spec in self._specs(variant)
            }
            self.run.journal.set_meta(labels=labels)
        for part in range(len(self._counts)):
            for variant in variants:
                self._play(variant, part, dealt)
        results = [self._result(variant) for variant in variants]
        self._save(results)
        self.run.finish()
        return results

    @property
    def num_episodes(self) -> int:
        """Episodes of all variants."""
        return len(self.settings.variants) * self.settings.num_episodes

    def answered(self) -> dict[str, str]:
        """What answered: the model asked for and the one that replied, the address, the prompt."""
        return answered_in(self.run.journal, {**self.settings.as_dict(), **self._identity})

    def _play(self, variant: Variant, part: int, dealt: tuple[Session, PlanWork] | None) -> None:
        specs = self._specs_of(variant, part)
        conditions = {"strategy": variant.name, "after": 0}
        self.run.record_group("eval", [spec.episode for spec in specs], conditions)
        began = time.monotonic()
        try:
            if dealt is None:
                self._play_here(variant, specs)
            else:
                how, journal = self._execution, self.run.journal
                desk = Desk(journal, self.budget, how.parallel, how.progress, how.stop)
                dealt[1].deal(dealt[0], desk, variant, specs)
            self._log.update(self.run.journal.episodes())
        finally:
            seconds = dict(self.run.journal.meta().get("seconds", {}))
            seconds[variant.name] = seconds.get(variant.name, 0.0) + time.monotonic() - began
            self.run.journal.set_meta(seconds=seconds)

    def _play_here(self, variant: Variant, specs: Sequence[EpisodeSpec]) -> None:
        execution, workshop = self._execution, self._workshop
        options = PlayerOptions(
            max_steps=self.settings.max_steps,
            parallel=execution.parallel,
            progress=execution.progress,
            stop=execution.stop,
        )
        player = Player(self.run.journal, self._vlm, workshop.make_env, options)
        player.play(specs, lambda vlm, env: workshop.agent(variant, vlm, env))

    def _specs(self, variant: Variant) -> list[EpisodeSpec]:
        return [spec for part in range(len(self._counts)) for spec in self._specs_of(variant, part)]

    def _specs_of(self, variant: Variant, part: int) -> list[EpisodeSpec]:
        """The episodes that a variant plays in a part of the run: the first, or what it was extended by."""
        variants = self.settings.variants
        before, count = self._counts[part - 1] if part else 0, self._counts[part]
        number = before * len(variants) + (count - before) * variants.index(variant) - before
        game, seed = self.settings.environment()["game_name"], self.settings.seed
        return [
            EpisodeSpec(number + i, "eval", eval_seed(seed, i), Label(game, variant.name, seed, i))
            for i in range(before, count)
        ]

    def _rows(self, variant: Variant) -> list[EpisodeRow]:
        rows = {row.episode: row for row in self.run.journal.episodes()}
        return [rows[spec.episode] for spec in self._specs(variant)]

    def _result(self, variant: Variant) -> VariantResult:
        journal, rows = self.run.journal, self._rows(variant)
        summary = outputs.summarise(rows)
        replanned = [other for other in self.settings.variants if other.name == variant.replanning]
        against = None
        if replanned:
            before = outputs.summarise(self._rows(replanned[0]))
            against = mean_of(np.subtract(summary["episode_rewards"], before["episode_rewards"]))
        return VariantResult(
            name=variant.name,
            mean_return=mean_of(summary["episode_rewards"]),
            against_replanning=against,
            steps=sum(row.length or 0 for row in rows),
            vlm_calls=sum(call.paid for row in rows for call in journal.calls(row.episode)),
            cost_usd=summary["cost_usd"],
            seconds=journal.meta()["seconds"][variant.name],
            fallback_rate=summary["fallback_rate"],
            correlation=reward_correlation(journal, rows),
        )

    def _save(self, results: Sequence[VariantResult]) -> None:
        path, journal = self.run.path, self.run.journal
        outputs.write_tables(path, journal)
        outputs.write_results(
            path, {**self.settings.environment(), "answered": self.answered()}, journal
        )
        if len(results) > 1:
            atomic_write(path / "ablation.md", to_markdown(self.settings, results, self.answered()))
        if can_write_videos() and self._workshop.make_env().render_mode == "rgb_array":
            for row in worth_filming(journal.episodes(), self._execution.videos):
                video = path / "videos" / f"{row.phase}-{row.episode:04d}.mp4"
                if not video.exists():
                    write_video(video, journal, row, self._workshop.make_env)
        write_report(path)

    def _request(self, identity: Mapping[str, Any]) -> RunRequest:
        execution = self._execution
        return RunRequest(
            save_dir=execution.save_dir,
            label="-".join(self._label(identity)),
            settings=json.loads(json.dumps({**self.settings.as_dict(), **identity})),
            execution=execution_of(execution),
            run_name=execution.run_name,
            resume=execution.resume,
            command=execution.command,
            command_line=execution.command_line,
            rules=ResumeRules(amounts=("num_episodes",), defaults=PlanSettings().as_dict()),
        )

    def _label(self, identity: Mapping[str, Any]) -> list[str]:
        game, vlm = self.settings.environment()["game_name"], str(identity.get("vlm_type", "vlm"))
        return ["plan", game, vlm, *["ablation"] * self.settings.ablation]
