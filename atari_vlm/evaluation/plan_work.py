"""A run of plans as the workers of a Ray cluster know it: a unit is an episode of a variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from atari_vlm.evaluation.plan_settings import PlanSettings, PlanWorkshop, Variant
from atari_vlm.evaluation.spread import needs_of_vlm
from atari_vlm.runs.cluster.dealing import Dealer, Desk
from atari_vlm.runs.cluster.session import Session
from atari_vlm.runs.cluster.units import Unit
from atari_vlm.runs.cluster.worker import PlayUnit, Seat, Tools
from atari_vlm.runs.options import KeyOptions, LimitOptions
from atari_vlm.runs.player import EpisodeSpec, Player, PlayerOptions
from atari_vlm.vlm.base import close_vlm
from atari_vlm.vlm.layers.cache import CacheMode
from atari_vlm.vlm.layers.stack import limited
from atari_vlm.vlm.load import load_vlm


@dataclass(frozen=True)
class WorkerLimits(LimitOptions):
    """The limits of a run and its cache, as they are sent."""

    cache: str | None = None
    cache_mode: CacheMode = "readwrite"


@dataclass(frozen=True)
class PlanWork:
    """``vlm`` is loaded on each worker with ``options``, and with the key that ``api_key_env`` names there."""

    settings: PlanSettings
    limits: WorkerLimits
    vlm: str
    options: Mapping[str, Any] = field(default_factory=dict)
    api_key_env: str | None = None

    def open(self, tools: Tools, opened: ExitStack) -> PlayUnit:
        """Load the model."""
        key = KeyOptions(api_key_env=self.api_key_env).key()
        backend = load_vlm(self.vlm, **{**({"api_key": key} if key else {}), **self.options})
        opened.callback(close_vlm, backend)
        tools.share(backend)
        vlm = limited(backend, self.limits, api_key=key, budget=tools.budget)
        opened.callback(vlm.close)
        workshop = PlanWorkshop(self.settings)

        def play(what: tuple[Variant, EpisodeSpec], seat: Seat) -> None:
            variant, spec = what
            options = PlayerOptions(self.settings.max_steps, 1, seat.progress, seat.stop)
            player = Player(seat.journal, vlm, workshop.make_env, options)
            player.play([spec], lambda asked, env: workshop.agent(variant, asked, env))

        return play

    def deal(
        self, session: Session, desk: Desk, variant: Variant, specs: Sequence[EpisodeSpec]
    ) -> None:
        """Play the episodes of a variant that the journal does not hold yet on the workers of a session."""
        done = {row.episode: row for row in desk.journal.episodes() if row.status == "done"}
        address = self.options.get("base_url")
        needs = needs_of_vlm(self.vlm, address, has_gpus=session.gpus > 0)
        units: list[Unit] = []
        for spec in specs:
            if spec.episode in done:
                desk.progress.ended(spec.task, done[spec.episode])
                continue
            title, numbers = f"{variant.name}, seed {spec.seed}", [spec.episode]
            units.append(Unit((variant, spec), title, numbers, needs, variant.name, is_paid=True))
        Dealer(session, self, desk).play(units)
